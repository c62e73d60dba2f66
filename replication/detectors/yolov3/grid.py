"""The slots of all levels: a cell and an anchor each, which predict one box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from detectron2.modeling.meta_arch.dense_detector import permute_to_N_HWA_K
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """R slots, level by level from coarse to fine, row by row, cell by cell, anchor by anchor.

    ``column``, ``row``, ``stride`` (R,) and ``anchor`` (R, 2) of each slot, ``level`` (R,) its level's number.
    ``anchors`` (A, 2) are all anchors, small to large, and ``first`` (A,) the slot of each in cell (0, 0) of its level;
    ``strides`` (A,) and ``widths`` (A,) are the stride and the number of columns there. All sides are in pixels.
    """

    column: Tensor
    row: Tensor
    stride: Tensor
    anchor: Tensor
    level: Tensor
    anchors: Tensor
    first: Tensor
    strides: Tensor
    widths: Tensor
    per_cell: int

    @classmethod
    def of(cls, outputs: Sequence[Tensor], strides: Sequence[int], anchors: Tensor) -> Grid:
        """The grid of maps (N, C, Hi, Wi), coarse to fine, with all levels' ``anchors`` (A, 2) small to large."""
        device, levels = anchors.device, len(outputs)
        per_cell = len(anchors) // levels
        parts, of_anchors, start = [], [], 0
        for number, (output, stride) in enumerate(zip(outputs, strides, strict=True)):
            height, width = output.shape[-2:]
            mine = slice((levels - 1 - number) * per_cell, (levels - number) * per_cell)
            here = torch.arange(start, start + per_cell, device=device)
            of_anchors.append((here, torch.full_like(here, stride), torch.full_like(here, width)))
            start += height * width * per_cell
            cell = torch.arange(height * width, device=device).repeat_interleave(per_cell)
            row = torch.div(cell, width, rounding_mode="floor")
            numbers = torch.full_like(cell, stride), torch.full_like(cell, number)
            parts.append((cell - row * width, row, *numbers, anchors[mine].repeat(height * width, 1)))
        column, row, stride_of, level, anchor = (torch.cat(part) for part in zip(*parts, strict=True))
        # The finest level has the first anchors.
        first, strides_of, widths_of = (torch.cat(part) for part in zip(*reversed(of_anchors), strict=True))
        return cls(column, row, stride_of, anchor, level, anchors, first, strides_of, widths_of, per_cell)

    def decode(self, raw: Tensor) -> Tensor:
        """Boxes (..., R, 4) XYXY in pixels of raw outputs (..., R, 4) or more; see ``decode``."""
        return decode(raw, torch.stack([self.column, self.row], dim=-1), self.stride, self.anchor)

    def decode_at(self, raw: Tensor, slot: Tensor) -> Tensor:
        """Boxes (..., 4) XYXY in pixels of raw outputs (..., 4 or more) of the slots (...)."""
        cell = torch.stack([self.column[slot], self.row[slot]], dim=-1)
        return decode(raw, cell, self.stride[slot], self.anchor[slot])

    def slots(self, number: Tensor, centre: Tensor) -> Tensor:
        """The slot of anchor ``number`` (...) in the cell that holds ``centre`` (..., 2), x and y in pixels."""
        cell = (centre / self.strides[number][..., None]).floor().long()
        return self.first[number] + self.per_cell * (cell[..., 1] * self.widths[number] + cell[..., 0])


def flatten(outputs: Sequence[Tensor], channels: int) -> Tensor:
    """Raw outputs (N, R, 5 + K) in the order of the grid from maps (N, 3 (5 + K), Hi, Wi)."""
    return torch.cat([permute_to_N_HWA_K(each, channels) for each in outputs], dim=1)


def decode(raw: Tensor, cell: Tensor, stride: Tensor, anchor: Tensor) -> Tensor:
    """Boxes (..., 4) XYXY in pixels of raw outputs (..., 4 or more) (YOLOv3, section 2.1).

    Centre (sigmoid(t_x) + column, sigmoid(t_y) + row) stride, sides anchor e^(t_w, t_h), without a limit. ``cell``
    (..., 2) is column and row, ``stride`` (...), ``anchor`` (..., 2) in pixels.
    """
    centre = (raw[..., :2].sigmoid() + cell) * stride[..., None]
    half = anchor * raw[..., 2:4].exp() / 2
    return torch.cat([centre - half, centre + half], dim=-1)
