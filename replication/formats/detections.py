"""Reading detections of any form, and what is odd about them though they can be evaluated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from replication.formats.columns import Detections, GroundTruth
from replication.formats.scanned import scanned_detections

EXCEED = 0.5  # share of boxes beyond their image above which the boxes are taken for XYXY
NORMALISED = 1.5  # pixels; boxes that all end before that are fractions of the image, not pixels
_NAMED = 10  # classes that a warning lists


def read_detections(path: Path, truth: GroundTruth, polygons: bool = False) -> Detections:
    """Read and check a COCO result list, columns in npz, or a folder of VOC's or YOLO's text files.

    A record of the list has image_id, category_id, score, and ``bbox`` (XYWH, pixels) or ``segmentation`` (RLE) or
    both; polygons are taken for masks where they are asked for. An empty list is
    valid. Raises ResultError naming file and record.
    """
    if path.suffix == ".npz":
        from replication.formats.npz_results import read_npz

        return read_npz(path, truth)
    if not path.is_dir():
        return read_result_list(path, truth, polygons)
    from replication.formats.voc_results import read_voc_results
    from replication.formats.yolo_results import is_yolo_results, read_yolo_results

    return read_yolo_results(path, truth) if is_yolo_results(path, truth) else read_voc_results(path, truth)


def read_result_list(path: Path, truth: GroundTruth, polygons: bool = False) -> Detections:
    """Read and check a COCO result list. Raises ResultError naming file and record."""
    found = scanned_detections(path, truth)
    if found is not None:
        return found
    from replication.formats.json_results import read_json

    return read_json(path, truth, polygons)


def warnings_of(path: Path, detections: Detections, truth: GroundTruth) -> list[str]:
    """Warnings about a file of detections that can be evaluated, but perhaps is not what was meant."""
    texts = [*detections.notes, *_oddities(detections, truth)]
    return [f"{path}: {text}" for text in texts]


def _oddities(detections: Detections, truth: GroundTruth) -> Iterator[str]:
    if not len(detections):
        yield "there is no detection at all: every AP is 0"
        return
    found = np.bincount(detections.labels, minlength=len(truth.class_ids)).tolist()
    counts = zip(truth.class_names, truth.per_class.tolist(), found, strict=True)
    silent = [f"{name} ({objects} objects)" for name, objects, detected in counts if objects and not detected]
    if silent:
        named = ", ".join(silent[:_NAMED]) + (f" and {len(silent) - _NAMED} more" if len(silent) > _NAMED else "")
        yield f"classes with objects, but without any detection, have an AP of 0: {named}"
    if detections.boxes.max() <= NORMALISED and truth.box_areas.max(initial=0.0) > NORMALISED**2:
        yield "all boxes end within 1.5 pixels: they look like fractions of the image from 0 to 1; boxes are in pixels"
    if (beyond := exceeding(detections, truth)) is not None:
        yield beyond


def exceeding(detections: Detections, truth: GroundTruth) -> str | None:
    """A warning when most boxes end more than a pixel beyond their image, as XYXY boxes read as XYWH do."""
    heights, widths = np.where(np.isnan(truth.sizes).any(axis=1), np.nan, truth.sizes.T + 1)[:, detections.images]
    known = np.count_nonzero(~np.isnan(widths))
    beyond = np.count_nonzero((detections.boxes[:, 2] > widths) | (detections.boxes[:, 3] > heights))
    if not known or beyond / known <= EXCEED:
        return None
    return (
        f"{100 * beyond / known:.0f}% of the boxes end beyond their image; boxes must be [x, y, width, height], "
        "these look like [x1, y1, x2, y2]"
    )
