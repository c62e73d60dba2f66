"""Settings that cannot be meant, refused before a run starts.

They are apart from the code that computes with the settings, since a refusal changes no result: trained runs stay valid
when one is added (``results.fingerprint``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from detectron2.config import CfgNode

from replication.detectors.yolov3.config import ANCHORS_PER_LEVEL
from replication.errors import ConfigError
from replication.formats.values import is_finite

# Of INPUT.DARKNET: the least value, the value that is too large, and what is expected.
_DARKNET = {
    "JITTER": (0, 0.5, "a number from 0 to less than 0.5, or a crop may be empty"),
    "HUE": (0, 1, "a part of the circle of hues, from 0 to less than 1"),
    "SATURATION": (1, math.inf, "a finite number from 1"),
    "EXPOSURE": (1, math.inf, "a finite number from 1"),
    "EVERY": (1, math.inf, "a number of iterations, 1 or more"),
    "LAST": (0, math.inf, "a number of iterations, 0 or more"),
    "MAX_OBJECTS": (1, math.inf, "1 or more"),
}


def check_settings(cfg: CfgNode) -> None:
    """Raise ConfigError naming the key of MODEL.YOLOV3, INPUT.DARKNET or MODEL.BACKBONE whose value makes no sense.

    Settings that are not used are not asked. ``detectors.yolov3.config`` refuses what does not fit the network; this is
    about values that would be trained with, or end in another error than one that names the key.
    """
    frozen = cfg.MODEL.BACKBONE.FREEZE_AT
    if not _is_whole(frozen) or frozen < 0:
        raise ConfigError(f"MODEL.BACKBONE.FREEZE_AT: {frozen}: expected a number of stages; 0 freezes none")
    if cfg.MODEL.META_ARCHITECTURE == "YOLOv3":
        _check_yolov3(cfg)
    if cfg.INPUT.DARKNET.ENABLED:
        _check_darknet(cfg)


def _check_yolov3(cfg: CfgNode) -> None:
    node = cfg.MODEL.YOLOV3
    _check_given(node, "MODEL.YOLOV3")
    for key in ("BBOX_REG_LOSS_WEIGHT", "OUTPUT_SCALE", "OBJECTNESS_BIAS", "CLASS_BIAS"):
        if not math.isfinite(node[key]):
            raise ConfigError(f"MODEL.YOLOV3.{key}: {node[key]}: expected a finite number")
    _check_whole("MODEL.YOLOV3.WIDTHS", node.WIDTHS, "channels, one number a level")
    _check_whole("MODEL.YOLOV3.STRIDES", node.STRIDES, "pixels, one number a level")
    strides = list(node.STRIDES)
    if any(coarse != 2 * fine for coarse, fine in pairwise(strides)):
        raise ConfigError(
            f"MODEL.YOLOV3.STRIDES: {strides}: each level is upsampled to twice its size for the next; "
            "give strides that halve from one to the next, such as [32, 16, 8]"
        )
    for key in ("MIN_SIZE_TRAIN", "MIN_SIZE_TEST"):
        sides = cfg.INPUT[key]
        _check_whole(f"INPUT.{key}", sides if isinstance(sides, list | tuple) else [sides], "pixels")
    _check_anchors(list(node.ANCHORS))
    if len(node.ANCHORS) == ANCHORS_PER_LEVEL * len(strides):  # else their number is refused with the network
        _check_order(list(node.ANCHORS))


def _check_anchors(anchors: list[Any]) -> None:
    for number, anchor in enumerate(anchors):
        pair = isinstance(anchor, list | tuple) and len(anchor) == 2
        if not pair or not all(is_finite(side) and side > 0 for side in anchor):
            raise ConfigError(
                f"MODEL.YOLOV3.ANCHORS: entry {number}: {anchor!r}: expected a positive width and height in pixels"
            )
        if min(anchor) < 1:
            raise ConfigError(
                f"MODEL.YOLOV3.ANCHORS: entry {number}: {anchor!r}: expected pixels of the network's input, and not "
                "fractions of it or of a cell"
            )


def _check_order(anchors: list[Any]) -> None:
    levels = [anchors[at : at + ANCHORS_PER_LEVEL] for at in range(0, len(anchors), ANCHORS_PER_LEVEL)]
    areas = [sum(width * height for width, height in level) / len(level) for level in levels]
    if any(finer >= coarser for finer, coarser in pairwise(areas)):
        raise ConfigError(
            f"MODEL.YOLOV3.ANCHORS: {anchors}: the mean areas of the levels' anchors, {ANCHORS_PER_LEVEL} a level, are "
            f"{', '.join(f'{area:g}' for area in areas)}; list small ones first: the finest level has the first "
            f"{ANCHORS_PER_LEVEL}"
        )


def _check_darknet(cfg: CfgNode) -> None:
    node = cfg.INPUT.DARKNET
    _check_given(node, "INPUT.DARKNET")
    for key, (least, above, expected) in _DARKNET.items():
        if not least <= node[key] < above:
            raise ConfigError(f"INPUT.DARKNET.{key}: {node[key]}: expected {expected}")
    _check_whole("INPUT.DARKNET.SIDES", node.SIDES, "pixels, a multiple of the coarsest stride")
    if cfg.INPUT.RANDOM_FLIP not in ("none", "horizontal"):
        raise ConfigError(
            f"INPUT.RANDOM_FLIP: {cfg.INPUT.RANDOM_FLIP}: with INPUT.DARKNET images are mirrored or not; choose "
            "horizontal or none"
        )
    if cfg.INPUT.CROP.ENABLED:
        raise ConfigError("INPUT.CROP.ENABLED: true: INPUT.DARKNET crops by itself; switch one of the two off")


def _check_given(node: CfgNode, name: str) -> None:
    for key, value in node.items():
        if value is None:
            raise ConfigError(f"{name}.{key}: has no value; give one or leave the line out")


def _check_whole(key: str, values: Sequence[Any], what: str) -> None:
    if not values or any(not _is_whole(value) or value < 1 for value in values):
        raise ConfigError(f"{key}: {list(values)}: expected whole numbers of {what}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
