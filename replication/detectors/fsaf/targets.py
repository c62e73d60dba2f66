"""Supervision of the anchor-free branch: effective and ignored boxes on the selected levels (FSAF, section 3.2).

Everything is batched over images, objects and cells; the only loop is over levels, and nothing depends on the values
in Python, so a GPU is never waited for. Memory is images x objects x cells of one level at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from detectron2.structures import Instances
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from replication.detectors.fsaf.grid import CellRule, Level


@dataclass(frozen=True)
class Objects:
    """The ground truth of a batch, padded to G >= 1 objects an image and sorted by area, largest first.

    ``boxes`` (N, G, 4) XYXY in pixels, ``classes`` (N, G) int64, -1 for padding, ``order`` (N, G): each one's place
    in its image's annotations. Among equal areas the order of the annotations is kept.
    """

    boxes: Tensor
    classes: Tensor
    order: Tensor

    @property
    def valid(self) -> Tensor:
        """(N, G) bool: no padding."""
        return self.classes >= 0


def pad_objects(instances: Sequence[Instances]) -> Objects:
    """``gt_boxes`` and ``gt_classes`` of each image as one batch."""
    boxes = pad_sequence([each.gt_boxes.tensor for each in instances], batch_first=True)
    classes = pad_sequence([each.gt_classes for each in instances], batch_first=True, padding_value=-1)
    if not boxes.shape[1]:
        boxes, classes = pad(boxes, (0, 0, 0, 1)), pad(classes, (0, 1), value=-1)
    sides = boxes[..., 2:] - boxes[..., :2]
    areas = (sides[..., 0] * sides[..., 1]).masked_fill(classes < 0, torch.inf)
    order = areas.sort(dim=1, descending=True, stable=True).indices
    return Objects(boxes.gather(1, order[..., None].expand(-1, -1, 4)), classes.gather(1, order), order)


@dataclass(frozen=True)
class Targets:
    """What each of the R cells of all levels is trained towards.

    ``classes`` (N, R) int64: of the object whose effective box the cell is in, K where there is none. ``ignored``
    (N, R, K) bool: no classification loss there. ``boxes`` (N, R, 4) XYXY in pixels, of the same object; of no
    meaning where there is none.
    """

    classes: Tensor
    ignored: Tensor
    boxes: Tensor


@dataclass(frozen=True)
class TargetAssigner:
    """The rules of MODEL.FSAF that turn objects and their selected levels into targets."""

    num_classes: int
    cells: CellRule
    effective_fraction: float
    ignored_fraction: float
    ignore_adjacent_levels: bool
    ignore_other_levels: bool

    @torch.no_grad()
    def __call__(self, objects: Objects, selected: Tensor, levels: Sequence[Level]) -> Targets:
        """Targets of all levels from the level (N, G) that was selected for each object.

        On its level an object's effective box is positive in the map of its class, and what its ignored box has
        besides is ignored there, as is the whole ignored box on adjacent levels. All else is negative. A cell in
        two effective boxes belongs to the smaller object, among equals to the later annotation; an effective cell is
        never ignored in the map of its own class.
        """
        parts = [self._level(objects, selected, number, level) for number, level in enumerate(levels)]
        return Targets(*(torch.cat(part, dim=1) for part in zip(*parts, strict=True)))

    def _level(self, objects: Objects, selected: Tensor, number: int, level: Level) -> tuple[Tensor, Tensor, Tensor]:
        here = ((selected == number) & objects.valid)[..., None]
        effective = self.cells.mask(objects.boxes, self.effective_fraction, level)
        ignored = self.cells.mask(objects.boxes, self.ignored_fraction, level)
        # Objects are sorted, so the last one is the smallest.
        rank = torch.arange(1, 1 + effective.shape[1], device=effective.device)[:, None]
        owner = ((effective & here) * rank).amax(dim=1)
        taken = owner > 0
        index = (owner - 1).clamp(min=0)
        classes = torch.where(taken, objects.classes.gather(1, index), self.num_classes)
        boxes = objects.boxes.gather(1, index[..., None].expand(-1, -1, 4))
        near = (selected - number).abs()[..., None] <= int(self.ignore_adjacent_levels)
        ignored = ignored & near
        if self.ignore_other_levels:
            ignored = ignored | effective & ~here
        return classes, self._in_class_maps(ignored, objects, classes), boxes

    def _in_class_maps(self, ignored: Tensor, objects: Objects, classes: Tensor) -> Tensor:
        """Ignored cells of each object (N, G, H W) -> of each class (N, H W, K), without those that are positive."""
        maps = torch.arange(self.num_classes, device=classes.device)
        of_class = (objects.classes[..., None] == maps).float()
        anywhere = torch.bmm(ignored.transpose(1, 2).float(), of_class) > 0
        return anywhere & (classes[..., None] != maps)
