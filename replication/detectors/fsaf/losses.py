"""The anchor-free branch's training losses (FSAF, section 3.2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from fvcore.nn import sigmoid_focal_loss
from torch import Tensor

from replication.detectors.fsaf.targets import Targets
from replication.detectors.losses import iou, log_iou_loss


class BranchLoss(NamedTuple):
    """Scalars: the two losses with their graph, and the number and mean IoU of the effective cells without one."""

    cls: Tensor
    box_reg: Tensor
    cells: Tensor
    iou: Tensor


def anchor_free_loss(logits: Tensor, pred_boxes: Tensor, targets: Targets, alpha: float, gamma: float) -> BranchLoss:
    """Losses of logits (N, R, K) and boxes (N, R, 4) XYXY in pixels against the targets of all R cells.

    Classification: focal loss, summed over all that is not ignored and divided by the number of effective cells of
    the batch. Boxes: -ln(IoU), averaged over the effective cells. Without any cell both are sums over one.
    """
    num_classes = logits.shape[-1]
    effective = targets.classes < num_classes
    wanted = logits.new_zeros(*logits.shape[:-1], num_classes + 1)
    wanted = wanted.scatter_(2, targets.classes[..., None], 1.0)[..., :-1]
    # Not its TorchScript form, which rewrites itself after its first calls and then rounds otherwise: a resumed process
    # would differ from one that was never interrupted.
    focal = sigmoid_focal_loss(logits, wanted, alpha=alpha, gamma=gamma, reduction="none")
    cells = effective.sum()
    normalizer = cells.clamp(min=1)
    # Other cells are given a box that equals its target, whose loss and gradient are zero; picking the effective
    # ones out instead would make a GPU wait for their number.
    mask = effective[..., None]
    unit = torch.tensor([0.0, 0.0, 1.0, 1.0], device=logits.device)
    pred, target = torch.where(mask, pred_boxes, unit), torch.where(mask, targets.boxes, unit)
    with torch.no_grad():
        mean_iou = (iou(pred, target) * effective).sum() / normalizer
    return BranchLoss(
        cls=focal.masked_fill(targets.ignored, 0).sum() / normalizer,
        box_reg=log_iou_loss(pred, target).sum() / normalizer,
        cells=cells,
        iou=mean_iou,
    )
