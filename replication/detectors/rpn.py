"""RPN with the sampling of anchors and the box loss as switches, as the second stage has them (Libra RPN, table 3)."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import configurable
from detectron2.modeling.proposal_generator import PROPOSAL_GENERATOR_REGISTRY, RPN
from detectron2.structures import Boxes, Instances, pairwise_iou
from detectron2.utils.events import get_event_storage
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from replication.detectors.libra.sampling import BalancedSampler
from replication.detectors.losses import BoxRegLoss, MatchedBoxes, build_box_reg_loss


@PROPOSAL_GENERATOR_REGISTRY.register()
class ReplicationRPN(RPN):  # type: ignore[misc]
    """Detectron2's RPN, bit for bit with the defaults of MODEL.RPN.SAMPLER and BBOX_REG_LOSS_TYPE.

    Negatives are anchors below the lower of MODEL.RPN.IOU_THRESHOLDS, which is where the paper's bins end here.
    """

    @configurable  # type: ignore[untyped-decorator]
    def __init__(self, *, regression_loss: BoxRegLoss, sampler: BalancedSampler | None = None, **kwargs: Any) -> None:
        """See RPN; ``regression_loss`` takes the place of ``box_reg_loss_type``, ``sampler`` None samples as RPN."""
        super().__init__(**kwargs)
        self.sampler, self.regression_loss = sampler, regression_loss

    @classmethod
    def from_config(cls, cfg: Any, input_shape: Any) -> dict[str, Any]:
        """Arguments of ``__init__`` from MODEL.RPN."""
        node = cfg.MODEL.RPN
        return {
            **super().from_config(cfg, input_shape),
            "sampler": BalancedSampler.from_config(node.SAMPLER, "MODEL.RPN.SAMPLER", node.IOU_THRESHOLDS[0]),
            "regression_loss": build_box_reg_loss(cfg, "RPN"),
        }

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
        labels = torch.stack(gt_labels)
        image, anchor = (labels == 1).nonzero(as_tuple=True)
        valid = (labels >= 0).nonzero(as_tuple=True)
        storage = get_event_storage()
        storage.put_scalar("rpn/num_pos_anchors", len(anchor) / len(labels))
        storage.put_scalar("rpn/num_neg_anchors", (len(valid[0]) - len(anchor)) / len(labels))
        objectness = binary_cross_entropy_with_logits(
            torch.cat(pred_objectness_logits, dim=1)[valid], labels[valid].float(), reduction="sum"
        )
        matched = MatchedBoxes(
            torch.cat(pred_anchor_deltas, dim=1)[image, anchor],
            Boxes.cat(anchors).tensor[anchor],
            torch.stack(gt_boxes)[image, anchor],
            self.box2box_transform,
        )
        sums = {"loss_rpn_cls": objectness, "loss_rpn_loc": self.regression_loss.sum(matched)}
        normalizer = self.batch_size_per_image * len(labels)
        return {name: total / normalizer * self.loss_weight.get(name, 1.0) for name, total in sums.items()}
