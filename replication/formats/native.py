"""Calls of the kernels: functions of the compiled library, or, where there is none, the same loops by numba."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from replication.formats.native_library import library

CHOICE = "REPLICATION_KERNELS"
"""Environment variable: ``numba`` leaves the compiled library unused."""
NOTE = (
    "note: there is no C compiler here to build the kernels with, so numba compiles them: 10 to 20 seconds the first "
    "time, one second later on"
)
_SCALARS = {"int": ctypes.c_int64, "float": ctypes.c_double}


class Kernel:
    """A kernel by its name in the library, with ``signature``, the types of its arguments.

    ``int``, ``float``; ``f8[]`` and ``f8[,]`` for arrays of a dtype with one and two dimensions, ``f8[]!`` for one that
    is filled. Named tuples stand for their fields. ``fallback`` returns the function that numba compiles, which takes
    the same arguments. Other threads run meanwhile.
    """

    def __init__(self, name: str, signature: str, fallback: Callable[[], Callable[..., Any]]) -> None:
        self.name, self.fallback = name, fallback
        self.arguments = [_Argument(one) for one in signature.split()]

    def __call__(self, *values: Any) -> None:
        """Run it. Raises MemoryError, and ValueError for an array that cannot be filled."""
        loaded = native()
        if loaded is None:
            self.fallback()(*values)
        else:
            self.native(loaded, *values)

    def native(self, loaded: ctypes.CDLL, *values: Any) -> None:
        """Run it in the library."""
        held = [one.array(value) for one, value in zip(self.arguments, _flat(values), strict=True)]
        passed: list[Any] = []
        for one, value in zip(self.arguments, held, strict=True):
            one.extend(passed, value)
        if getattr(loaded, self.name)(*passed):
            raise MemoryError(f"kernel {self.name}")


def native() -> ctypes.CDLL | None:
    """The library; None where it is unwanted, or cannot be built or loaded."""
    return None if os.environ.get(CHOICE) == "numba" else _loaded()


@functools.cache
def _loaded() -> ctypes.CDLL | None:
    path = library()
    try:
        loaded = None if path is None else ctypes.CDLL(str(path))
    except OSError:  # built for another machine
        loaded = None
    if loaded is None:
        print(NOTE, file=sys.stderr)
    return loaded


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, tuple):
            yield from value
        else:
            yield value


class _Argument:
    """An argument's type, and how a value of it is passed."""

    def __init__(self, text: str) -> None:
        self.scalar = _SCALARS.get(text)
        self.filled = text.endswith("!")
        kind, _, dimensions = text.removesuffix("!").partition("[")
        self.dimensions = {"": 0, "]": 1, ",]": 2}[dimensions]
        self.dtype = np.dtype(kind if self.dimensions else "V")

    def array(self, value: Any) -> Any:
        """The value, or a copy whose type and order the kernel understands."""
        if self.scalar is not None:
            return self.scalar(value)
        if isinstance(value, np.ndarray) and self._fits(value):
            return value
        if self.filled:
            raise ValueError(f"an array to be filled is no {self.dtype} array without gaps")
        return np.ascontiguousarray(value, self.dtype).reshape(np.shape(value))

    def _fits(self, value: Any) -> bool:
        if value.dtype != self.dtype or value.ndim != self.dimensions or (self.filled and not value.flags.writeable):
            return False
        return bool(value.size <= 1 or value.strides[-1] == value.itemsize)

    def extend(self, passed: list[Any], value: Any) -> None:
        """Append what is passed to C: address, shape and, of a table, the distance of its rows in elements."""
        if self.scalar is not None:
            passed.append(value)
            return
        passed.append(ctypes.c_void_p(value.__array_interface__["data"][0]))
        passed += map(ctypes.c_int64, value.shape)
        if self.dimensions == 2:
            passed.append(ctypes.c_int64(value.strides[0] // value.itemsize))
