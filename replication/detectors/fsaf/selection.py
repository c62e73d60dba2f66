"""Which level supervises each object: the one of the least loss (FSAF, section 3.3, equations 1 and 2) or by size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from replication.detectors.fsaf.grid import CellRule, Level
from replication.detectors.fsaf.targets import Objects
from replication.detectors.losses import log_iou_loss


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
