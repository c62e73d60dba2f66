"""Average recall of class-agnostic proposals (Libra R-CNN, table 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import replication
from replication.evaluation.matching import COCO_AREAS, THRESHOLDS, AreaRanges, bounds, match
from replication.evaluation.summary import average_recall
from replication.formats.columns import Detections, Floats, GroundTruth
from replication.results.metrics import METRICS

PROPOSAL_LIMITS = (100, 300, 1000)
"""Numbers of proposals per image at which Libra R-CNN's table 3 reads recall."""


def describe_proposals(truth: GroundTruth, proposals: Detections, area_ranges: AreaRanges) -> dict[str, Any]:
    """The body of ``metrics.json`` of an RPN alone: its recall, and None for every AP."""
    return {
        "criterion": "iou",
        "metrics": {**dict.fromkeys(METRICS), **proposal_recall(truth, proposals, area_ranges=area_ranges)},
        "giou_metrics": dict.fromkeys(METRICS),
        "mask_metrics": None,
        "per_class": {},
        "images": len(truth.image_ids),
        "objects": truth.objects,
        "area_ranges": bounds(area_ranges),
        "evaluator": f"replication {replication.__version__}",
    }


def proposal_recall(
    truth: GroundTruth,
    proposals: Detections,
    counts: Sequence[int] = PROPOSAL_LIMITS,
    area_ranges: AreaRanges = COCO_AREAS,
    thresholds: Floats = THRESHOLDS,
) -> Mapping[str, float | None]:
    """Average recall of class-agnostic proposals, ``AR<count>`` for the ``counts`` best of an image, on 0-100.

    What pycocotools gives with ``useCats = 0``.
    """
    # With equal scores, pycocotools takes the order of classes.
    order, gt_order = (np.argsort(columns.labels, kind="stable") for columns in (proposals, truth))
    flat_truth = replace(
        truth,
        class_ids=np.array([0]),
        class_names=("object",),
        masks=None,
        **{
            key: getattr(truth, key)[gt_order] for key in ("images", "boxes", "box_areas", "areas", "crowds", "ignored")
        },
        labels=np.zeros(len(gt_order), np.int64),
    )
    flat = Detections(
        images=proposals.images[order],
        labels=np.zeros(len(order), np.int64),
        boxes=proposals.boxes[order],
        box_areas=proposals.box_areas[order],
        scores=proposals.scores[order],
    )
    matches = match(flat_truth, flat, "iou", area_ranges, max(counts), thresholds)
    return {f"AR{count}": average_recall(matches, "all", count) for count in counts}
