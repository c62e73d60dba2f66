"""Reading ground truth of any form for evaluation: COCO JSON, VOC's lists and folders, YOLO's folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from replication.errors import DataError
from replication.formats.columns import GroundTruth, from_xywh
from replication.formats.scanned import scanned_truth

if TYPE_CHECKING:
    from replication.formats.annotations import Annotations


def read_ground_truth(path: Path) -> GroundTruth:
    """Read and check ground truth.

    ``path`` is a COCO JSON file; VOC's image list (``ImageSets/Main/<split>.txt``) or a folder of VOC; or YOLO's
    ``data.yaml``, of which the validation images are taken, or a folder of YOLO. Raises DataError naming file and
    record, and where there is no object to find.
    """
    truth = scanned_truth(path) if path.suffix.lower() == ".json" else None
    if truth is None:
        truth = columns_of(read_annotations(path))
    if truth.ignored.all():
        raise DataError(f"{path}: annotations: no object to find in any image, AP is not defined; check the split")
    return replace(truth, notes=(*truth.notes, *_notes(truth)))


def read_annotations(path: Path) -> Annotations:
    """The annotations of a file or folder, whatever its form. Raises DataError."""
    # Loaded where they are needed, as they bring libraries of their own.
    from replication.formats.coco import read_coco

    if path.suffix.lower() == ".json" and not path.is_dir():
        return read_coco(path)
    from replication.formats.voc import is_voc, read_voc_path
    from replication.formats.yolo import is_yolo, read_yolo_path

    if is_yolo(path):
        return read_yolo_path(path)
    if path.suffix == ".txt" or is_voc(path):
        return read_voc_path(path)
    if path.is_dir():
        raise DataError(
            f"{path}: cannot be read as ground truth: neither a folder of VOC (Annotations/*.xml) nor of YOLO "
            "(data.yaml, or images and labels with classes.txt)"
        )
    return read_coco(path)


def columns_of(annotations: Annotations) -> GroundTruth:
    """Annotations as columns, boxes and areas to the last bit as the file has them."""
    images = sorted(annotations.images, key=lambda image: image.id)
    categories, objects = annotations.categories, annotations.objects
    image_ids = np.array([image.id for image in images], np.int64)
    class_ids = np.array([category.id for category in categories], np.int64)
    boxes, box_areas = from_xywh(np.array([entry.box for entry in objects], np.float64).reshape(-1, 4))
    areas = np.array([np.nan if entry.area is None else entry.area for entry in objects], np.float64)
    crowds = np.array([entry.crowd for entry in objects], np.bool_)
    masks = tuple(entry.segmentation for entry in objects)
    return GroundTruth(
        image_ids=image_ids,
        sizes=np.array([(image.height or np.nan, image.width or np.nan) for image in images], np.float64).reshape(
            -1, 2
        ),
        class_ids=class_ids,
        class_names=tuple(category.name for category in categories),
        images=np.searchsorted(image_ids, np.array([entry.image for entry in objects], np.int64)),
        labels=np.searchsorted(class_ids, np.array([entry.category for entry in objects], np.int64)),
        boxes=boxes,
        box_areas=box_areas,
        areas=np.where(np.isnan(areas), box_areas, areas),
        crowds=crowds,
        ignored=np.array([entry.ignore for entry in objects], np.bool_) | crowds,
        difficult=np.array([entry.difficult for entry in objects], np.bool_),
        image_names=tuple(image.name for image in images),
        masks=None if None in masks else masks,
        image_keys=tuple(image.key for image in images if image.key is not None),
        class_keys=tuple(category.key for category in categories if category.key is not None),
        notes=annotations.notes,
    )


def _notes(truth: GroundTruth) -> list[str]:
    notes = []
    empty = int(np.count_nonzero((truth.box_areas == 0) & ~truth.ignored))
    if empty:
        notes.append(f"{empty} objects have boxes without area, which no detection can overlap: they count as missed")
    return notes
