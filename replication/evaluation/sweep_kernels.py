"""Loops of average precision under image weights for numba. Imported only when they run.

``native/sweep.c`` has the same in C, to the last bit.

Detections of one class in the order of scores, image weights w, for one threshold:

    T_j = sum_{i<=j} w_i true_i                    N_j = sum_{i<=j} w_i (1 - ignored_i)
    p_j = T_j / N_j                                m_j = max_{i>=j} p_i
    k(T) = number of recall points that T / objects reaches
    AP  = 1 / points * (sum_{true j} m_j (k(T_j) - k(T_j - w_j)) + m_first k(0))

which is what an evaluator finds on a data set in which image i occurs w_i times: copies of a true detection only raise
the precision along the copies, and copies of a false one reach no new recall point. Many weightings stand side by side
as lanes, and one backward pass yields them all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from replication.evaluation.kernels import LANES, Ranked
from replication.formats.compiled import compiled, inline

Array = NDArray[Any]
FLUSH = 256  # rows of weights up to 255 that fit into 16 bits
TINY = 2.0**-52  # pycocotools' guard against 0 / 0


@compiled
def program(
    image: Array,
    rank: Array,
    true: Array,
    ignored: Array,
    limit: int,
    every: int,
    plain: Array,
    events: Array,
    stops: Array,
    sizes: Array,
) -> None:
    """What average precision depends on, for one class and area range.

    ``events`` are detections that are true, or whose being ignored depends on the threshold: (image, true bits, bits
    that count). Between them stand the images of detections that are false at all thresholds, ``plain``, the ones
    before event e ending at ``stops[e]``. What is ignored throughout, or follows the last true detection, has no
    influence and is left out: ``sizes`` are how many of ``plain`` and of events remain.
    """
    plains, count, last = 0, 0, 0
    for i in range(len(image)):
        if rank[i] >= limit or ignored[i] == every:
            continue
        if true[i] == 0 and ignored[i] == 0:
            plain[plains] = image[i]
            plains += 1
            continue
        events[count, 0] = image[i]
        events[count, 1] = true[i]
        events[count, 2] = every & ~ignored[i]
        stops[count] = plains
        count += 1
        if true[i]:
            last = count
    sizes[0] = stops[last - 1] if last else 0
    sizes[1] = last


@compiled
def _add_rows(
    weights: Array,
    rows: Array,
    start: int,
    stop: int,
    total: Array,
    part: Array,
) -> None:
    """Add the weights of the images ``rows[start:stop]`` to ``total``; ``part`` is scratch of 16 bits."""
    while start < stop:
        end = min(stop, start + FLUSH)
        part[:] = 0
        while start + 4 <= end:
            a, b, c, d = rows[start], rows[start + 1], rows[start + 2], rows[start + 3]
            for lane in range(LANES):
                part[lane] += np.uint16(
                    np.uint16(weights[a, lane]) + np.uint16(weights[b, lane])
                    + np.uint16(weights[c, lane]) + np.uint16(weights[d, lane])
                )  # fmt: skip
            start += 4
        while start < end:
            a = rows[start]
            for lane in range(LANES):
                part[lane] += weights[a, lane]
            start += 1
        for lane in range(LANES):
            total[lane] += part[lane]


@inline
def _reached(
    amount: float,
    scale: float,
    half: float,
    intervals: float,
    probe: float,
) -> float:
    """k(T): recall points reached by T = ``amount``, exact for whole T. ``scale`` is intervals / objects.

    ``half`` is half the least distance of T * scale to a whole number that it does not equal. Recall of k / intervals
    reaches point k unless that point is above the fraction in floating point, which ``probe`` tells
    (``bootstrap.Grid``); a look-up in a table would keep the loop from becoming vector instructions.
    """
    exact = amount * scale
    point: float = np.floor(exact + half)
    above = point * (1.0 / intervals) * probe * intervals > point * probe
    return point if above and exact - point < half else point + 1.0


@compiled
def sweep(
    weights: Array,
    plain: Array,
    events: Array,
    stops: Array,
    objects: Array,
    thresholds: int,
    intervals: float,
    probe: float,
    result: Array,
) -> None:
    """Average precision (thresholds, LANES) of one class under LANES weightings into ``result``; NaN without objects.

    ``weights`` is (images, LANES) of uint8, ``objects`` the images of the objects to find. ``intervals`` is the number
    of recall points less one, or 0.0 for the area under the curve at all points; ``probe`` is the grid's.
    """
    part = np.zeros(LANES, np.uint16)
    number, base = np.zeros(LANES), np.zeros(LANES)
    scale, half = np.zeros(LANES), np.full(LANES, 0.5)
    found, extra = np.zeros((thresholds, LANES)), np.zeros((thresholds, LANES))
    best, reached = np.zeros((thresholds, LANES)), np.zeros((thresholds, LANES))
    _add_rows(weights, objects, 0, len(objects), number, part)
    _add_rows(weights, plain, 0, len(plain), base, part)
    for e in range(len(events)):
        image, true, counted = events[e, 0], events[e, 1], events[e, 2]
        for t in range(thresholds):
            if (true >> t) & 1:
                for lane in range(LANES):
                    found[t, lane] += weights[image, lane]
            if (counted >> t) & 1:
                for lane in range(LANES):
                    extra[t, lane] += weights[image, lane]
    for lane in range(LANES):
        if number[lane] > 0:
            scale[lane] = intervals / number[lane]
            half[lane] = 0.5 / number[lane]
    result[:] = 0.0
    for t in range(thresholds):
        if intervals:
            for lane in range(LANES):
                reached[t, lane] = _reached(found[t, lane], scale[lane], half[lane], intervals, probe)
    end = len(plain)
    minus, row = np.zeros(LANES), np.zeros(LANES)
    for e in range(len(events) - 1, -1, -1):
        if stops[e] < end:
            minus[:] = 0.0
            _add_rows(weights, plain, stops[e], end, minus, part)
            for lane in range(LANES):
                base[lane] -= minus[lane]
            end = stops[e]
        image, true, counted = events[e, 0], events[e, 1], events[e, 2]
        for lane in range(LANES):
            row[lane] = weights[image, lane]
        for t in range(thresholds):
            if (true >> t) & 1:
                if intervals:
                    for lane in range(LANES):
                        weight = row[lane]
                        precision = found[t, lane] / (base[lane] + extra[t, lane] + TINY)
                        top = max(best[t, lane], precision)
                        before = found[t, lane] - weight
                        now = _reached(before, scale[lane], half[lane], intervals, probe)
                        result[t, lane] += top * (reached[t, lane] - now)
                        best[t, lane] = top
                        found[t, lane] = before
                        reached[t, lane] = now
                        extra[t, lane] -= weight
                else:
                    for lane in range(LANES):
                        weight = row[lane]
                        precision = found[t, lane] / (base[lane] + extra[t, lane] + TINY)
                        top = max(best[t, lane], precision)
                        result[t, lane] += top * weight
                        best[t, lane] = top
                        found[t, lane] -= weight
                        extra[t, lane] -= weight
            elif (counted >> t) & 1:
                for lane in range(LANES):
                    extra[t, lane] -= row[lane]
    for t in range(thresholds):
        for lane in range(LANES):
            if number[lane] == 0:
                result[t, lane] = np.nan
            elif intervals:
                result[t, lane] = (result[t, lane] + best[t, lane]) / (intervals + 1)
            else:
                result[t, lane] /= number[lane]


def averages(
    found: Ranked,
    limit: int,
    truth_starts: Array,
    truth_image: Array,
    weights: Array,
    intervals: float,
    probe: float,
    result: Array,
) -> None:
    """Average precision (thresholds, classes) under one weighting (images, 1) into ``result``.

    ``truth_starts`` delimits the images of the classes' objects to find.
    """
    thresholds, same = len(result), np.repeat(weights, LANES, axis=1)
    own = np.empty((thresholds, LANES))
    for c in range(len(found.starts) - 1):
        part = slice(found.starts[c], found.starts[c + 1])
        image, rank, true, ignored = (column[part] for column in found[1:])
        size = len(image)
        plain, events = np.empty(size, np.int32), np.empty((size, 3), np.int32)
        stops, sizes = np.empty(size, np.int64), np.empty(2, np.int64)
        program(image, rank, true, ignored, limit, (1 << thresholds) - 1, plain, events, stops, sizes)
        objects = truth_image[truth_starts[c] : truth_starts[c + 1]]
        kept = plain[: sizes[0]], events[: sizes[1]], stops[: sizes[1]]
        sweep(same, *kept, objects, thresholds, intervals, probe, own)
        result[:, c] = own[:, 0]


@compiled
def hits(starts: Array, rank: Array, true: Array, limit: int, found: Array) -> None:
    """How many of each class's detections of rank below ``limit`` are true: (thresholds, classes) into ``found``."""
    found[:] = 0
    for c in range(len(starts) - 1):
        for d in range(starts[c], starts[c + 1]):
            if rank[d] < limit:
                for t in range(len(found)):
                    found[t, c] += (true[d] >> t) & 1


@inline
def _mixed(
    value: Any,
) -> Any:
    """A 64-bit hash of a 64-bit counter (the finaliser of splitmix64)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@compiled
def draw(
    seed: int,
    first: int,
    units: int,
    weights: Array,
) -> None:
    """Fill ``weights`` (units, lanes), zero before, with how often each unit is drawn in replicates first, first + 1...

    Replicate r draws ``units`` times with replacement; draw d is a hash of (seed, r, d) and of nothing else.
    """
    step = np.uint64(0x9E3779B97F4A7C15)
    for lane in range(weights.shape[1]):
        key = _mixed(_mixed(np.uint64(seed) + step) + np.uint64(first + lane) * step)
        for d in range(units):
            value = _mixed(key + np.uint64(d + 1) * step) >> np.uint64(32)
            weights[np.int64((value * np.uint64(units)) >> np.uint64(32)), lane] += 1
