"""Checks of whole columns, and the messages they end in: file, record, what is wrong, what to do."""

from __future__ import annotations

import json
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from replication.errors import ReplicationError
from replication.formats.columns import Floats, Ints, first, indices

REREAD = 1 << 28  # bytes; larger files are not read a second time to explain what is wrong


class Failure:
    """Makes the error of one file, and checks columns of its records."""

    def __init__(self, path: Path, error: type[ReplicationError]) -> None:
        self.path = path
        self.error = error

    def __call__(self, where: str, problem: str) -> ReplicationError:
        """The error of a place in the file."""
        return self.error(f"{self.path}: {where}: {problem}")

    def unique(self, values: Any, where: str, key: str) -> Any:
        """``values`` unless one occurs twice; the error names the second place."""
        _, firsts = np.unique(values, return_index=True)
        if len(firsts) < len(values):
            again = first(~np.isin(np.arange(len(values)), firsts))
            assert again is not None
            value = values[again].item()
            raise self(f"{where}[{again}]", f"{key} {value!r} occurs twice; make it unique")
        return values

    def known(self, values: Ints, ids: Ints, key: str, where: str) -> Ints:
        """Places of ``values`` in ``ids``."""
        places, unknown = indices(values, ids)
        if (bad := first(unknown)) is not None:
            message = f"{key} {values[bad]} is not in the ground truth; are the two files of one data set?"
            raise self(f"{where}[{bad}]", message)
        return places

    def boxes(self, xywh: Floats, where: str) -> None:
        """Refuse boxes with numbers that are not finite, and boxes without area."""
        if (bad := first(~np.all(np.isfinite(xywh), axis=1))) is not None:
            message = f"bbox is {xywh[bad].tolist()}, expected four finite numbers [x, y, width, height]"
            raise self(f"{where}[{bad}]", message)
        if (bad := first(xywh[:, 2:].min(axis=1) <= 0)) is not None:
            message = (
                f"bbox {xywh[bad].tolist()} has zero or negative width or height; boxes are [x, y, width, height] with "
                "an area, leave others out"
            )
            raise self(f"{where}[{bad}]", message)


def whole_numbers(values: list[int], where: str, fail: Failure) -> Ints:
    """Ids as a column; an error names the first that 64 bits do not hold."""
    try:
        return np.array(values, np.int64)
    except OverflowError:
        bad = next(index for index, value in enumerate(values) if not -(2**63) <= value < 2**63)
        raise fail(f"{where}[{bad}]", f"{values[bad]} does not fit into 64 bits") from None


def uncovered(size: Sequence[int], pixels: int) -> str | None:
    """What is wrong with a run-length code that covers ``pixels`` of an image of ``size`` (-1: it does not decode)."""
    if pixels < 0:
        return "counts do not decode; write the mask again"
    if min(size) < 1 or max(size) >= 1 << 31 or size[0] * size[1] >= 1 << 31 or pixels != size[0] * size[1]:
        return f"counts cover {pixels} pixels, size is {list(size)}; write the mask again"
    return None


def mapped(path: Path, error: type[ReplicationError]) -> bytes | mmap.mmap:
    """The bytes of a file; raises ``error`` when there are none."""
    try:
        with open(path, "rb") as file:
            if not file.seek(0, 2):
                raise error(f"{path}: the file is empty; write it again")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise error(f"{path}: no such file") from None
    except OSError as problem:
        raise error(f"{path}: cannot be read: {problem.strerror or problem}") from problem


def explain(
    path: Path, content: bytes | mmap.mmap, problem: Exception, error: type[ReplicationError], good: int = 0
) -> Any:
    """What the standard library reads, for the check record by record; raises ``error`` where it is no JSON."""
    if len(content) > REREAD:
        raise error(f"{path}: detections[{good}] or one of the following records: {problem}") from problem
    try:
        return json.loads(content[:])
    except (ValueError, RecursionError) as invalid:
        where = f"after record {good}, " if good else ""
        raise error(f"{path}: {where}not valid JSON, perhaps truncated ({invalid}); write it again") from invalid
