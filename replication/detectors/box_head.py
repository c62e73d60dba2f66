"""Box head of Faster and Mask R-CNN with the box regression loss and the sampling of RoIs as switches.

MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE chooses the loss, BBOX_REG_LOSS_WEIGHT multiplies it (10 for IoU and GIoU). Only
the final box refinement changes; the RPN has a loss of its own (GIoU, section 5.2).
"""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import configurable
from detectron2.modeling import ROI_HEADS_REGISTRY, StandardROIHeads
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator.proposal_utils import add_ground_truth_to_proposals
from detectron2.modeling.roi_heads import FastRCNNOutputLayers
from detectron2.structures import Instances, pairwise_iou
from detectron2.utils.events import get_event_storage
from torch import Tensor

from replication.detectors.libra import BalancedSampler, log_negative_bins
from replication.detectors.losses import BoxRegLoss, MatchedBoxes, build_box_reg_loss
from replication.errors import ConfigError


class BoxPredictor(FastRCNNOutputLayers):  # type: ignore[misc]
    """Detectron2's class scores and box deltas, with any registered loss on the boxes.

    With ``smooth_l1`` it is Detectron2's predictor bit for bit. Every loss is summed over the foreground RoIs and
    divided by the number of all sampled RoIs, as the GIoU authors' code and Detectron2 both do.
    """

    @configurable  # type: ignore[untyped-decorator]
    def __init__(self, input_shape: Any, *, regression_loss: BoxRegLoss, **kwargs: Any) -> None:
        """See FastRCNNOutputLayers; ``regression_loss`` takes the place of ``box_reg_loss_type``."""
        super().__init__(input_shape, **kwargs)
        self.regression_loss = regression_loss

    @classmethod
    def from_config(cls, cfg: Any, input_shape: Any) -> dict[str, Any]:
        """Arguments of ``__init__`` from MODEL.ROI_BOX_HEAD."""
        loss = build_box_reg_loss(cfg, "ROI_BOX_HEAD")
        return {**super().from_config(cfg, input_shape), "regression_loss": loss}

    def box_reg_loss(self, proposal_boxes: Tensor, gt_boxes: Tensor, pred_deltas: Tensor, gt_classes: Tensor) -> Tensor:
        """Scalar loss of R sampled RoIs: boxes (R, 4) XYXY, deltas (R, 4 K) or (R, 4), classes (R,) with K = none."""
        foreground = ((gt_classes >= 0) & (gt_classes < self.num_classes)).nonzero().squeeze(1)
        deltas = pred_deltas.view(-1, pred_deltas.shape[1] // 4, 4)
        classes = gt_classes[foreground] if deltas.shape[1] > 1 else torch.zeros_like(foreground)
        matched = MatchedBoxes(
            deltas[foreground, classes], proposal_boxes[foreground], gt_boxes[foreground], self.box2box_transform
        )
        loss = self.regression_loss.sum(matched) / max(gt_classes.numel(), 1)
        matched.log_mean_iou()
        return loss


@ROI_HEADS_REGISTRY.register()
class ReplicationROIHeads(StandardROIHeads):  # type: ignore[misc]
    """StandardROIHeads with ``BoxPredictor``; from one seed it starts with the same weights as Detectron2's.

    MODEL.ROI_HEADS.SAMPLER chooses how RoIs are sampled. With its defaults sampling is Detectron2's bit for bit.
    MODEL.ROI_HEADS.CANONICAL_BOX_SIZE and CANONICAL_LEVEL give the level that an RoI is pooled from (FPN's equation 1).
    """

    @configurable  # type: ignore[untyped-decorator]
    def __init__(
        self, *, sampler: BalancedSampler | None = None, negative_below: float = 0.5, num_bins: int = 3, **kwargs: Any
    ) -> None:
        """See StandardROIHeads.

        ``sampler`` None samples as Detectron2; the share of negatives is logged in ``num_bins`` bins of their IoU over
        [0, ``negative_below``).
        """
        super().__init__(**kwargs)
        self.sampler, self.negative_below, self.num_bins = sampler, negative_below, num_bins

    @classmethod
    def from_config(cls, cfg: Any, input_shape: Any) -> dict[str, Any]:
        """Arguments of ``__init__`` from MODEL.ROI_HEADS and the heads' own nodes."""
        node, negative_below = cfg.MODEL.ROI_HEADS.SAMPLER, cfg.MODEL.ROI_HEADS.IOU_THRESHOLDS[0]
        return {
            **super().from_config(cfg, input_shape),
            "sampler": BalancedSampler.from_config(node, "MODEL.ROI_HEADS.SAMPLER", negative_below),
            "negative_below": negative_below,
            "num_bins": node.NUM_BINS,
        }

    @classmethod
    def _init_box_head(cls, cfg: Any, input_shape: Any) -> dict[str, Any]:
        parts: dict[str, Any] = super()._init_box_head(cfg, input_shape)
        with torch.random.fork_rng(devices=[]):  # so that what is built next draws what it does in Detectron2
            predictor = BoxPredictor(cfg, parts["box_head"].output_shape)
        predictor.load_state_dict(parts["box_predictor"].state_dict())
        _set_canonical(parts["box_pooler"], cfg)
        return {**parts, "box_predictor": predictor}

    @classmethod
    def _init_mask_head(cls, cfg: Any, input_shape: Any) -> dict[str, Any]:
        parts: dict[str, Any] = super()._init_mask_head(cfg, input_shape)
        if parts.get("mask_pooler") is not None:
            _set_canonical(parts["mask_pooler"], cfg)
        return parts

    @torch.no_grad()
    def label_and_sample_proposals(self, proposals: list[Instances], targets: list[Instances]) -> list[Instances]:
        """The sampled RoIs of each image with ``gt_classes`` and, where the image has objects, their other targets.

        ``proposals`` have ``proposal_boxes``, ``targets`` the fields ``gt_*``; see StandardROIHeads.
        """
        if self.sampler is None:
            sampled: list[Instances] = super().label_and_sample_proposals(proposals, targets)
        else:
            if self.proposal_append_gt:
                proposals = add_ground_truth_to_proposals(targets, proposals)
            sampled = [self._sample(self.sampler, *pair) for pair in zip(proposals, targets, strict=True)]
            negative = int(torch.cat([one.gt_classes == self.num_classes for one in sampled]).sum())
            storage = get_event_storage()
            storage.put_scalar("roi_head/num_fg_samples", (sum(map(len, sampled)) - negative) / len(sampled))
            storage.put_scalar("roi_head/num_bg_samples", negative / len(sampled))
        boxes = [one.proposal_boxes for one in sampled]
        negatives = [one.gt_classes == self.num_classes for one in sampled]
        log_negative_bins(boxes, negatives, [one.gt_boxes for one in targets], self.negative_below, self.num_bins)
        return sampled

    def _sample(self, sampler: BalancedSampler, proposals: Instances, targets: Instances) -> Instances:
        """One image's sample, as Detectron2 labels it but chosen by ``sampler``."""
        iou_matrix = pairwise_iou(targets.gt_boxes, proposals.proposal_boxes)
        matches, is_object = self.proposal_matcher(iou_matrix)
        if len(targets):
            overlaps = iou_matrix.max(dim=0).values
            classes = targets.gt_classes[matches]
            classes[is_object == 0] = self.num_classes
            classes[is_object == -1] = -1
        else:
            overlaps, classes = iou_matrix.new_zeros(len(proposals)), torch.full_like(matches, self.num_classes)
        chosen = torch.cat(
            sampler(classes, matches, overlaps, self.batch_size_per_image, self.positive_fraction, self.num_classes)
        )
        sampled = proposals[chosen]
        sampled.gt_classes = classes[chosen]
        for name, value in targets.get_fields().items():
            if len(targets) and name.startswith("gt_") and not sampled.has(name):
                sampled.set(name, value[matches[chosen]])
        return sampled


def _set_canonical(pooler: ROIPooler, cfg: Any) -> None:
    """Detectron2's pooler takes these two as arguments that its heads do not pass on."""
    node = cfg.MODEL.ROI_HEADS
    if not node.CANONICAL_BOX_SIZE > 0:
        raise ConfigError(f"MODEL.ROI_HEADS.CANONICAL_BOX_SIZE: {node.CANONICAL_BOX_SIZE} is not greater than 0")
    pooler.canonical_box_size, pooler.canonical_level = node.CANONICAL_BOX_SIZE, node.CANONICAL_LEVEL


def add_roi_levels_config(cfg: Any) -> None:
    """Add the keys of the rule that gives each RoI its level, with the values of FPN and Detectron2, in place.

    An RoI of w x h pixels is pooled from level floor(CANONICAL_LEVEL + log2(sqrt(w h) / CANONICAL_BOX_SIZE)), or the
    nearest that there is. Small images need a smaller size, or all RoIs come from the finest level.
    """
    cfg.MODEL.ROI_HEADS.CANONICAL_BOX_SIZE = 224
    cfg.MODEL.ROI_HEADS.CANONICAL_LEVEL = 4
