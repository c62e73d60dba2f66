"""DIoU and CIoU loss (arXiv 1911.08287) on decoded boxes, as torchvision computes them.

Each takes predicted and target boxes (..., 4), XYXY in pixels. ``reduction`` is ``none`` for (...), ``sum`` or ``mean``
for a scalar.
"""

from __future__ import annotations

from torch import Tensor
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss

from replication.detectors.losses import box_reg_loss


@box_reg_loss("diou", on="boxes")
def diou_loss(pred: Tensor, target: Tensor, reduction: str = "none") -> Tensor:
    """1 - IoU + (distance of the centres / diagonal of the enclosing box)^2, in [0, 2)."""
    return distance_box_iou_loss(pred, target, reduction)


@box_reg_loss("ciou", on="boxes")
def ciou_loss(pred: Tensor, target: Tensor, reduction: str = "none") -> Tensor:
    """DIoU plus alpha v, where v measures how the aspect ratios differ and alpha has no gradient."""
    return complete_box_iou_loss(pred, target, reduction)
