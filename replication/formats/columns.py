"""Ground truth and detections as columns: what the matching computes on, checked once, stored as npz."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
            if field.name == "notes":
                continue
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
    ``sizes`` (I, 2) are height and width, NaN where unknown. ``masks`` are JSON texts, None unless every object has
    one. ``image_keys`` and ``class_keys`` are the files' ids where those are text, and ``notes`` warnings.
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
    image_keys: tuple[str, ...] = ()
    class_keys: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

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
    ``box_areas`` width x height as the file has them. ``masks`` are RLE records, None where there are none; ``notes``
    are warnings about the file.
    """

    images: Ints
    labels: Ints
    boxes: Floats
    box_areas: Floats
    scores: Floats
    masks: tuple[dict[str, Any], ...] | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.scores)


def indices(values: Ints, known: Ints) -> tuple[Ints, Flags]:
    """Places of ``values`` in the sorted ``known``, and which of them are not there."""
    span = int(known[-1]) - int(known[0]) + 1 if len(known) else 0
    if 0 < span <= 4 * len(values):
        # Looked up rather than searched for. A number before the first is, without a sign, a very large one.
        offsets = np.asarray(values, np.int64) - known[0]
        if (offsets.view(np.uint64) < span).all():
            table = np.full(span, -1)
            table[known - known[0]] = np.arange(len(known))
            places = table[offsets]
            return places, places < 0
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
