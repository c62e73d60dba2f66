"""IoU loss of UnitBox, which FSAF's anchor-free branch is trained with: -ln(IoU), not 1 - IoU."""

from __future__ import annotations

from torch import Tensor

from replication.detectors.losses.boxes import iou, reduce_loss


def log_iou_loss(pred: Tensor, target: Tensor, reduction: str = "none", floor: float = 1e-6) -> Tensor:
    """-ln(IoU) of predicted and target boxes, in [0, -ln(floor)] (FSAF, section 3.2: IoU loss).

    Args:
        pred: (..., 4) XYXY, pixels, corners in any order.
        target: (..., 4) XYXY, pixels, ordered; broadcast against ``pred``.
        reduction: ``none`` for (...), ``sum`` or ``mean`` for a scalar.
        floor: least IoU that the logarithm sees. FSAF does not say; 1e-6 is mmdetection's.

    Pairs whose IoU is below ``floor`` have no gradient.
    """
    return reduce_loss(-iou(pred, target).clamp(min=floor).log(), reduction)
