"""Compilation by numba, for machines without the compiled library; and threads, which kernels leave running."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])
Task = TypeVar("Task")


def compiled(function: Function) -> Function:
    """``function`` compiled by numba without the interpreter lock.

    The machine code is kept in ``__pycache__``, or in the user's cache folder when the package folder is read-only;
    without either, it is compiled again in every process.
    """
    import numba

    options = {"nogil": True, "error_model": "numpy"}
    try:
        return cast(Function, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # no folder that can be written
        return cast(Function, numba.njit(**options)(function))


def inline(function: Function) -> Function:
    """A small function for use inside kernels of the same file."""
    import numba

    return cast(Function, numba.njit(inline="always", error_model="numpy")(function))


def in_threads(work: Callable[[Task], object], tasks: Iterable[Task], threads: int | None = None) -> None:
    """Run ``work`` on every task. Kernels release the interpreter lock, so threads suffice; the first error is raised.

    ``threads`` None takes all processors that this process may use.
    """
    pending: Sequence[Task] = list(tasks)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = min(threads or usable, len(pending))
    if count <= 1:
        for task in pending:
            work(task)
        return
    with ThreadPoolExecutor(count) as pool:
        for _ in pool.map(work, pending):
            pass
