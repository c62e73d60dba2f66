"""The anchor-free branch's losses (FSAF, section 3.2) and the level that supervises each object.

It is that of the least loss (section 3.3, equations 1 and 2), or by the object's size, which the paper compares with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from fvcore.nn import sigmoid_focal_loss
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from replication.detectors.constants import row_of
from replication.detectors.fsaf.cells import CellRule, Level, Objects, Targets
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
    the batch. Boxes: -ln(IoU), averaged over the effective cells. With no effective cell the normaliser is 1.
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
    unit = row_of([0.0, 0.0, 1.0, 1.0], targets.boxes)
    pred, target = torch.where(mask, pred_boxes, unit), torch.where(mask, targets.boxes, unit)
    with torch.no_grad():
        mean_iou = (iou(pred, target) * effective).sum() / normalizer
    return BranchLoss(
        cls=focal.masked_fill(targets.ignored, 0).sum() / normalizer,
        box_reg=log_iou_loss(pred, target).sum() / normalizer,
        cells=cells,
        iou=mean_iou,
    )


@dataclass(frozen=True)
class HeuristicSelection:
    """Level of an object by its size: floor(l0 + log2(sqrt(w h) / 224)), within the levels there are.

    ``level`` is l0, ``size`` the 224, ``lowest`` and ``highest`` the numbers of the first and last level (3 and 7).
    """

    level: int
    size: float
    lowest: int
    highest: int

    @torch.no_grad()
    def __call__(self, objects: Objects) -> Tensor:
        """Index of the selected level (N, G), 0 for the lowest."""
        sides = (objects.boxes[..., 2:] - objects.boxes[..., :2]).clamp(min=0)
        number = (self.level + ((sides[..., 0] * sides[..., 1]).sqrt() / self.size).log2()).floor()
        return (number.clamp(self.lowest, self.highest) - self.lowest).long()


@dataclass(frozen=True)
class OnlineSelection:
    """Level on which the branch, as it is now, has the least loss over the object's effective box."""

    cells: CellRule
    effective_fraction: float
    alpha: float
    gamma: float
    all_classes: bool

    @torch.no_grad()
    def __call__(self, objects: Objects, logits: Tensor, pred_boxes: Tensor, levels: Sequence[Level]) -> Tensor:
        """Index of the selected level (N, G), from logits (N, R, K) and boxes (N, R, 4) XYXY in pixels."""
        return self.losses(objects, logits, pred_boxes, levels).argmin(dim=-1)

    def losses(self, objects: Objects, logits: Tensor, pred_boxes: Tensor, levels: Sequence[Level]) -> Tensor:
        """Mean focal loss + mean IoU loss over each object's effective box on each level, (N, G, L).

        The whole effective box counts, whether or not a smaller object takes some of its cells when trained.
        Infinite where an object has no cell.
        """
        sizes = [level.height * level.width for level in levels]
        maps = zip(torch.split(logits, sizes, 1), torch.split(pred_boxes, sizes, 1), levels, strict=True)
        return torch.stack([self._level(objects, *each) for each in maps], dim=-1)

    def _level(self, objects: Objects, logits: Tensor, pred_boxes: Tensor, level: Level) -> Tensor:
        """(N, G) from the logits (N, H W, K) and boxes (N, H W, 4) of one level."""
        mask = self.cells.mask(objects.boxes, self.effective_fraction, level)
        loss = self._focal(objects, logits) + log_iou_loss(pred_boxes[:, None], objects.boxes[:, :, None])
        count = mask.sum(dim=-1)
        mean = loss.masked_fill(~mask, 0).sum(dim=-1) / count.clamp(min=1)
        return mean.masked_fill(count == 0, torch.inf)

    def _focal(self, objects: Objects, logits: Tensor) -> Tensor:
        """Focal loss (N, G, H W) of every cell, were it a positive of the object's class."""
        own = objects.classes.clamp(min=0)[:, None].expand(-1, logits.shape[1], -1)
        own_logits = logits.gather(2, own)
        loss = -self.alpha * (-own_logits).sigmoid() ** self.gamma * logsigmoid(own_logits)
        if self.all_classes:
            negative = (1 - self.alpha) * logits.sigmoid() ** self.gamma * softplus(logits)
            loss = loss + negative.sum(dim=2, keepdim=True) - negative.gather(2, own)
        return loss.transpose(1, 2)
