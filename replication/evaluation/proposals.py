"""Average recall of class-agnostic proposals (Libra R-CNN, table 3)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from replication.catalog.protocols import AreaRanges
from replication.evaluation.coco import COCO_AREAS, METRICS, class_agnostic_evaluation
from replication.evaluation.inputs import GroundTruth, read_detections, read_ground_truth

PROPOSAL_LIMITS = (100, 300, 1000)
PROPOSAL_METRICS = tuple(f"AR{limit}" for limit in PROPOSAL_LIMITS)


def evaluate_proposals(proposals: Path, ground_truth: Path, area_ranges: AreaRanges = COCO_AREAS) -> dict[str, Any]:
    """Average recall of a COCO result file of proposals, whose categories are not looked at.

    Returns the body of ``metrics.json`` as ``evaluate`` does: AR100, AR300 and AR1000 on 0-100, and None for every AP.
    Raises DataError (ground truth) or ResultError (proposals) naming file and record.
    """
    truth = read_ground_truth(ground_truth)
    recall = average_recall(truth, read_detections(proposals, truth))
    return {
        "metrics": dict.fromkeys(METRICS) | recall,
        "mask_metrics": None,
        "per_class": {},
        "images": len(truth.images),
        "objects": truth.objects,
        "area_ranges": area_ranges.model_dump(mode="json"),
        "evaluator": f"pycocotools {version('pycocotools')}",
    }


def average_recall(
    truth: GroundTruth, proposals: Sequence[dict[str, Any]], limits: Sequence[int] = PROPOSAL_LIMITS
) -> dict[str, float]:
    """``AR<limit>`` on 0-100: recall with the best ``limit`` proposals an image, mean over IoU .50:.05:.95.

    COCO's matching without regard to classes: by falling score each proposal takes the object, not yet taken, that it
    overlaps most. Crowd and ignored objects count neither as found nor as missed.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = class_agnostic_evaluation(truth, proposals)
        evaluation.params.maxDets = list(limits)
        evaluation.evaluate()
        evaluation.accumulate()
    recall = evaluation.eval["recall"]  # thresholds x 1 x 1 x limits
    return {f"AR{limit}": float(np.mean(recall[:, 0, 0, k])) * 100 for k, limit in enumerate(limits)}
