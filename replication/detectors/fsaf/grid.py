"""Cells of the feature levels: where they lie, which ones a box has, and the boxes that are predicted there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


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
