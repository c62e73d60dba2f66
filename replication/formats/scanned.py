"""COCO's files as tools write them, by the compiled scanners straight into columns.

What they refuse, because it is rare, wrong, too large or absent, ``coco`` and ``json_results`` read: those
load more code, need several times as long, and name what is wrong. None is returned for it here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replication.formats.columns import Detections, GroundTruth, Ints, indices
from replication.formats.native import Kernel
from replication.formats.result_columns import located

END, NOT_PLAIN = 1, 2  # what a scanner ends with: ``native/text.h``
# Columns are made for as many records as fit into the file: rows that are not written to take no memory.
RECORD, OBJECT = 58, 55  # characters of the shortest detection and object that a scanner takes, with their comma
ENTRY = 32  # characters of an image or a category; where most are shorter, the file is not scanned
NO_MASK = (b"", b"null", b"[]", b"{}", b'""')
Text = NDArray[np.uint8]


def scanned_detections(path: Path, truth: GroundTruth) -> Detections | None:
    """A COCO result list without masks, of images that the ground truth has."""
    text = _text(path)
    if text is None or truth.image_keys or truth.class_keys:
        return None
    rows, state = len(text) // RECORD + 1, np.zeros(2, np.int64)
    try:
        image, label, score = np.empty(rows, np.int64), np.empty(rows, np.int64), np.empty(rows)
        boxes, areas = np.empty((rows, 4)), np.empty(rows)
    except MemoryError:
        return None
    SCAN(text, state, image, label, score, boxes, areas)
    count, end = state.tolist()
    if end != END:
        return None
    images, unknown = indices(image[:count], truth.image_ids)
    if unknown.any():
        return None
    return located(images, label[:count], boxes[:count], areas[:count], score[:count], truth)


def scanned_truth(path: Path) -> GroundTruth | None:
    """The annotations of a COCO file whose ids are whole numbers."""
    text = _text(path)
    if text is None:
        return None
    rows, most, counts = len(text) // ENTRY + 1, len(text) // OBJECT + 1, np.zeros(4, np.int64)
    try:
        tables = np.empty((rows, 5), np.int64), np.empty((rows, 3), np.int64), np.empty((most, 8), np.int64)
        boxes = np.empty((most, 6))
    except MemoryError:
        return None
    SCAN_TRUTH(text, counts, *tables, boxes)
    sizes = counts.tolist()
    if sizes[3] != END:
        return None
    images, categories, objects = (table[:size] for table, size in zip(tables, sizes, strict=False))
    return _sound(text, images, categories, objects, boxes[: len(objects)])


def _text(path: Path) -> Text | None:
    try:
        return np.memmap(path, np.uint8, "r").view(np.ndarray)  # whose parts are made faster
    except (OSError, ValueError):  # not there, or empty
        return None


def _sound(text: Text, images: Ints, categories: Ints, objects: Ints, boxes: Any) -> GroundTruth | None:
    """The tables of the scanner as ground truth, when no id occurs twice or is missing, and no name."""
    if not len(images) or not len(categories) or not len(objects):
        return None
    images, categories = images[np.argsort(images[:, 0])], categories[np.argsort(categories[:, 0])]
    image_ids, class_ids = images[:, 0].copy(), categories[:, 0].copy()
    ids = np.sort(objects[:, 0])
    places = [indices(objects[:, column], known) for column, known in ((1, image_ids), (2, class_ids))]
    if any((values[1:] == values[:-1]).any() for values in (image_ids, class_ids, ids)):
        return None
    names = _cut(text, categories[:, 1:])
    if any(unknown.any() for _, unknown in places) or len(set(names)) < len(names) or not all(map(str.strip, names)):
        return None
    crowds = objects[:, 3] == 1
    return GroundTruth(
        image_ids=image_ids,
        sizes=np.where(images[:, 1:3] > 0, images[:, 1:3], np.nan),
        class_ids=class_ids,
        class_names=tuple(names),
        images=places[0][0],
        labels=places[1][0],
        boxes=boxes[:, :4].copy(),
        box_areas=boxes[:, 4].copy(),
        areas=boxes[:, 5].copy(),
        crowds=crowds,
        ignored=(objects[:, 4] == 1) | crowds,
        difficult=objects[:, 5] == 1,
        image_names=tuple(_cut(text, images[:, 3:])),
        masks=_masks(text, objects[:, 6:]),
    )


def _cut(text: Text, spans: Ints) -> list[str]:
    """The texts between the bytes that each row of ``spans`` (N, 2) names."""
    return [str(text[start:end].data, "ascii") if end > start else "" for start, end in spans.tolist()]


def _masks(text: Text, spans: Ints) -> tuple[bytes, ...] | None:
    """JSON of the masks, None unless every object has one."""
    if not spans[:, 1].all():  # a key that is not there
        return None
    masks = tuple(text[start:end].tobytes() for start, end in spans.tolist())
    return None if any(mask in NO_MASK for mask in masks) else masks


def _scan_nothing(text: Text, state: Ints, *columns: Any) -> None:
    """Without the library no file is plain: the JSON library reads them all."""
    state[-1] = NOT_PLAIN


SCAN = Kernel("scan", "u1[] i8[]! i8[]! i8[]! f8[]! f8[,]! f8[]!", lambda: _scan_nothing)
SCAN_TRUTH = Kernel("scan_truth", "u1[] i8[]! i8[,]! i8[,]! i8[,]! f8[,]!", lambda: _scan_nothing)
