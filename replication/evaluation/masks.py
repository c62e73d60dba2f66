"""Overlaps of masks, by pycocotools' run-length code, in the order in which the matching takes detections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from pycocotools import mask as mask_utils

from replication.errors import DataError
from replication.formats.checks import uncovered
from replication.formats.columns import Detections, Floats, GroundTruth, Ints
from replication.formats.rle_kernels import pixels

FARTHEST = 1_000_000  # pixels; pycocotools walks along every edge, so one of any length takes any memory


def mask_areas(detections: Detections) -> Floats:
    """Areas of the detections' masks (N,) in square pixels."""
    # One by one: pycocotools counts the masks of a list in eight bits.
    return np.array([mask_utils.area(mask) for mask in detections.masks or ()], np.float64)


def mask_overlaps(
    truth: GroundTruth,
    detections: Detections,
    order: Ints,
    starts: Ints,
    gt_order: Ints,
    gt_starts: Ints,
    limit: int,
) -> tuple[Floats, Ints]:
    """Overlaps of all images and classes with objects and detections, one after the other, and where classes start.

    ``order`` and ``gt_order`` list detections and objects by class and image, ``starts`` and ``gt_starts`` delimit the
    classes. Of each image and class the ``limit`` best are taken by falling score, stable, as the matching does.
    """
    parts: list[Floats] = []
    begins, length = np.zeros(len(starts) - 1, np.int64), 0
    objects: dict[int, Any] = {}
    for c in range(len(begins)):
        begins[c] = length
        own, others = order[starts[c] : starts[c + 1]], gt_order[gt_starts[c] : gt_starts[c + 1]]
        for image in np.intersect1d(detections.images[own], truth.images[others]):
            rows = own[slice(*np.searchsorted(detections.images[own], [image, image + 1]))]
            rows = rows[np.argsort(-detections.scores[rows], kind="stable")][:limit]
            columns = others[slice(*np.searchsorted(truth.images[others], [image, image + 1]))]
            for index in columns:
                if index not in objects:
                    objects[index] = rle(truth, int(index))
            found = [detections.masks[row] for row in rows] if detections.masks else []
            overlaps = mask_utils.iou(found, [objects[index] for index in columns], truth.crowds[columns].tolist())
            parts.append(np.asarray(overlaps, np.float64).reshape(-1))
            length += len(parts[-1])
    return (np.concatenate(parts) if parts else np.empty(0)), begins


def rle(truth: GroundTruth, index: int) -> Any:
    """The mask of an object as RLE: polygons, plain or compressed counts. Raises ValueError saying what is wrong."""
    assert truth.masks is not None
    try:
        segmentation = msgspec.json.decode(truth.masks[index])
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise ValueError(str(problem)) from problem
    height, width = (int(size) for size in truth.sizes[truth.images[index]])
    if height < 1 or width < 1:
        raise ValueError(f"its image has height {height} and width {width}; correct them")
    if isinstance(segmentation, list):
        _check_polygons(segmentation)
        return mask_utils.merge(mask_utils.frPyObjects(segmentation, height, width))
    counts = segmentation.get("counts") if isinstance(segmentation, dict) else None
    if not isinstance(counts, str | list):
        raise ValueError("expected polygons [[x, y, ...], ...] or an RLE {'size': [height, width], 'counts': ...}")
    if segmentation.get("size") != [height, width]:
        raise ValueError(f"size is {segmentation.get('size')}, the image is {[height, width]}")
    if isinstance(counts, list) and not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError("counts must be whole numbers, 0 or more")
    covered = sum(counts) if isinstance(counts, list) else int(pixels([counts])[0])
    if wrong := uncovered((height, width), covered):
        raise ValueError(wrong)
    return mask_utils.frPyObjects(segmentation, height, width) if isinstance(counts, list) else segmentation


def _check_polygons(polygons: list[Any]) -> None:
    if not polygons:
        raise ValueError("the list of polygons is empty")
    for number, polygon in enumerate(polygons):
        # pycocotools takes four numbers for a box, and forgets the last of an odd number.
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"polygon {number} needs x and y of at least three points")
        if not all(type(value) in (int, float) and abs(value) <= FARTHEST for value in polygon):
            raise ValueError(f"polygon {number} needs numbers of pixels, at most {FARTHEST} from the corner")


def check_masks(truth: GroundTruth, path: Path) -> None:
    """Raise DataError naming file and annotation where an object's mask is none of its image."""
    for index in range(len(truth.masks or ())):
        try:
            rle(truth, index)
        except ValueError as problem:
            raise DataError(f"{path}: annotations[{index}]: segmentation: {problem}") from problem
