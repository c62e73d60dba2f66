"""pycocotools as it is, and with what our evaluation adds to it: the second opinion of tests."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from replication.evaluation.verify import Overlap, giou_overlap

COUNTS = (1, 10, 100)


def plain_pycocotools(
    document: dict[str, Any],
    records: list[dict[str, Any]],
    max_detections: Sequence[int] = COUNTS,
    classes: bool = True,
) -> tuple[Any, Any]:
    """Precision and recall by pycocotools as it is, nothing overridden."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth, result = COCO(), COCO()
        truth.dataset = document
        truth.createIndex()
        result.dataset = document | {
            "annotations": [
                r | {"id": n + 1, "iscrowd": 0, "area": r["bbox"][2] * r["bbox"][3]} for n, r in enumerate(records)
            ]
        }
        result.createIndex()
        evaluation = COCOeval(truth, result, "bbox")
        evaluation.params.maxDets = list(max_detections)
        evaluation.params.useCats = int(classes)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"].mean(axis=1), evaluation.eval["recall"]


class _Evaluation(COCOeval):
    """COCOeval that heeds ``ignore``, which upstream overwrites by ``iscrowd``, and takes another overlap.

    An ignored object (VOC's "difficult") is neither counted nor, when found, held against the detector. Unlike a
    crowd it takes one detection only.
    """

    def __init__(self, ground_truth: COCO, detections: COCO, overlap: Overlap | None) -> None:
        super().__init__(ground_truth, detections, "bbox")
        self._ignored = {key for key, annotation in ground_truth.anns.items() if annotation["ignore"]}
        self._overlap = overlap

    def _prepare(self) -> None:
        super()._prepare()
        for objects in self._gts.values():
            for annotation in objects:
                annotation["ignore"] = annotation["id"] in self._ignored

    def computeIoU(self, imgId: int, catId: int) -> Any:
        if self._overlap is None:
            return super().computeIoU(imgId, catId)
        objects, found = self._gts[imgId, catId], self._dts[imgId, catId]
        if not objects and not found:
            return []
        order = np.argsort([-one["score"] for one in found], kind="mergesort")[: self.params.maxDets[-1]]
        boxes = [found[index]["bbox"] for index in order]
        return self._overlap(boxes, [one["bbox"] for one in objects], [one["iscrowd"] for one in objects])


def pycocotools_with_ignore(document: dict[str, Any], records: list[dict[str, Any]], criterion: str) -> tuple[Any, Any]:
    """Precision and recall by pycocotools with the overlap of ``criterion``, ``ignore`` heeded."""
    overlap = None if criterion == "iou" else giou_overlap(criterion == "giou_paper")
    annotations = [one | {"ignore": bool(one["iscrowd"] or one.get("ignore"))} for one in document["annotations"]]
    with contextlib.redirect_stdout(io.StringIO()):
        truth, result = COCO(), COCO()
        truth.dataset = document | {"annotations": annotations}
        truth.createIndex()
        result.dataset = document | {
            "annotations": [
                r | {"id": n + 1, "iscrowd": 0, "area": r["bbox"][2] * r["bbox"][3]} for n, r in enumerate(records)
            ]
        }
        result.createIndex()
        evaluation = _Evaluation(truth, result, overlap)
        evaluation.params.maxDets = list(COUNTS)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"].mean(axis=1), evaluation.eval["recall"]
