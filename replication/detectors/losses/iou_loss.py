"""IoU loss as GIoU's authors use it as their second baseline: linear, not -ln(IoU)."""

from __future__ import annotations

from torch import Tensor

from replication.detectors.losses.boxes import iou, reduce_loss


def iou_loss(pred: Tensor, target: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """1 - IoU of predicted and target boxes, in [0, 1] (GIoU, algorithm 2, L_IoU).

    Args:
        pred: (N, 4) XYXY, pixels, corners in any order.
        target: (N, 4) XYXY, pixels, ordered.
        reduction: ``none`` for (N,), ``sum`` or ``mean`` for a scalar.
        eps: floor of the union's area in square pixels.

    Pairs that do not overlap have loss 1 and no gradient, which is the weakness that GIoU removes.
    """
    return reduce_loss(1 - iou(pred, target, eps), reduction)
