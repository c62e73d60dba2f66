"""Box regression losses by name: the value of BBOX_REG_LOSS_TYPE in the node of every head that regresses boxes.

A new loss is one decorated function in one module that is imported before a model is built, or in a file of a user's
folder ``losses`` (see ``own``)::

    @box_reg_loss("diou", on="boxes")
    def diou_loss(pred, target, reduction="none"):
        return torchvision.ops.distance_box_iou_loss(pred, target, reduction)

From then on ``diou`` is a value of MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE, MODEL.RPN.BBOX_REG_LOSS_TYPE and
MODEL.RETINANET.BBOX_REG_LOSS_TYPE, which FSAF's anchor-based branch reads too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Literal, Protocol, TypeVar

import torch
from detectron2.config import CfgNode
from detectron2.utils.events import get_event_storage
from fvcore.common.registry import Registry
from torch import Tensor

from replication.detectors.losses.overlap import iou
from replication.errors import ConfigError


class LossRegistry(Registry):  # type: ignore[misc]
    """fvcore's registry, of which a name can be taken back: a user's file may change while a process lives."""

    def forget(self, name: str) -> None:
        """Remove a name, if it is there."""
        self._obj_map.pop(name, None)


BOX_REG_LOSS_REGISTRY = LossRegistry("BOX_REG_LOSS")
HEADS = ("ROI_BOX_HEAD", "RPN", "RETINANET")
"""Nodes under MODEL with BBOX_REG_LOSS_TYPE, BBOX_REG_LOSS_WEIGHT and the losses' own settings."""

Function = TypeVar("Function", bound=Callable[..., Tensor])


class BoxTransform(Protocol):
    """Encodes boxes against anchors and decodes them, as Detectron2's Box2BoxTransform does. Boxes (N, 4) XYXY."""

    def get_deltas(self, src_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """What the head should predict at the anchors ``src_boxes`` for ``target_boxes``: (N, 4)."""

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """The boxes that ``deltas`` (N, 4) mean at the anchors ``boxes``: (N, 4)."""


@dataclass(frozen=True)
class MatchedBoxes:
    """N predictions, each with the anchor or proposal it was made at and the object it is matched to.

    ``deltas`` (N, 4) as the head predicts them; ``anchors`` and ``gt_boxes`` (N, 4) XYXY in pixels.
    """

    deltas: Tensor
    anchors: Tensor
    gt_boxes: Tensor
    transform: BoxTransform

    @cached_property
    def boxes(self) -> Tensor:
        """The predicted boxes (N, 4) XYXY in pixels."""
        return self.transform.apply_deltas(self.deltas, self.anchors)

    @cached_property
    def gt_deltas(self) -> Tensor:
        """The deltas (N, 4) that the objects have at the anchors."""
        return self.transform.get_deltas(self.anchors, self.gt_boxes)

    @torch.no_grad()
    def log_mean_iou(self) -> None:
        """Put the mean IoU of predictions and objects into the event storage as ``iou``; nothing when N is 0."""
        if len(self.gt_boxes):
            get_event_storage().put_scalar("iou", iou(self.boxes, self.gt_boxes).mean().item())


@dataclass(frozen=True)
class BoxRegLoss:
    """A registered loss: ``function(pred, target, reduction=...)`` on ``deltas`` or on decoded ``boxes``, both (N, 4).

    ``defaults`` are the keys of its own node, named like the loss in capitals, under each head's node.
    ``settings`` gives the keyword arguments of ``function`` from a head's node and that node's key.
    """

    name: str
    on: Literal["deltas", "boxes"]
    function: Callable[..., Tensor]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    settings: Callable[[CfgNode, str], Mapping[str, Any]] | None = None

    @property
    def __name__(self) -> str:
        """What fvcore's registry enters an object by."""
        return self.name

    def configured(self, node: CfgNode, key: str) -> BoxRegLoss:
        """The loss with the settings of the head's node at ``key``; ConfigError for a wrong one."""
        if self.settings is not None:
            arguments = self.settings(node, key)
        else:
            arguments = {name.lower(): node[self.name.upper()][name] for name in self.defaults}
        return BoxRegLoss(self.name, self.on, partial(self.function, **arguments))

    def sum(self, matched: MatchedBoxes) -> Tensor:
        """The loss summed over all matched predictions: a scalar, 0 with a graph when there are none."""
        if self.on == "boxes":
            return self.function(matched.boxes, matched.gt_boxes, reduction="sum")
        return self.function(matched.deltas, matched.gt_deltas, reduction="sum")


def box_reg_loss(
    name: str,
    on: Literal["deltas", "boxes"],
    defaults: Mapping[str, Any] | None = None,
    settings: Callable[[CfgNode, str], Mapping[str, Any]] | None = None,
) -> Callable[[Function], Function]:
    """Enter a function as the loss ``name``; see BoxRegLoss. A name can be entered once.

    Without ``settings`` the keys of ``defaults``, in small letters, are the function's keyword arguments.
    """

    def enter(function: Function) -> Function:
        BOX_REG_LOSS_REGISTRY.register(BoxRegLoss(name, on, function, defaults or {}, settings))
        return function

    return enter


def add_box_reg_loss_config(cfg: CfgNode) -> None:
    """Give every head the keys of all losses entered so far, in place."""
    cfg.MODEL.RETINANET.BBOX_REG_LOSS_WEIGHT = 1.0  # Detectron2's other heads have it
    for head in HEADS:
        for name, loss in BOX_REG_LOSS_REGISTRY:
            if loss.defaults:
                cfg.MODEL[head][name.upper()] = CfgNode(dict(loss.defaults))


def build_box_reg_loss(cfg: CfgNode, head: str) -> BoxRegLoss:
    """The loss that MODEL.<head>.BBOX_REG_LOSS_TYPE names, with its settings.

    Raises ConfigError naming the key for an unknown loss or a wrong setting.
    """
    node, key = cfg.MODEL[head], f"MODEL.{head}"
    known = dict(BOX_REG_LOSS_REGISTRY)
    if node.BBOX_REG_LOSS_TYPE not in known:
        raise ConfigError(
            f"{key}.BBOX_REG_LOSS_TYPE: {node.BBOX_REG_LOSS_TYPE!r} is unknown; choose from {', '.join(known)}, or "
            "enter it in losses/*.py beside the variant's folder"
        )
    loss: BoxRegLoss = known[node.BBOX_REG_LOSS_TYPE]
    return loss.configured(node, key)
