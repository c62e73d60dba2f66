"""Detections of both branches from one concatenated decode and one NMS call.

The class maps of all levels and branches are laid end to end as they lie in memory, so that neither a copy in another
order nor a sigmoid over all of them is needed: what passes the threshold is found first, by one ``nonzero``, and only
that is looked up and decoded. The number of times a GPU is waited for does not depend on the number of levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from detectron2.layers import batched_nms
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.structures import Boxes, Instances
from torch import Tensor

from replication.detectors.fsaf.cells import decode

_SLACK = 1e-3  # of a logit, by which the first test is laxer, so that rounding cannot make it drop what passes


@dataclass(frozen=True)
class Limits:
    """Limits of RetinaNet's inference: score, candidates per level and branch, IoU of NMS, detections per image."""

    score_thresh: float
    topk: int
    nms_thresh: float
    most: int


@dataclass(frozen=True)
class Candidates:
    """Where the candidates of one image lie: each (M,). ``box`` counts cells, times anchors, over all maps."""

    scores: Tensor
    classes: Tensor
    maps: Tensor
    box: Tensor


def detect_together(
    predictions: list[list[Tensor]],
    anchors: Sequence[Tensor],
    at: Tensor,
    box_scale: float,
    num_classes: int,
    box2box_transform: Box2BoxTransform,
    limits: Limits,
    image_sizes: Sequence[tuple[int, int]],
) -> list[Instances]:
    """Detections of each image, of one or both branches.

    Args:
        predictions: what FSAFHead gives: class and box maps by level, of the anchor-based, then the anchor-free branch.
        anchors: (Hi Wi A, 4) XYXY a level; empty without the anchor-based branch.
        at: (R, 3) of ``cells.locations``.
        box_scale: S.
        num_classes: K.
        box2box_transform: decodes the anchor-based deltas.
        limits: of score, number and overlap.
        image_sizes: (height, width) of each image in pixels.
    """
    logits = [each for maps in predictions[0::2] for each in maps]
    boxes = [each for maps in predictions[1::2] for each in maps]
    layout = Layout.of(logits, boxes, num_classes)
    first_free = sum(len(each) for each in anchors)
    anchor = torch.cat([*anchors, at.new_zeros(len(at), 4)])
    location = torch.cat([at.new_zeros(first_free, 3), at])
    results = []
    for number, image_size in enumerate(image_sizes):
        found = layout.candidates(number, limits)
        raw = layout.boxes(number, found)
        free = decode(raw, location[found.box], box_scale)
        if anchors:
            based = box2box_transform.apply_deltas(raw, anchor[found.box])
            free = torch.where((found.box < first_free)[:, None], based, free)
        keep = batched_nms(free, found.scores, found.classes, limits.nms_thresh)[: limits.most]
        results.append(
            Instances(
                image_size,
                pred_boxes=Boxes(free[keep]),
                scores=found.scores[keep],
                pred_classes=found.classes[keep],
            )
        )
    return results


@dataclass(frozen=True)
class Layout:
    """Class and box maps of all levels and branches, and where in the concatenation each one's entries are.

    ``table`` has a column a map: first logit, first box value, first box, cells, channels of classes and of boxes.
    """

    logits: list[Tensor]
    deltas: list[Tensor]
    ends: Tensor
    table: Tensor
    num_classes: int
    cells_first: bool

    @classmethod
    def of(cls, logits: list[Tensor], deltas: list[Tensor], num_classes: int) -> Layout:
        """The layout of class maps (N, A K, Hi, Wi) and box maps (N, A 4, Hi, Wi)."""
        cells_first = logits[0].is_contiguous(memory_format=torch.channels_last)
        form = torch.channels_last if cells_first else torch.contiguous_format
        logits = [each.contiguous(memory_format=form) for each in logits]
        deltas = [each.contiguous(memory_format=form) for each in deltas]
        rows, at = [], [0, 0, 0]
        for scores, boxes in zip(logits, deltas, strict=True):
            cells = scores.shape[2] * scores.shape[3]
            rows.append([*at, cells, scores.shape[1], boxes.shape[1]])
            at = [at[0] + scores[0].numel(), at[1] + boxes[0].numel(), at[2] + boxes[0].numel() // 4]
        table = torch.tensor(rows, device=logits[0].device).T
        ends = torch.cat([table[0, 1:], table.new_tensor([at[0]])])
        return cls(logits, deltas, ends, table, num_classes, cells_first)

    def candidates(self, image: int, limits: Limits) -> Candidates:
        """What scores above the threshold, of each map the best ``topk``: map by map, best first."""
        flat = torch.cat([self._in_memory_order(each[image]) for each in self.logits])
        place = (flat > _logit(limits.score_thresh) - _SLACK).nonzero().squeeze(1)
        scores = flat[place].sigmoid()
        maps = torch.bucketize(place, self.ends, right=True)
        order = scores.argsort(descending=True, stable=True)
        order = order[maps[order].argsort(stable=True)]
        scores, maps, place = scores[order], maps[order], place[order]
        rank = torch.arange(len(maps), device=maps.device) - torch.searchsorted(maps, maps)
        keep = (rank < limits.topk) & (scores > limits.score_thresh)
        scores, maps, place = scores[keep], maps[keep], place[keep]
        start, _, first_box, cells, channels, _ = self.table[:, maps]
        cell, channel = self._split(place - start, cells, channels)
        kind = torch.div(channel, self.num_classes, rounding_mode="floor")
        box = first_box + cell * torch.div(channels, self.num_classes, rounding_mode="floor") + kind
        return Candidates(scores, channel - kind * self.num_classes, maps, box)

    def boxes(self, image: int, found: Candidates) -> Tensor:
        """The four raw box outputs of each candidate (M, 4)."""
        flat = torch.cat([self._in_memory_order(each[image]) for each in self.deltas])
        _, start, first_box, cells, _, channels = self.table[:, found.maps]
        kinds = torch.div(channels, 4, rounding_mode="floor")
        box = found.box - first_box
        cell = torch.div(box, kinds, rounding_mode="floor")
        channel = 4 * (box - cell * kinds)
        if self.cells_first:
            place, step = start + cell * channels + channel, torch.ones_like(cells)
        else:
            place, step = start + channel * cells + cell, cells
        four = torch.arange(4, device=flat.device)
        return flat[place[:, None] + step[:, None] * four]

    def _in_memory_order(self, each: Tensor) -> Tensor:
        return (each.permute(1, 2, 0) if self.cells_first else each).reshape(-1)

    def _split(self, local: Tensor, cells: Tensor, channels: Tensor) -> tuple[Tensor, Tensor]:
        """Cell and channel of an entry within its map."""
        inner = channels if self.cells_first else cells
        outer = torch.div(local, inner, rounding_mode="floor")
        rest = local - outer * inner
        return (outer, rest) if self.cells_first else (rest, outer)


def _logit(score: float) -> float:
    """Inverse of the sigmoid, infinite at 0 and 1."""
    if 0 < score < 1:
        return math.log(score / (1 - score))
    return math.inf if score >= 1 else -math.inf
