"""Losses on decoded boxes: IoU, GIoU, and the logarithm of the IoU.

Each takes predicted and target boxes (..., 4), XYXY in pixels, targets ordered, predictions with corners in any order.
``reduction`` is ``none`` for (...), ``sum`` or ``mean`` for a scalar.
"""

from __future__ import annotations

from torch import Tensor

from replication.detectors.losses.overlap import giou, iou, reduce_loss
from replication.detectors.losses.registry import box_reg_loss


@box_reg_loss("iou", on="boxes")
def iou_loss(pred: Tensor, target: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """1 - IoU, in [0, 1]: linear, as GIoU's authors use it for their second baseline (GIoU, algorithm 2, L_IoU).

    ``eps`` is the floor of the union's area in square pixels. Pairs that do not overlap have loss 1 and no gradient,
    which is the weakness that GIoU removes.
    """
    return reduce_loss(1 - iou(pred, target, eps), reduction)


@box_reg_loss("giou", on="boxes")
def giou_loss(pred: Tensor, target: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """1 - GIoU, in [0, 2] (GIoU, algorithm 2, L_GIoU).

    ``eps`` is the floor of the areas of the union and of the enclosing box in square pixels. Pairs that do not overlap
    have loss 2 - union / enclosing and a gradient that pulls them together.
    """
    return reduce_loss(1 - giou(pred, target, eps), reduction)


@box_reg_loss("log_iou", on="boxes")
def log_iou_loss(pred: Tensor, target: Tensor, reduction: str = "none", floor: float = 1e-6) -> Tensor:
    """-ln(IoU), in [0, -ln(floor)]: UnitBox's loss, of FSAF's anchor-free branch (FSAF, section 3.2).

    Boxes are broadcast against each other. ``floor`` is the least IoU that the logarithm sees: FSAF does not say, 1e-6
    is mmdetection's. Pairs whose IoU is below it have no gradient.
    """
    return reduce_loss(-iou(pred, target).clamp(min=floor).log(), reduction)
