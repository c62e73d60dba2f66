"""Overlaps of masks, by pycocotools' run-length code, in the order in which the matching takes detections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from replication.errors import DataError
from replication.formats.columns import Detections, Floats, GroundTruth, Ints
from replication.formats.segmentations import compressed, drawable, parse_segmentation


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
    height, width = (int(size) for size in truth.sizes[truth.images[index]])
    mask = parse_segmentation(truth.masks[index], height, width)
    if isinstance(mask, dict):
        return compressed(mask)
    if not mask:
        raise ValueError("the list of polygons is empty")
    for number, polygon in enumerate(mask):
        # pycocotools takes four numbers for a box, and forgets the last of an odd number.
        if not drawable(polygon):
            raise ValueError(f"polygon {number} needs x and y of at least three points")
    return mask_utils.merge(mask_utils.frPyObjects(mask, height, width))


def check_masks(truth: GroundTruth, path: Path) -> None:
    """Raise DataError naming file and annotation where an object's mask is none of its image."""
    for index in range(len(truth.masks or ())):
        try:
            rle(truth, index)
        except ValueError as problem:
            raise DataError(f"{path}: annotations[{index}]: segmentation: {problem}") from problem
