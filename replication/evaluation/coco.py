"""COCO average precision through pycocotools."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from replication.catalog.protocols import AreaRanges
from replication.evaluation.inputs import GroundTruth, read_detections, read_ground_truth, with_masks

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
COCO_AREAS = AreaRanges()
_AREAS = ("all", "small", "medium", "large")
_ALL = (0.0, 1e10)  # square pixels; pycocotools' own bounds for "all"


class _Evaluation(COCOeval):  # type: ignore[misc]
    """COCOeval that heeds ``ignore``: upstream overwrites it by ``iscrowd``.

    An ignored object (VOC's "difficult") is neither counted nor, when found, held against the detector. Unlike a
    crowd it takes one detection only.
    """

    def __init__(self, ground_truth: COCO, detections: COCO, kind: Literal["bbox", "segm"]) -> None:
        super().__init__(ground_truth, detections, kind)
        self._ignored = {key for key, annotation in ground_truth.anns.items() if annotation["ignore"]}

    def _prepare(self) -> None:
        super()._prepare()
        for objects in self._gts.values():
            for annotation in objects:
                annotation["ignore"] = annotation["id"] in self._ignored


def evaluate(
    detections: Path, ground_truth: Path, area_ranges: AreaRanges = COCO_AREAS, masks: bool | None = None
) -> dict[str, Any]:
    """Average precision of a COCO result file against a COCO ground-truth file.

    Returns the body of ``metrics.json``: ``metrics`` and ``mask_metrics`` (AP, AP50, AP75, APs, APm, APl on 0-100, None
    where the ground truth has nothing to find), ``per_class``, ``images``, ``objects``, ``area_ranges``, ``evaluator``.
    Masks are evaluated when both files carry them; ``masks`` True demands it, False leaves them out.
    Raises DataError (ground truth) or ResultError (detections) naming file and record.
    """
    truth = read_ground_truth(ground_truth)
    found = read_detections(detections, truth)
    boxes = _precision(truth, found, area_ranges, "bbox")
    use_masks = with_masks(found, truth, (detections, ground_truth), masks)
    return {
        "metrics": _summary(boxes),
        "mask_metrics": _summary(_precision(truth, found, area_ranges, "segm")) if use_masks else None,
        "per_class": {
            name: {"AP": _mean(boxes[:, :, k, 0]), "AP50": _mean(boxes[0, :, k, 0])}
            for k, (_, name) in enumerate(sorted(truth.classes.items()))
        },
        "images": len(truth.images),
        "objects": truth.objects,
        "area_ranges": area_ranges.model_dump(mode="json"),
        "evaluator": f"pycocotools {version('pycocotools')}",
    }


def _precision(
    truth: GroundTruth, detections: Iterable[dict[str, Any]], areas: AreaRanges, kind: Literal["bbox", "segm"]
) -> NDArray[np.float64]:
    """Precision at 100 detections an image: thresholds x recalls x classes x (all, small, medium, large).

    -1 where a class has no object in an area range.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = _Evaluation(_truth_index(truth), _detection_index(truth, detections, kind), kind)
        evaluation.params.maxDets = [1, 10, 100]
        evaluation.params.areaRng = [list(_ALL), list(areas.small), list(areas.medium), list(areas.large)]
        evaluation.params.areaRngLbl = list(_AREAS)
        evaluation.evaluate()
        evaluation.accumulate()
    precision: NDArray[np.float64] = evaluation.eval["precision"][:, :, :, :, -1]
    return precision


def class_agnostic_evaluation(truth: GroundTruth, detections: Iterable[dict[str, Any]]) -> COCOeval:
    """COCOeval set up for boxes of all sizes without regard to their classes."""
    evaluation = _Evaluation(_truth_index(truth), _detection_index(truth, detections, "bbox"), "bbox")
    evaluation.params.useCats = 0
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [list(_ALL)], ["all"]
    return evaluation


def _truth_index(truth: GroundTruth) -> COCO:
    # A deep copy: mask evaluation replaces segmentations in place.
    return _index(truth, copy.deepcopy(truth.annotations))


def _detection_index(truth: GroundTruth, detections: Iterable[dict[str, Any]], kind: str) -> COCO:
    """What ``COCO.loadRes`` builds, which fails on an empty list and measures masks by the area of their boxes."""
    annotations = []
    for number, detection in enumerate(detections, start=1):
        record = {**detection, "id": number, "iscrowd": 0}
        if kind == "segm" or "bbox" not in record:
            record["area"] = float(mask_utils.area(record["segmentation"]))
            record["bbox"] = mask_utils.toBbox(record["segmentation"]).tolist()
        else:
            record["area"] = record["bbox"][2] * record["bbox"][3]
        annotations.append(record)
    return _index(truth, annotations)


def _index(truth: GroundTruth, annotations: list[dict[str, Any]]) -> COCO:
    index = COCO()
    index.dataset = {
        "images": list(truth.images.values()),
        "categories": [{"id": key, "name": name} for key, name in truth.classes.items()],
        "annotations": annotations,
    }
    index.createIndex()
    return index


def _summary(precision: NDArray[np.float64]) -> dict[str, float | None]:
    every = precision[..., 0]
    values = (every, every[0], every[5], precision[..., 1], precision[..., 2], precision[..., 3])
    return {name: _mean(value) for name, value in zip(METRICS, values, strict=True)}


def _mean(precision: NDArray[np.float64]) -> float | None:
    """Mean on 0-100 over the entries that have ground truth; None when there are none."""
    valid = precision[precision > -1]
    return float(valid.mean()) * 100 if valid.size else None
