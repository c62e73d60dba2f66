"""The node MODEL.YOLOV3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode

from replication.detectors.losses import BOX_REG_LOSS_REGISTRY
from replication.errors import ConfigError

GRADIENTS = ("exact", "released")
RELEASED = ("iou", "giou")  # losses for which the authors' code has a gradient
ANCHORS_PER_LEVEL = 3


def add_yolov3_config(cfg: Any) -> None:
    """Add MODEL.YOLOV3 with the authors' values, in place. ``configs/variants/Base-YOLOv3.yaml`` has their sources."""
    node = cfg.MODEL.YOLOV3 = CfgNode()
    node.NUM_CLASSES = 80
    # Backbone maps, coarse to fine, and their strides in pixels.
    node.IN_FEATURES = ["res5", "res4", "res3"]
    node.STRIDES = [32, 16, 8]
    # Channels n of each level's block of convolutions: C(1, n) C(3, 2n) C(1, n) C(3, 2n) C(1, n), then C(3, 2n).
    node.WIDTHS = [512, 256, 128]
    # (width, height) in pixels of the network's input, small to large: three a level, the first three the finest's.
    node.ANCHORS = [[10, 13], [16, 30], [33, 23], [30, 61], [62, 45], [59, 119], [116, 90], [156, 198], [373, 326]]
    # mse: cross-entropy of the cell offsets and squared error of the log sides; or a registered loss on decoded boxes.
    node.BBOX_REG_LOSS_TYPE = "mse"
    # Multiplies losses on decoded boxes. mse has the weight 2 - (relative area) instead.
    node.BBOX_REG_LOSS_WEIGHT = 1.0
    # Of iou and giou. exact: automatic differentiation; released: the formula of the authors' code.
    node.GRADIENT = "exact"
    for name, loss in BOX_REG_LOSS_REGISTRY:
        if loss.on == "boxes" and loss.defaults:
            node[name.upper()] = CfgNode(dict(loss.defaults))
    # A prediction that overlaps an object by more than this has no objectness loss, unless it is that object's own.
    node.IGNORE_THRESH = 0.7
    # Of objectness and of objectness times class.
    node.SCORE_THRESH_TEST = 0.005
    node.NMS_THRESH_TEST = 0.45
    # Momentum of the running statistics in torch's sense: the share of the newest batch.
    node.BN_MOMENTUM = 0.01
    # How the output layers start: their weights are multiplied by OUTPUT_SCALE, biases are those of the logits.
    node.OUTPUT_SCALE = 1.0
    node.OBJECTNESS_BIAS = 0.0
    node.CLASS_BIAS = 0.0


def check_yolov3_config(cfg: Any) -> None:
    """Raise ConfigError naming the key when a value of MODEL.YOLOV3 or an input side does not fit the others."""
    node = cfg.MODEL.YOLOV3
    losses = ("mse", *(name for name, loss in BOX_REG_LOSS_REGISTRY if loss.on == "boxes"))
    for key, known in (("BBOX_REG_LOSS_TYPE", losses), ("GRADIENT", GRADIENTS)):
        if node[key] not in known:
            raise ConfigError(f"MODEL.YOLOV3.{key}: {node[key]!r} is unknown; choose from {', '.join(known)}")
    kind = node.BBOX_REG_LOSS_TYPE
    if node.GRADIENT == "released" and kind not in RELEASED:
        raise ConfigError(f"MODEL.YOLOV3.GRADIENT: released is for {' and '.join(RELEASED)}; choose exact for {kind}")
    levels = len(node.STRIDES)
    for key in ("IN_FEATURES", "WIDTHS"):
        if len(node[key]) != levels:
            raise ConfigError(f"MODEL.YOLOV3.{key}: {len(node[key])} entries for the {levels} levels of STRIDES")
    if list(node.STRIDES) != sorted(set(node.STRIDES), reverse=True):
        raise ConfigError(f"MODEL.YOLOV3.STRIDES: {list(node.STRIDES)}: list the levels from coarse to fine")
    if any(width < 2 or width % 2 for width in node.WIDTHS):
        raise ConfigError(f"MODEL.YOLOV3.WIDTHS: {list(node.WIDTHS)}: expected even numbers of channels")
    _check_anchors(node.ANCHORS, levels)
    for key in ("BBOX_REG_LOSS_WEIGHT", "OUTPUT_SCALE"):
        if not node[key] > 0:
            raise ConfigError(f"MODEL.YOLOV3.{key}: {node[key]}: expected a positive number")
    for key in ("IGNORE_THRESH", "SCORE_THRESH_TEST", "NMS_THRESH_TEST", "BN_MOMENTUM"):
        if not 0 <= node[key] <= 1:
            raise ConfigError(f"MODEL.YOLOV3.{key}: {node[key]}: expected a number from 0 to 1")
    check_sides(cfg, node.STRIDES[0])


def _check_anchors(anchors: Any, levels: int) -> None:
    expected = ANCHORS_PER_LEVEL * levels
    if len(anchors) != expected:
        raise ConfigError(
            f"MODEL.YOLOV3.ANCHORS: {len(anchors)} anchors for {levels} levels; give {expected}, "
            f"{ANCHORS_PER_LEVEL} a level, those of the finest level first"
        )
    for number, anchor in enumerate(anchors):
        if len(anchor) != 2 or not all(side > 0 for side in anchor):
            raise ConfigError(f"MODEL.YOLOV3.ANCHORS: entry {number}: {anchor}: expected a positive width and height")


def check_features(node: Any, strides: Mapping[str, int]) -> None:
    """Raise ConfigError unless the backbone's maps, by name, have the strides that MODEL.YOLOV3 says."""
    if [strides.get(name) for name in node.IN_FEATURES] != list(node.STRIDES):
        raise ConfigError(
            f"MODEL.YOLOV3.IN_FEATURES: {list(node.IN_FEATURES)} of strides {list(node.STRIDES)}: the backbone has "
            + ", ".join(f"{name} of stride {stride}" for name, stride in strides.items())
        )


def check_sides(cfg: Any, coarsest: int) -> None:
    """Raise ConfigError unless every longest side of a letterboxed input is a multiple of the coarsest stride."""
    longest = {"MIN_SIZE_TEST": cfg.INPUT.MAX_SIZE_TEST, "MIN_SIZE_TRAIN": cfg.INPUT.MAX_SIZE_TRAIN}
    for key, most in longest.items():
        sides = cfg.INPUT[key] if isinstance(cfg.INPUT[key], list | tuple) else [cfg.INPUT[key]]
        for side in sides:
            if not side or side % coarsest:
                raise ConfigError(
                    f"INPUT.{key}: {side} is not a multiple of {coarsest}, the coarsest stride of YOLOv3; choose "
                    f"{max(1, round(side / coarsest)) * coarsest}"
                )
        if most != max(sides):
            raise ConfigError(
                f"INPUT.{key.replace('MIN', 'MAX')}: {most}: YOLOv3 letterboxes images into a square; give the largest "
                f"side of INPUT.{key}, {max(sides)}"
            )
