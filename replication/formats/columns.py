"""Ground truth and detections as columns: what the matching computes on, checked once, stored as npz."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replication.errors import ReplicationError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


class _Hashed:
    """A record of arrays with a hash of its content."""

    @cached_property
    def content_hash(self) -> str:
        """Hex SHA-256 over all columns."""
        digest = hashlib.sha256()
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            digest.update(field.name.encode())
            if isinstance(value, np.ndarray):
                digest.update(f"{value.dtype.str}{value.shape}".encode())
                digest.update(np.ascontiguousarray(value).data)
            else:
                digest.update(repr(value).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class GroundTruth(_Hashed):
    """Objects of a data set, in the order of their file.

    ``image_ids`` (I,) and ``class_ids`` (C,) are sorted; ``images`` and ``labels`` (M,) index them. ``boxes`` (M, 4)
    are XYXY in absolute pixels, ``box_areas`` width x height as in the file, ``areas`` what area ranges are taken
    by (a mask's, where the file says so). ``ignored`` objects are neither counted nor held against a detector;
    ``crowds`` are ignored and take any number of detections; ``difficult`` objects are ignored under VOC's rules.
    ``sizes`` (I, 2) are height and width, NaN where unknown.
    """

    image_ids: Ints
    sizes: Floats
    class_ids: Ints
    class_names: tuple[str, ...]
    images: Ints
    labels: Ints
    boxes: Floats
    box_areas: Floats
    areas: Floats
    crowds: Flags
    ignored: Flags
    difficult: Flags
    image_names: tuple[str, ...] = ()
    masks: tuple[Any, ...] | None = None

    def under(self, criterion: str) -> GroundTruth:
        """The ground truth with what the criterion's rules ignore marked so: VOC's leave difficult objects out."""
        if not criterion.startswith("voc"):
            return self
        return replace(self, ignored=self.ignored | self.difficult)

    @property
    def objects(self) -> int:
        """Number of objects that a detector has to find."""
        return int(np.count_nonzero(~self.ignored))

    @property
    def per_class(self) -> Ints:
        """Number of objects to find of each class (C,)."""
        return np.bincount(self.labels[~self.ignored], minlength=len(self.class_ids)).astype(np.int64)


@dataclass(frozen=True)
class Detections(_Hashed):
    """Detections on the images of one ground truth, in the order of their file.

    ``images`` and ``labels`` (N,) index the ground truth's sorted ids; ``boxes`` (N, 4) are XYXY in absolute pixels,
    ``box_areas`` width x height as the file has them. ``masks`` are RLE records, None where there are none.
    """

    images: Ints
    labels: Ints
    boxes: Floats
    box_areas: Floats
    scores: Floats
    masks: tuple[dict[str, Any], ...] | None = None

    def __len__(self) -> int:
        return len(self.scores)


def indices(values: Ints, known: Ints) -> tuple[Ints, Flags]:
    """Places of ``values`` in the sorted ``known``, and which of them are not there."""
    places = np.searchsorted(known, values)
    places[places == len(known)] = 0
    return places, known[places] != values if len(known) else np.ones(len(values), np.bool_)


def first(flags: Flags) -> int | None:
    """Index of the first true flag."""
    return int(np.argmax(flags)) if flags.any() else None


def from_xywh(boxes: Floats) -> tuple[Floats, Floats]:
    """XYWH boxes (N, 4) as XYXY and their areas, which the corners would not give back to the last bit."""
    corners = boxes.copy()
    corners[:, 2:] += boxes[:, :2]
    return corners, boxes[:, 2] * boxes[:, 3]


def save_detections(path: Path, detections: Detections, truth: GroundTruth) -> None:
    """Write detections as npz: ``image_ids``, ``class_ids``, ``boxes`` (XYXY), ``box_areas``, ``scores``. No masks."""
    with open(path, "wb") as file:
        np.savez(
            file,
            image_ids=truth.image_ids[detections.images],
            class_ids=truth.class_ids[detections.labels],
            boxes=detections.boxes,
            box_areas=detections.box_areas,
            scores=detections.scores,
        )


def load_columns(path: Path, needed: Sequence[str], error: type[ReplicationError]) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file; raises ``error`` when it is unreadable or lacks one."""
    try:
        with np.load(path, allow_pickle=False) as content:
            columns = {name: content[name] for name in content.files}
    except FileNotFoundError:
        raise error(f"{path}: no such file") from None
    except Exception as problem:  # zip, numpy and the operating system each have their own
        raise error(f"{path}: not readable as npz ({problem}); write it again") from problem
    missing = [name for name in needed if name not in columns]
    if missing:
        raise error(f"{path}: array {missing[0]!r} is missing; detections need {', '.join(needed)}")
    return columns
