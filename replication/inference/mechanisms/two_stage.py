"""Levels that RoIs are pooled from, what samplers have to choose from, and boxes that miss their object."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling.poolers import assign_boxes_to_levels
from detectron2.modeling.proposal_generator.proposal_utils import add_ground_truth_to_proposals
from detectron2.structures import Boxes, Instances, pairwise_iou
from torch import Tensor

from replication.catalog import AreaRanges
from replication.detectors.libra.sampling import choose_balanced, iou_bins
from replication.detectors.losses import iou
from replication.inference.mechanisms.tally import Means, Measure, Shares

EASY = 0.05  # the IoU that the paper's proportions are about (Libra R-CNN, section 3.1)


class TwoStage:
    """The second stage of an R-CNN, on its own or fixed proposals."""

    def __init__(self, model: Any, cfg: CfgNode) -> None:
        self.model, self.heads = model, model.roi_heads
        self.fixed_test = int(cfg.DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST)
        self.below = float(cfg.MODEL.ROI_HEADS.IOU_THRESHOLDS[0])
        self.num_bins = int(cfg.MODEL.ROI_HEADS.SAMPLER.NUM_BINS)
        self.levels, self.bins, self.hard, self.missed = Shares(), Shares(), Shares(), Shares()
        self.pool = Means()

    @classmethod
    def of(cls, model: Any, cfg: CfgNode, areas: AreaRanges) -> TwoStage | None:
        """None for a model without a second stage."""
        return cls(model, cfg) if cfg.MODEL.META_ARCHITECTURE == "GeneralizedRCNN" else None

    def look(self, item: dict[str, Any]) -> None:
        """See ``Probe``."""
        images = self.model.preprocess_image([item])
        features = self.model.backbone(images.tensor)
        truth = item["instances"].to(self.model.device)
        offered = self._proposals(item, images, features, training=True)
        sampled = self.heads.label_and_sample_proposals([offered], [truth])[0]
        tested = self._proposals(item, images, features, training=False)
        for line, boxes in (("training samples", sampled.proposal_boxes), ("test", tested.proposal_boxes)):
            self.levels.add(line, self._levels(boxes))
        self._count_negatives(offered, sampled, truth)
        self._count_missed(features, sampled)

    def _proposals(self, item: dict[str, Any], images: Any, features: dict[str, Tensor], training: bool) -> Instances:
        rpn = self.model.proposal_generator
        if rpn is None:
            fixed: Instances = item["proposals"].to(self.model.device)
            return fixed if training else fixed[: self.fixed_test]
        before = rpn.pre_nms_topk[False], rpn.post_nms_topk[False]
        rpn.pre_nms_topk[False], rpn.post_nms_topk[False] = rpn.pre_nms_topk[training], rpn.post_nms_topk[training]
        try:
            made: Instances = rpn(images, features, None)[0][0]
        finally:
            rpn.pre_nms_topk[False], rpn.post_nms_topk[False] = before
        return made

    def _levels(self, boxes: Boxes) -> list[str]:
        pooler = self.heads.box_pooler
        if not len(boxes):
            return []
        found = assign_boxes_to_levels(
            [boxes], pooler.min_level, pooler.max_level, pooler.canonical_box_size, pooler.canonical_level
        )
        return [f"P{pooler.min_level + index}" for index in found.tolist()]

    def _count_negatives(self, offered: Instances, sampled: Instances, truth: Instances) -> None:
        if self.heads.proposal_append_gt:
            offered = add_ground_truth_to_proposals([truth], [offered])[0]
        overlaps = pairwise_iou(truth.gt_boxes, offered.proposal_boxes).max(dim=0).values
        negative = overlaps[overlaps < self.below]
        self.pool.add("candidates", "all", len(overlaps))
        self.pool.add("candidates", "negative", len(negative))
        # As many as this step takes, drawn either way from the same pool.
        wanted = int((sampled.gt_classes == self.heads.num_classes).sum())
        at_random = torch.randperm(len(negative), device=negative.device)[:wanted]
        balanced = choose_balanced(iou_bins(negative, self.below, self.num_bins), wanted // self.num_bins, wanted)
        lines = {"offered": negative, "random": negative[at_random], "IoU-balanced": negative[balanced]}
        for line, values in lines.items():
            self.bins.add(line, (self._bin(index) for index in iou_bins(values, self.below, self.num_bins).tolist()))
            self.hard.add(line, ("above" if value > EASY else "below" for value in values.tolist()))

    def _bin(self, index: int) -> str:
        low, high = (self.below * number / self.num_bins for number in (index, index + 1))
        return f"{low:.2f} to {high:.2f}"

    def _count_missed(self, features: dict[str, Tensor], sampled: Instances) -> None:
        positive = sampled[sampled.gt_classes != self.heads.num_classes]
        if not len(positive):
            return
        maps = [features[name] for name in self.heads.box_in_features]
        pooled = self.heads.box_head(self.heads.box_pooler(maps, [positive.proposal_boxes]))
        predictor = self.heads.box_predictor
        (boxes,) = predictor.predict_boxes_for_gt_classes(predictor(pooled), [positive])
        overlaps = iou(boxes, positive.gt_boxes.tensor)
        self.missed.add("predicted boxes", ("none" if value <= 0 else "some" for value in overlaps.tolist()))

    def measures(self) -> list[Measure]:
        """See ``Probe``."""
        pooler = self.heads.box_pooler
        levels = [f"P{number}" for number in range(pooler.min_level, pooler.max_level + 1)]
        bins = [self._bin(index) for index in range(self.num_bins)]
        return [
            *self.levels.measure("roi_levels", "RoIs by the level that they are pooled from", levels),
            *self.pool.measure("candidates", "candidates per image"),
            *self.bins.measure("negatives", "negatives by IoU with the nearest object", bins),
            *self.hard.measure("hard_negatives", f"negatives above IoU {EASY:g}", ["above"]),
            *self.missed.measure(
                "no_overlap", "predicted boxes of positives without overlap with their object", ["none"]
            ),
        ]
