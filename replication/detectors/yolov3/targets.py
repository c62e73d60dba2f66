"""What each slot is trained towards: the authors' rules, batched over images and objects.

Everything but the largest overlap of each prediction is an object-by-object table, so neither a GPU is waited for nor
a dense tensor of classes made. Memory is images x slots x objects for that overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad
from torch.nn.utils.rnn import pad_sequence

from replication.detectors.constants import row_of
from replication.detectors.losses import iou
from replication.detectors.yolov3.grid import Grid

SMALLEST = 0.001  # of the input's sides; objects that are smaller in either direction are left out


@dataclass(frozen=True)
class Objects:
    """The ground truth of a batch, padded to G >= 1 objects per image, in the order of the annotations.

    ``boxes`` (N, G, 4) XYXY in pixels, within the input; ``classes`` (N, G); ``valid`` (N, G): neither padding nor too
    small. What is not valid has the unit box and class 0.
    """

    boxes: Tensor
    classes: Tensor
    valid: Tensor

    @classmethod
    def of(cls, boxes: Sequence[Tensor], classes: Sequence[Tensor], size: tuple[int, int]) -> Objects:
        """From each image's boxes (Gi, 4) and classes (Gi,) in an input of ``size`` (height, width)."""
        padded = pad_sequence(list(boxes), batch_first=True)
        labels = pad_sequence(list(classes), batch_first=True, padding_value=-1)
        if not padded.shape[1]:
            padded, labels = pad(padded, (0, 0, 0, 1)), pad(labels, (0, 1), value=-1)
        height, width = size
        sides = row_of([width, height], padded)
        clipped = torch.minimum(padded.clamp(min=0), sides.repeat(2))
        large = (clipped[..., 2:] - clipped[..., :2] >= SMALLEST * sides).all(dim=-1)
        valid = large & (labels >= 0)
        unit = row_of([0.0, 0.0, 1.0, 1.0], padded)
        return cls(torch.where(valid[..., None], clipped, unit), labels.where(valid, 0), valid)


@dataclass(frozen=True)
class Targets:
    """``slot`` (N, G) of each object; ``owner`` (N, G): valid and the last of the objects that have its slot.

    ``classes`` (N, G, K) 0 or 1: those of all objects in the slot. ``objectness`` (N, R) 0 or 1, ``ignored`` (N, R)
    bool: no objectness loss there.
    """

    slot: Tensor
    owner: Tensor
    classes: Tensor
    objectness: Tensor
    ignored: Tensor


@torch.no_grad()
def assign(objects: Objects, boxes: Tensor, grid: Grid, num_classes: int, ignore_thresh: float) -> Targets:
    """Targets from the objects and the decoded predictions (N, R, 4) XYXY (YOLOv3, section 2.1, and its released code).

    An object's slot is the anchor, of all levels, whose shape overlaps its own most, in the cell of its centre. Other
    predictions that overlap any object by more than ``ignore_thresh`` are ignored, the rest is negative.
    """
    anchor = closest_anchor(objects.boxes[..., 2:] - objects.boxes[..., :2], grid.anchors)
    slot = grid.slots(anchor, (objects.boxes[..., :2] + objects.boxes[..., 2:]) / 2)
    both = objects.valid[:, :, None] & objects.valid[:, None, :]
    together = (slot[:, :, None] == slot[:, None, :]) & both
    owner = objects.valid & ~together.triu(diagonal=1).any(dim=2)
    labels = one_hot(objects.classes, num_classes).to(boxes.dtype)
    classes = (torch.bmm(together.to(boxes.dtype), labels) > 0).to(boxes.dtype)
    objectness = boxes.new_zeros(boxes.shape[:2]).scatter_reduce(1, slot, owner.to(boxes.dtype), "amax")
    overlap = iou(boxes[:, :, None], objects.boxes[:, None]).where(objects.valid[:, None], 0)
    # An overlap of a box that is not finite is no number, and so not above the threshold.
    ignored = (overlap > ignore_thresh).any(dim=2) & (objectness == 0)
    return Targets(slot, owner, classes, objectness, ignored)


def closest_anchor(sides: Tensor, anchors: Tensor) -> Tensor:
    """Index (...) of the anchor (A, 2) with the largest IoU to ``sides`` (..., 2) at one place; the first of equals."""
    sides = sides[..., None, :]
    intersection = torch.minimum(sides, anchors).prod(dim=-1)
    union = sides.prod(dim=-1) + anchors.prod(dim=-1) - intersection
    return (intersection / union).argmax(dim=-1)
