"""Detections from raw outputs: every class of a prediction, and NMS class by class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor
from torchvision.ops import batched_nms

from replication.detectors.yolov3.grid import Grid
from replication.detectors.yolov3.head import BOX_CHANNELS

# Untrained sides may overflow. This is far outside of any image, to which boxes are clipped in the end, and finite.
_FARTHEST = 1e7


@dataclass(frozen=True)
class Limits:
    """Least objectness and score, largest IoU of two detections of one class. There is no limit of their number."""

    score_thresh: float
    nms_thresh: float


def detect(raw: Tensor, grid: Grid, limits: Limits, image_size: tuple[int, int]) -> Instances:
    """Detections of one image from its outputs (R, 5 + K), best first, boxes not clipped to ``image_size``.

    A slot whose objectness passes the threshold is a detection of every class whose score, objectness times class
    probability, passes it too.
    """
    objectness = raw[:, BOX_CHANNELS - 1].sigmoid()
    slots = (objectness > limits.score_thresh).nonzero().squeeze(1)
    scores = objectness[slots, None] * raw[slots, BOX_CHANNELS:].sigmoid()
    where, classes = (scores > limits.score_thresh).nonzero(as_tuple=True)
    scores = scores[where, classes]
    boxes = grid.decode_at(raw[slots[where]], slots[where]).clamp(-_FARTHEST, _FARTHEST)
    # In double, since classes are kept apart by shifting their boxes.
    keep = batched_nms(boxes.double(), scores.double(), classes, limits.nms_thresh)
    return Instances(image_size, pred_boxes=Boxes(boxes[keep]), scores=scores[keep], pred_classes=classes[keep])


def remove_letterbox(instances: Instances, side: int) -> Instances:
    """The detections with the margins of a square of ``side`` pixels subtracted from their boxes.

    As in Darknet, that is half of what the image leaves free, not rounded to the pixels where it was placed.
    """
    height, width = instances.image_size
    margin = torch.tensor([side - width, side - height] * 2, device=instances.scores.device) / 2
    fields = instances.get_fields() | {"pred_boxes": Boxes(instances.pred_boxes.tensor - margin)}
    return Instances(instances.image_size, **fields)
