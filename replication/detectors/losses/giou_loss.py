"""Generalised IoU loss."""

from __future__ import annotations

from torch import Tensor

from replication.detectors.losses.boxes import giou, reduce_loss


def giou_loss(pred: Tensor, target: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """1 - GIoU of predicted and target boxes, in [0, 2] (GIoU, algorithm 2, L_GIoU).

    Args:
        pred: (N, 4) XYXY, pixels, corners in any order.
        target: (N, 4) XYXY, pixels, ordered.
        reduction: ``none`` for (N,), ``sum`` or ``mean`` for a scalar.
        eps: floor of the areas of the union and of the enclosing box in square pixels.

    Pairs that do not overlap have loss 2 - union / enclosing and a gradient that pulls them together.
    """
    return reduce_loss(1 - giou(pred, target, eps), reduction)
