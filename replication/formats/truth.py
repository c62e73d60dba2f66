"""Reading ground truth of any form for evaluation: COCO JSON, VOC's lists and folders, YOLO's folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from replication.errors import DataError
from replication.formats.annotations import Annotations
from replication.formats.coco import read_coco
from replication.formats.columns import GroundTruth, columns_of


def read_ground_truth(path: Path) -> GroundTruth:
    """Read and check ground truth.

    ``path`` is a COCO JSON file; VOC's image list (``ImageSets/Main/<split>.txt``) or a folder of VOC; or YOLO's
    ``data.yaml``, of which the validation images are taken, or a folder of YOLO. Raises DataError naming file and
    record, and where there is no object to find.
    """
    truth = columns_of(read_annotations(path))
    if truth.ignored.all():
        raise DataError(f"{path}: annotations: no object to find in any image, AP is not defined; check the split")
    return replace(truth, notes=(*truth.notes, *_notes(truth)))


def read_annotations(path: Path) -> Annotations:
    """The annotations of a file or folder, whatever its form. Raises DataError."""
    if path.suffix.lower() == ".json" and not path.is_dir():
        return read_coco(path)
    # Loaded where they are needed, as they bring libraries of their own.
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


def _notes(truth: GroundTruth) -> list[str]:
    notes = []
    empty = int(np.count_nonzero((truth.box_areas == 0) & ~truth.ignored))
    if empty:
        notes.append(f"{empty} objects have boxes without area, which no detection can overlap: they count as missed")
    return notes
