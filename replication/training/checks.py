"""Settings that cannot be meant, refused before a run starts.

They are apart from the code that computes with the settings, since a refusal changes no result: trained runs stay valid
when one is added (``results.fingerprint``).
"""

from __future__ import annotations

import math
from itertools import pairwise
from numbers import Real
from typing import Any

from detectron2.config import CfgNode

from replication.detectors.yolov3.config import ANCHORS_PER_LEVEL
from replication.errors import ConfigError


def check_settings(cfg: CfgNode) -> None:
    """Raise ConfigError naming the key of a YOLOv3 or of INPUT.DARKNET whose value makes no sense; others pass.

    ``detectors.yolov3.config`` refuses what does not fit the network; this is about values that would be trained with.
    """
    if cfg.MODEL.META_ARCHITECTURE == "YOLOv3":
        _check_yolov3(cfg.MODEL.YOLOV3)
        if cfg.INPUT.DARKNET.ENABLED:
            _check_darknet(cfg.INPUT.DARKNET)


def _check_yolov3(node: Any) -> None:
    for key in ("BBOX_REG_LOSS_WEIGHT", "OUTPUT_SCALE", "OBJECTNESS_BIAS", "CLASS_BIAS"):
        if not math.isfinite(node[key]):
            raise ConfigError(f"MODEL.YOLOV3.{key}: {node[key]}: expected a finite number")
    strides = list(node.STRIDES)
    if not strides or any(not isinstance(stride, int) or stride < 1 for stride in strides):
        raise ConfigError(f"MODEL.YOLOV3.STRIDES: {strides}: expected whole numbers of pixels, one a level")
    if any(coarse != 2 * fine for coarse, fine in pairwise(strides)):
        raise ConfigError(
            f"MODEL.YOLOV3.STRIDES: {strides}: each level is upsampled to twice its size for the next; "
            "give strides that halve from one to the next, such as [32, 16, 8]"
        )
    _check_sides(list(node.ANCHORS))
    if len(node.ANCHORS) == ANCHORS_PER_LEVEL * len(strides):  # else their number is refused with the network
        _check_order(list(node.ANCHORS))


def _check_sides(anchors: list[Any]) -> None:
    for number, anchor in enumerate(anchors):
        pair = isinstance(anchor, list | tuple) and len(anchor) == 2
        if not pair or not all(_is_number(side) and side > 0 for side in anchor):
            raise ConfigError(
                f"MODEL.YOLOV3.ANCHORS: entry {number}: {anchor!r}: expected a positive width and height in pixels"
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


def _check_darknet(node: Any) -> None:
    limits = {
        "JITTER": (0, 0.499, "a number from 0 to below 0.5, above which a crop may be empty"),
        "HUE": (0, 0.5, "a number from 0 to 0.5, half of the circle"),
        "SATURATION": (1, math.inf, "a finite number from 1"),
        "EXPOSURE": (1, math.inf, "a finite number from 1"),
        "EVERY": (1, math.inf, "a number of iterations, 1 or more"),
        "LAST": (0, math.inf, "a number of iterations, 0 or more"),
        "MAX_OBJECTS": (1, math.inf, "1 or more"),
    }
    for key, (least, most, expected) in limits.items():
        if not (math.isfinite(node[key]) and least <= node[key] <= most):
            raise ConfigError(f"INPUT.DARKNET.{key}: {node[key]}: expected {expected}")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
