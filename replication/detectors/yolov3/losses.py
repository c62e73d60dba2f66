"""YOLOv3's losses: sums over all slots and images, divided by the number of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy
from torch.nn.functional import one_hot

from replication.detectors.losses import BoxRegLoss, build_box_reg_loss, iou
from replication.detectors.yolov3.grid import Grid
from replication.detectors.yolov3.head import BOX_CHANNELS
from replication.detectors.yolov3.released import released_loss
from replication.detectors.yolov3.targets import Objects, Targets


@dataclass(frozen=True)
class BoxLoss:
    """A registered ``loss`` on decoded boxes with its weight, or None for YOLOv3's own; see MODEL.YOLOV3."""

    loss: BoxRegLoss | None
    weight: float = 1.0
    released: bool = False

    @classmethod
    def from_config(cls, cfg: Any) -> BoxLoss:
        """What MODEL.YOLOV3 names; ConfigError for a wrong setting of the loss."""
        node = cfg.MODEL.YOLOV3
        loss = None if node.BBOX_REG_LOSS_TYPE == "mse" else build_box_reg_loss(cfg, "YOLOV3")
        return cls(loss, node.BBOX_REG_LOSS_WEIGHT, node.GRADIENT == "released")

    def __call__(self, matched: Matched, size: tuple[int, int]) -> Tensor:
        """The loss (N, G) of each object's prediction in an input of ``size`` (height, width), with its weight."""
        if self.loss is None:
            return mse_loss(matched, size)
        loss = self.loss.function(matched.boxes, matched.target, reduction="none")
        if self.released:
            raw, enclosed = matched.raw[..., :4], self.loss.name == "giou"
            loss = released_loss(raw, loss, matched.boxes, matched.target, size, enclosed)
        return self.weight * loss


@dataclass(frozen=True)
class Matched:
    """Each object beside the prediction of its slot.

    ``raw`` (N, G, 5 + K), ``boxes`` and ``target`` (N, G, 4) XYXY in pixels, ``cell`` (N, G, 2), ``stride`` (N, G),
    ``anchor`` (N, G, 2). Where ``keep`` (N, G) is False the prediction equals its target and has no gradient.
    """

    raw: Tensor
    boxes: Tensor
    target: Tensor
    cell: Tensor
    stride: Tensor
    anchor: Tensor
    keep: Tensor

    @classmethod
    def of(cls, raw: Tensor, slot: Tensor, keep: Tensor, objects: Objects, grid: Grid) -> Matched:
        """From all outputs (N, R, 5 + K) and the objects' slots (N, G)."""
        picked = raw.gather(1, slot[..., None].expand(-1, -1, raw.shape[-1]))
        picked = picked.where(keep[..., None], 0)  # not multiplied: what is not kept may not be finite
        boxes = grid.decode_at(picked, slot)
        target = objects.boxes.where(keep[..., None], boxes.detach())
        cell = torch.stack([grid.column[slot], grid.row[slot]], dim=-1)
        return cls(picked, boxes, target, cell, grid.stride[slot], grid.anchor[slot], keep)


def mse_loss(matched: Matched, size: tuple[int, int]) -> Tensor:
    """Loss (N, G) of YOLOv3's own box regression, each weighted by 2 - (area of the object) / (area of the input).

    What the authors call squared error is that of the log sides alone, halved; the offsets in the cell have a
    cross-entropy with the true offset as target.
    """
    low, high = matched.target[..., :2], matched.target[..., 2:]
    offset = (low + high) / 2 / matched.stride[..., None] - matched.cell
    log_sides = ((high - low) / matched.anchor).log()
    centre = cross_entropy(matched.raw[..., :2], offset, reduction="none").sum(dim=-1)
    sides = (matched.raw[..., 2:4] - log_sides).square().sum(dim=-1) / 2
    weight = 2 - (high - low).prod(dim=-1) / (size[0] * size[1])
    return weight * (centre + sides)


@dataclass(frozen=True)
class Losses:
    """``obj``, ``cls``, ``box``: scalars with their graph; ``overlap``, ``deltas``, ``count``: by level, without one.

    ``overlap`` (L,) is the mean IoU of each object with its own slot's prediction, ``count`` (L,) the number of
    objects, ``deltas`` (L,) the sum of the squared gradients of objectness and classes: what the authors' log calls
    the class loss.
    """

    obj: Tensor
    cls: Tensor
    box: Tensor
    overlap: Tensor
    deltas: Tensor
    count: Tensor


def yolo_losses(
    raw: Tensor, objects: Objects, targets: Targets, grid: Grid, box_loss: BoxLoss, size: tuple[int, int]
) -> Losses:
    """Losses of outputs (N, R, 5 + K) in an input of ``size`` (height, width)."""
    images = len(raw)
    matched = Matched.of(raw, targets.slot, targets.owner, objects, grid)
    logits = raw[..., BOX_CHANNELS - 1]
    obj = cross_entropy(logits, targets.objectness, reduction="none").masked_fill(targets.ignored, 0)
    labels = matched.raw[..., BOX_CHANNELS:]
    cls = cross_entropy(labels, targets.classes, reduction="none").sum(dim=-1)
    box = box_loss(matched, size)
    overlap, deltas, count = _by_level(raw.detach(), labels.detach(), objects, targets, grid)
    return Losses(
        obj=obj.sum() / images,
        cls=cls.where(targets.owner, 0).sum() / images,
        box=box.where(targets.owner, 0).sum() / images,
        overlap=overlap,
        deltas=deltas,
        count=count,
    )


@torch.no_grad()
def _by_level(
    raw: Tensor, labels: Tensor, objects: Objects, targets: Targets, grid: Grid
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean IoU, squared deltas and number of objects of each level; objects whose slot another one owns count too."""
    levels = grid.anchors.shape[0] // grid.per_cell
    all_matched = Matched.of(raw, targets.slot, objects.valid, objects, grid)
    overlaps = iou(all_matched.boxes, all_matched.target).where(objects.valid, 0)
    of_object = one_hot(grid.level[targets.slot], levels).to(raw.dtype)
    count = (of_object * objects.valid[..., None]).sum(dim=(0, 1))
    overlap = (of_object * overlaps[..., None]).sum(dim=(0, 1)) / count.clamp(min=1)
    cls = (targets.classes - labels.sigmoid()).square().sum(dim=-1).where(targets.owner, 0)
    obj = (targets.objectness - raw[..., BOX_CHANNELS - 1].sigmoid()).square().masked_fill(targets.ignored, 0)
    of_slot = one_hot(grid.level, levels).to(raw.dtype)
    deltas = obj.sum(dim=0) @ of_slot + (of_object * cls[..., None]).sum(dim=(0, 1))
    return overlap, deltas, count
