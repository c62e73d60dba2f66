"""RPN that takes up what Libra R-CNN puts into the second stage: its sampling and its box loss (Libra RPN, table 3)."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import configurable
from detectron2.modeling.proposal_generator import PROPOSAL_GENERATOR_REGISTRY, RPN
from detectron2.structures import Boxes, Instances, pairwise_iou
from torch import Tensor

from replication.detectors.libra.sampling import BalancedSampler
from replication.detectors.losses.balanced_l1 import BalancedL1


@PROPOSAL_GENERATOR_REGISTRY.register()
class ReplicationRPN(RPN):  # type: ignore[misc]
    """Detectron2's RPN, bit for bit with the defaults of MODEL.RPN.SAMPLER and BBOX_REG_LOSS_TYPE.

    Negatives are anchors below the lower of MODEL.RPN.IOU_THRESHOLDS, which is where the paper's bins end here.
    """

    @configurable  # type: ignore[untyped-decorator]
    def __init__(
        self, *, sampler: BalancedSampler | None = None, balanced_l1: BalancedL1 | None = None, **kwargs: Any
    ) -> None:
        """See RPN; ``sampler`` None samples as Detectron2, ``balanced_l1`` takes the place of its box loss if given."""
        super().__init__(**kwargs)
        self.sampler, self.balanced_l1 = sampler, balanced_l1

    @classmethod
    def from_config(cls, cfg: Any, input_shape: Any) -> dict[str, Any]:
        """Arguments of ``__init__`` from MODEL.RPN."""
        node = cfg.MODEL.RPN
        parts: dict[str, Any] = super().from_config(cfg, input_shape)
        parts["sampler"] = BalancedSampler.from_config(node.SAMPLER, "MODEL.RPN.SAMPLER", node.IOU_THRESHOLDS[0])
        if parts["box_reg_loss_type"] == "balanced_l1":
            parts["balanced_l1"] = BalancedL1.from_config(node.BALANCED_L1, "MODEL.RPN.BALANCED_L1")
            parts["box_reg_loss_type"] = "smooth_l1"  # RPN's own, whose value is then put aside
        return parts

    @torch.no_grad()
    def label_and_sample_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Per image (R,) labels, 1 and 0 for sampled positives and negatives, else -1, and (R, 4) matched boxes.

        See RPN; R is the number of anchors of all levels.
        """
        if self.sampler is None:
            sampled: tuple[list[Tensor], list[Tensor]] = super().label_and_sample_anchors(anchors, gt_instances)
            return sampled
        every = Boxes.cat(anchors)
        pairs = [self._label_and_sample(self.sampler, every, one) for one in gt_instances]
        return [labels for labels, _ in pairs], [boxes for _, boxes in pairs]

    def _label_and_sample(self, sampler: BalancedSampler, anchors: Boxes, truth: Instances) -> tuple[Tensor, Tensor]:
        iou_matrix = pairwise_iou(truth.gt_boxes, anchors)
        matches, labels = self.anchor_matcher(iou_matrix)
        overlaps = iou_matrix.max(dim=0).values if len(truth) else iou_matrix.new_zeros(len(anchors))
        if self.anchor_boundary_thresh >= 0:
            labels[~anchors.inside_box(truth.image_size, self.anchor_boundary_thresh)] = -1
        positive, negative = sampler(labels, matches, overlaps, self.batch_size_per_image, self.positive_fraction, 0)
        labels.fill_(-1)
        labels[positive], labels[negative] = 1, 0
        boxes = truth.gt_boxes.tensor[matches] if len(truth) else torch.zeros_like(anchors.tensor)
        return labels, boxes

    def losses(
        self,
        anchors: list[Boxes],
        pred_objectness_logits: list[Tensor],
        gt_labels: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        gt_boxes: list[Tensor],
    ) -> dict[str, Tensor]:
        """``loss_rpn_cls`` and ``loss_rpn_loc``; see RPN, which also says how they are divided."""
        losses: dict[str, Tensor] = super().losses(
            anchors, pred_objectness_logits, gt_labels, pred_anchor_deltas, gt_boxes
        )
        if self.balanced_l1 is not None:
            image, anchor = (torch.stack(gt_labels) == 1).nonzero(as_tuple=True)
            targets = self.box2box_transform.get_deltas(
                Boxes.cat(anchors).tensor[anchor], torch.stack(gt_boxes)[image, anchor]
            )
            total = self.balanced_l1.sum(torch.cat(pred_anchor_deltas, dim=1)[image, anchor], targets)
            weight = self.loss_weight.get("loss_rpn_loc", 1.0)
            losses["loss_rpn_loc"] = weight * total / (self.batch_size_per_image * len(gt_labels))
        return losses
