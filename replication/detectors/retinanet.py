"""Detectron2's RetinaNet with any registered box loss, which also reports how well its matched boxes fit."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.modeling.meta_arch import RetinaNet
from detectron2.structures import Boxes
from detectron2.utils.events import get_event_storage
from fvcore.nn import sigmoid_focal_loss
from torch import Tensor
from torch.nn.functional import one_hot

from replication.detectors.losses import BoxRegLoss, MatchedBoxes, build_box_reg_loss


@META_ARCH_REGISTRY.register()
class ReplicationRetinaNet(RetinaNet):  # type: ignore[misc]
    """RetinaNet, losses and weights bit for bit Detectron2's, with ``iou`` of the positive anchors in the storage.

    MODEL.RETINANET.BBOX_REG_LOSS_TYPE chooses the box loss, which is summed over the positive anchors and divided as
    Detectron2 divides; BBOX_REG_LOSS_WEIGHT multiplies it.
    """

    @configurable  # type: ignore[untyped-decorator]
    def __init__(self, *, regression_loss: BoxRegLoss, regression_weight: float, **kwargs: Any) -> None:
        """See RetinaNet; ``regression_loss`` takes the place of ``box_reg_loss_type``."""
        super().__init__(**kwargs)
        self.regression_loss, self.regression_weight = regression_loss, regression_weight

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        """Arguments of ``__init__`` from MODEL.RETINANET."""
        return {
            **super().from_config(cfg),
            "regression_loss": build_box_reg_loss(cfg, "RETINANET"),
            "regression_weight": cfg.MODEL.RETINANET.BBOX_REG_LOSS_WEIGHT,
        }

    def losses(
        self,
        anchors: list[Boxes],
        pred_logits: list[Tensor],
        gt_labels: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        gt_boxes: list[Tensor],
    ) -> dict[str, Tensor]:
        """RetinaNet.losses: per level (N, A, K) logits and (N, A, 4) deltas; per image (R,) labels, (R, 4) boxes."""
        labels = torch.stack(gt_labels)
        valid = (labels >= 0).nonzero(as_tuple=True)
        image, anchor = ((labels >= 0) & (labels != self.num_classes)).nonzero(as_tuple=True)
        get_event_storage().put_scalar("num_pos_anchors", len(anchor) / len(labels))
        normalizer = self._ema_update("loss_normalizer", max(len(anchor), 1), 100)
        logits = torch.cat(pred_logits, dim=1)[valid]
        wanted = one_hot(labels[valid], num_classes=self.num_classes + 1)[:, :-1].to(logits.dtype)
        # Not its TorchScript form, which rewrites itself after its first calls and then rounds otherwise: a resumed
        # process would differ from one that was never interrupted.
        focal = sigmoid_focal_loss(
            logits, wanted, alpha=self.focal_loss_alpha, gamma=self.focal_loss_gamma, reduction="sum"
        )
        matched = MatchedBoxes(
            torch.cat(pred_anchor_deltas, dim=1)[image, anchor],
            Boxes.cat(anchors).tensor[anchor],
            torch.stack(gt_boxes)[image, anchor],
            self.box2box_transform,
        )
        box_reg = self.regression_weight * self.regression_loss.sum(matched)
        matched.log_mean_iou()
        return {"loss_cls": focal / normalizer, "loss_box_reg": box_reg / normalizer}

    def get_extra_state(self) -> Tensor:
        """Detectron2's moving average of the number of positives, so that a resumed run divides by what it would have.

        Detectron2 itself restarts the average at each resume.
        """
        return torch.tensor(getattr(self, "loss_normalizer", torch.nan), dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Take up the moving average of a checkpoint; one from before the first step holds none."""
        if not state.isnan():
            self.loss_normalizer = state.item()
