"""Detectron2's RetinaNet that also reports how well its matched boxes fit."""

from __future__ import annotations

import torch
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.modeling.meta_arch import RetinaNet
from detectron2.structures import Boxes
from torch import Tensor

from replication.detectors.box_head import log_mean_iou


@META_ARCH_REGISTRY.register()
class ReplicationRetinaNet(RetinaNet):  # type: ignore[misc]
    """RetinaNet, losses and weights bit for bit Detectron2's, with ``iou`` of the positive anchors in the storage."""

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
        with torch.no_grad():
            labels = torch.stack(gt_labels)
            image, anchor = ((labels >= 0) & (labels != self.num_classes)).nonzero(as_tuple=True)
            deltas = torch.cat(pred_anchor_deltas, dim=1)[image, anchor]
            pred_boxes = self.box2box_transform.apply_deltas(deltas, Boxes.cat(anchors).tensor[anchor])
            log_mean_iou(pred_boxes, torch.stack(gt_boxes)[image, anchor])
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
