"""Detectron2's RetinaNet with balanced L1 as one more box loss, which also reports how well its matched boxes fit."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.modeling.meta_arch import RetinaNet
from detectron2.structures import Boxes
from torch import Tensor

from replication.detectors.box_head import log_mean_iou
from replication.detectors.libra import BalancedL1


@META_ARCH_REGISTRY.register()
class ReplicationRetinaNet(RetinaNet):  # type: ignore[misc]
    """RetinaNet, losses and weights bit for bit Detectron2's, with ``iou`` of the positive anchors in the storage.

    MODEL.RETINANET.BBOX_REG_LOSS_TYPE ``balanced_l1`` exchanges the box loss, summed over the positive anchors and
    divided as Detectron2 divides.
    """

    @configurable  # type: ignore[untyped-decorator]
    def __init__(self, *, balanced_l1: BalancedL1 | None = None, **kwargs: Any) -> None:
        """See RetinaNet; ``balanced_l1`` takes the place of its box loss unless None."""
        super().__init__(**kwargs)
        self.balanced_l1 = balanced_l1

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        """Arguments of ``__init__`` from MODEL.RETINANET."""
        parts: dict[str, Any] = super().from_config(cfg)
        if parts["box_reg_loss_type"] == "balanced_l1":
            node = cfg.MODEL.RETINANET.BALANCED_L1
            parts["balanced_l1"] = BalancedL1.from_config(node, "MODEL.RETINANET.BALANCED_L1")
            parts["box_reg_loss_type"] = "smooth_l1"  # RetinaNet's own, whose value is then put aside
        return parts

    def losses(
        self,
        anchors: list[Boxes],
        pred_logits: list[Tensor],
        gt_labels: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        gt_boxes: list[Tensor],
    ) -> dict[str, Tensor]:
        """RetinaNet.losses: per level (N, A, K) logits and (N, A, 4) deltas; per image (R,) labels, (R, 4) boxes."""
        # Detectron2's focal loss is TorchScript, which rewrites itself after its first calls and then rounds otherwise:
        # a resumed process would differ from one that was never interrupted.
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            losses: dict[str, Tensor] = super().losses(anchors, pred_logits, gt_labels, pred_anchor_deltas, gt_boxes)
        labels = torch.stack(gt_labels)
        image, anchor = ((labels >= 0) & (labels != self.num_classes)).nonzero(as_tuple=True)
        positive, matched = Boxes.cat(anchors).tensor[anchor], torch.stack(gt_boxes)[image, anchor]
        with torch.set_grad_enabled(self.balanced_l1 is not None):
            deltas = torch.cat(pred_anchor_deltas, dim=1)[image, anchor]
        with torch.no_grad():
            log_mean_iou(self.box2box_transform.apply_deltas(deltas, positive), matched)
        if self.balanced_l1 is not None:
            total = self.balanced_l1.sum(deltas, self.box2box_transform.get_deltas(positive, matched))
            losses["loss_box_reg"] = total / self.loss_normalizer
        return losses

    def get_extra_state(self) -> Tensor:
        """Detectron2's moving average of the number of positives, so that a resumed run divides by what it would have.

        Detectron2 itself starts the average anew at each resume.
        """
        return torch.tensor(getattr(self, "loss_normalizer", torch.nan), dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Take up the moving average of a checkpoint; one from before the first step holds none."""
        if not state.isnan():
            self.loss_normalizer = state.item()
