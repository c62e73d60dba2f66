"""Cells of the feature levels: where they lie, which ones a box has, what is predicted there and what should be.

Supervision is the paper's effective and ignored boxes on the selected levels (FSAF, section 3.2). Everything is batched
over images, objects and cells; the only loop is over levels, and nothing depends on the values in Python, so a GPU is
never waited for. Memory is images x objects x cells of one level at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from detectron2.structures import Instances
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence


@dataclass(frozen=True)
class Level:
    """A feature map of ``height`` x ``width`` cells, ``stride`` pixels apart."""

    stride: int
    height: int
    width: int


def levels_of(maps: Sequence[Tensor], strides: Sequence[int]) -> list[Level]:
    """The levels of feature maps (N, C, Hi, Wi)."""
    return [Level(stride, *each.shape[-2:]) for each, stride in zip(maps, strides, strict=True)]


def locations(levels: Sequence[Level], offset: float, device: torch.device) -> Tensor:
    """Pixel (x, y) and stride of every cell, level by level and row by row: (R, 3).

    Cell (i, j) of column i and row j stands for pixel stride (i + offset), stride (j + offset).
    """
    parts = []
    for level in levels:
        rows = torch.arange(level.height, device=device, dtype=torch.float32)[:, None]
        columns = torch.arange(level.width, device=device, dtype=torch.float32)[None, :]
        part = torch.empty(level.height, level.width, 3, device=device)
        part[..., 0] = (columns + offset) * level.stride
        part[..., 1] = (rows + offset) * level.stride
        part[..., 2] = level.stride
        parts.append(part.view(-1, 3))
    return torch.cat(parts)


def decode(distances: Tensor, at: Tensor, scale: float) -> Tensor:
    """Boxes (..., R, 4) XYXY in pixels from distances (..., R, 4) to top, left, bottom and right (FSAF, section 3.1).

    ``distances`` are in units of ``scale`` cells, ``at`` (R, 3) is what ``locations`` gives.
    """
    top, left, bottom, right = (distances * (scale * at[:, 2:])).unbind(-1)
    x, y = at[:, 0], at[:, 1]
    return torch.stack([x - left, y - top, x + right, y + bottom], dim=-1)


@dataclass(frozen=True)
class CellRule:
    """Which cells a box has: see MODEL.FSAF.CELLS and CELL_OFFSET."""

    name: str = "inside"
    offset: float = 0.0

    def mask(self, boxes: Tensor, fraction: float, level: Level) -> Tensor:
        """Whether each cell belongs to each box shrunk to ``fraction`` of its sides about its centre.

        Boxes (..., 4) XYXY in pixels -> (..., H W) bool. A box that reaches out of the map has the cells within, or,
        where none is, the border cell nearest to its centre; but for ``inside_only`` there is always one.
        """
        columns = self._axis(boxes[..., 0], boxes[..., 2], fraction, level.stride, level.width)
        rows = self._axis(boxes[..., 1], boxes[..., 3], fraction, level.stride, level.height)
        return (rows[..., :, None] & columns[..., None, :]).flatten(-2)

    def _axis(self, low: Tensor, high: Tensor, fraction: float, stride: int, size: int) -> Tensor:
        """(...) edges in pixels -> (..., size) bool."""
        centre, half = (low + high) / (2 * stride), (high - low) * (fraction / 2 / stride)
        if self.name.startswith("touching"):
            start = (centre - half).floor()
            end = (centre + half).ceil() + (self.name == "touching_inclusive")
            nearest = centre.floor()
        else:
            start = (centre - half - self.offset).ceil()
            end = (centre + half - self.offset).floor() + 1
            # Halves up, like the edges themselves; Tensor.round would go to the even cell.
            nearest = (centre - self.offset + 0.5).floor()
        start, end = start.clamp(min=0), end.clamp(max=size)
        if self.name != "inside_only":
            nearest = nearest.clamp(0, size - 1)
            empty = end <= start
            start, end = torch.where(empty, nearest, start), torch.where(empty, nearest + 1, end)
        cells = torch.arange(size, device=low.device)
        return (cells >= start[..., None]) & (cells < end[..., None])


@dataclass(frozen=True)
class Objects:
    """The ground truth of a batch, padded to G >= 1 objects per image and sorted by area, largest first.

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
