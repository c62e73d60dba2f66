"""The loops of evaluation: order of detections, assignment, average precision, curves.

Each is a function of the compiled library (``native/match.c``, ``native/sweep.c``). Where that cannot be had, numba
compiles the same loops from ``match_kernels``, ``sweep_kernels`` and ``curve_kernels``, which describe them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from replication.formats.native import Kernel

Array = NDArray[Any]
LANES = 128
"""Weightings side by side. A constant, so that the loops over them become vector instructions."""


class Rule(NamedTuple):
    """``kind`` of overlap, ``voc`` assignment or COCO's, ``limit`` of detections per image, thresholds, area ranges."""

    kind: int
    voc: bool
    limit: int
    thresholds: Array
    ranges: Array


class Found(NamedTuple):
    """Columns of the detections."""

    image: Array
    score: Array
    boxes: Array
    box_areas: Array
    areas: Array


class Objects(NamedTuple):
    """Columns of the ground truth."""

    image: Array
    boxes: Array
    box_areas: Array
    areas: Array
    crowd: Array
    ignored: Array


class Result(NamedTuple):
    """Columns of the matches."""

    detection: Array
    image: Array
    rank: Array
    found: Array
    true: Array
    ignored: Array


class Ranked(NamedTuple):
    """Columns of the matches under one area range, by class, which ``starts`` delimits, and falling score."""

    starts: Array
    image: Array
    rank: Array
    true: Array
    ignored: Array


def _matching(name: str) -> Callable[[], Callable[..., Any]]:
    def by_numba() -> Callable[..., Any]:
        from replication.evaluation import match_kernels

        function: Callable[..., Any] = getattr(match_kernels, name)
        return function

    return by_numba


def _sweeping(name: str) -> Callable[[], Callable[..., Any]]:
    def by_numba() -> Callable[..., Any]:
        from replication.evaluation import sweep_kernels

        function: Callable[..., Any] = getattr(sweep_kernels, name)
        return function

    return by_numba


def _curve() -> Callable[..., Any]:
    from replication.evaluation.curve_kernels import curve

    return curve


_FOUND = "i8[] f8[] f8[,] f8[] f8[]"
_OBJECTS = "i8[] f8[,] f8[] f8[] ?[] ?[]"
# Called as they are; they fill their last arguments, and the functions of the same names for numba say with what.
match_class = Kernel(
    "match_class",
    f"int int int f8[] f8[,] i8[] {_FOUND} i8[] {_OBJECTS} f8[] i4[]! i4[]! i4[]! i4[]! u2[,]! u2[,]!",
    _matching("match_class"),
)
mistaken = Kernel(
    "mistaken",
    f"int float float i4[] ?[] i8[] {_FOUND} i8[] i8[] i8[] {_OBJECTS} u1[]! i8[]!",
    _matching("mistaken"),
)
sweep = Kernel("sweep", "u1[,] i4[] i4[,] i8[] i4[] int float float f8[,]!", _sweeping("sweep"))
averages = Kernel("averages", "i8[] i4[] i4[] u2[] u2[] int i8[] i4[] u1[,] float float f8[,]!", _sweeping("averages"))
draw = Kernel("draw", "int int int u1[,]!", _sweeping("draw"))
# Called by the functions below, which make the arrays that they fill.
ORDER = Kernel("by_class_and_image", "i8[] i8[] int int i8[]! i8[]!", _matching("by_class_and_image"))
KEPT = Kernel("kept_per_class", "i8[] i8[] i8[] int i8[]!", _matching("kept_per_class"))
PROGRAM = Kernel("program", "i4[] i4[] u2[] u2[] int int i4[]! i4[,]! i8[]! i8[]!", _sweeping("program"))
HITS = Kernel("hits", "i8[] i4[] u2[] int i8[,]!", _sweeping("hits"))
CURVE = Kernel("curve", "f8[] ?[] ?[] int f8[] f8[]! f8[]! f8[]!", _curve)


def by_class_and_image(label: Array, image: Array, classes: int, images: int) -> tuple[Array, Array]:
    """Indices by class, then image, then file order; and where each class starts (classes + 1)."""
    order, starts = np.empty(len(image), np.int64), np.empty(classes + 1, np.int64)
    ORDER(label, image, classes, images, order, starts)
    return order, starts


def kept_per_class(order: Array, starts: Array, image: Array, limit: int) -> Array:
    """Where each class starts when no more than ``limit`` detections of an image and class are kept."""
    kept = np.empty(len(starts), np.int64)
    KEPT(order, starts, image, limit, kept)
    return kept


def program(
    image: Array, rank: Array, true: Array, ignored: Array, limit: int, every: int
) -> tuple[Array, Array, Array]:
    """What average precision depends on, for one class and area range: see ``sweep_kernels.program``."""
    plain, events = np.empty(len(image), np.int32), np.empty((len(image), 3), np.int32)
    stops, sizes = np.empty(len(image), np.int64), np.empty(2, np.int64)
    PROGRAM(image, rank, true, ignored, limit, every, plain, events, stops, sizes)
    return plain[: sizes[0]].copy(), events[: sizes[1]].copy(), stops[: sizes[1]].copy()


def hits(starts: Array, rank: Array, true: Array, limit: int, thresholds: int) -> Array:
    """How many detections of each class are true (thresholds, classes), of ranks below ``limit``."""
    found = np.empty((thresholds, len(starts) - 1), np.int64)
    HITS(starts, rank, true, limit, found)
    return found


def curve(
    score: Array, true: Array, ignored: Array, objects: int, points: Array, precision: Array, scores: Array
) -> float:
    """Precision and score at the recalls ``points`` into ``precision`` and ``scores``: see ``curve_kernels.curve``."""
    recall = np.empty(1)
    CURVE(score, true, ignored, objects, points, precision, scores, recall)
    return float(recall[0])
