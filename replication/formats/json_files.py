"""JSON files as they are read: mapped into memory, with errors that name the file, and fields of their records."""

from __future__ import annotations

import json
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from replication.errors import ReplicationError
from replication.formats.annotations import Box
from replication.formats.values import is_finite, shown


def mapped(path: Path, error: type[ReplicationError]) -> bytes | mmap.mmap:
    """The bytes of a file; raises ``error`` when there are none."""
    try:
        with open(path, "rb") as file:
            if not file.seek(0, 2):
                raise error(f"{path}: the file is empty; write it again")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise error(f"{path}: no such file; check the path") from None
    except (OSError, ValueError) as problem:
        raise error(f"{path}: cannot be read: {getattr(problem, 'strerror', None) or problem}") from problem


def load_json(path: Path, content: bytes, error: type[ReplicationError], before: int = 0) -> Any:
    """What the standard library reads, NaN and a byte order mark included; raises ``error`` where it is no JSON."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as invalid:
        where = f"after record {before}, " if before else ""
        raise error(f"{path}: {where}not valid JSON, perhaps truncated ({invalid}); write it again") from invalid


def require(entry: dict[str, Any], keys: Sequence[str]) -> None:
    """Raise ValueError when a record lacks a key."""
    missing = [key for key in keys if key not in entry]
    if missing:
        raise ValueError(f"key {missing[0]!r} is missing; a record needs {', '.join(keys)}")


def box(value: Any) -> Box:
    """A COCO box, XYWH. Raises ValueError."""
    if not isinstance(value, list) or len(value) != 4 or not all(map(is_finite, value)):
        raise ValueError(f"bbox is {shown(value)}, expected four finite numbers [x, y, width, height]")
    x, y, width, height = map(float, value)
    return x, y, width, height
