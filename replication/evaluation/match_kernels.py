"""Loops of the matching for numba: order of detections, overlaps, greedy assignment. Imported only when they run.

``native/match.c`` has the same in C, to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from replication.evaluation.kernels import Found, Objects, Result, Rule
from replication.formats.compiled import compiled, inline

Array = NDArray[Any]


# What `kind` means; `matching.KINDS` gives the names.
IOU, GIOU, GIOU_PAPER, VOC_GIOU, GIVEN = 0, 1, 2, 3, 4
# Kinds of mistakes; `mistakes.CODES` gives the names.
NONE, DUPLICATE, LOCALISATION, CLASSIFICATION, BACKGROUND, BOTH = 0, 1, 2, 3, 4, 5
CEILING = 1 - 1e-10  # pycocotools' greatest overlap to reach: a threshold of 1 is met by equal boxes
SHORT = 24  # below this, sorting by insertion is faster


@compiled
def by_class_and_image(label: Array, image: Array, classes: int, images: int, order: Array, starts: Array) -> None:
    """Indices by class, then image, then file order; and where each class starts (classes + 1)."""
    by_image = _counting_sort(np.arange(len(image)), image, images)
    order[:] = _counting_sort(by_image, label, classes)
    starts[:] = 0
    for value in label:
        starts[value + 1] += 1
    starts[:] = np.cumsum(starts)


@compiled
def _counting_sort(order: Array, key: Array, size: int) -> Array:
    """``order`` rearranged by ``key``, stable."""
    place = np.zeros(size + 1, np.int64)
    for index in order:
        place[key[index] + 1] += 1
    place = np.cumsum(place)
    result = np.empty(len(order), np.int64)
    for index in order:
        result[place[key[index]]] = index
        place[key[index]] += 1
    return result


@compiled
def kept_per_class(order: Array, starts: Array, image: Array, limit: int, kept: Array) -> None:
    """Where each class starts when no more than ``limit`` detections of an image and class are kept."""
    kept[0] = 0
    for c in range(len(starts) - 1):
        run, count = 0, 0
        for i in range(starts[c], starts[c + 1]):
            run = run + 1 if i > starts[c] and image[order[i]] == image[order[i - 1]] else 1
            count += run <= limit
        kept[c + 1] = kept[c] + count


@compiled
def _sort_by_score(indices: Array, score: Array) -> None:
    """Sort a few indices in place, highest score first, stable."""
    n = len(indices)
    if n > SHORT:
        keys = np.empty(n)
        for i in range(n):
            keys[i] = -score[indices[i]]
        indices[:] = indices[np.argsort(keys, kind="mergesort")]
        return
    for i in range(1, n):
        moved = indices[i]
        value = score[moved]
        j = i - 1
        while j >= 0 and score[indices[j]] < value:
            indices[j + 1] = indices[j]
            j -= 1
        indices[j + 1] = moved


@inline
def _overlap(kind: int, box: Array, area: float, other: Array, other_area: float, crowd: bool) -> float:
    """Overlap of a detection ``box`` with an object ``other``, in pycocotools' order of operations."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    common = width * height if width > 0 and height > 0 else 0.0
    union = area if crowd else area + other_area - common
    value: float = common / union if union > 0 else 0.0  # both without area
    if kind == IOU or (kind == GIOU and crowd):
        return value
    hull = (max(box[2], other[2]) - min(box[0], other[0])) * (max(box[3], other[3]) - min(box[1], other[1]))
    penalty = (hull - union) / hull if hull > 0 else 0.0
    if kind == VOC_GIOU:
        penalty = max(penalty, 0.0)
    clean: float = value - penalty
    return clean


@compiled
def _assign_coco(
    overlap: Array, crowd: Array, ignored: Array, outside: Array, thresholds: Array, true: Array, left_out: Array
) -> Array:
    """Greedy assignment of one image and class under one area range: sets bits of ``true`` and ``left_out``.

    Returns the object of each detection at the first threshold, or -1.
    """
    n, m = overlap.shape
    found = np.full(n, -1, np.int64)
    order = np.concatenate((np.flatnonzero(~ignored), np.flatnonzero(ignored)))
    for t in range(len(thresholds)):
        taken = np.zeros(m, np.bool_)
        bit = np.uint16(1 << t)
        for d in range(n):
            best, match = min(thresholds[t], CEILING), -1
            for g in order:
                if taken[g] and not crowd[g]:
                    continue
                if match >= 0 and not ignored[match] and ignored[g]:
                    break
                if overlap[d, g] >= best:
                    best, match = overlap[d, g], g
            if match < 0:
                if outside[d]:
                    left_out[d] |= bit
                continue
            taken[match] = True
            if ignored[match]:
                left_out[d] |= bit
            else:
                true[d] |= bit
            if t == 0:
                found[d] = match
    return found


@compiled
def _assign_voc(
    overlap: Array, ignored: Array, outside: Array, thresholds: Array, true: Array, left_out: Array
) -> Array:
    """VOC's assignment: a detection claims its best object, above (not at) the threshold; the first one gets it."""
    n, m = overlap.shape
    found = np.full(n, -1, np.int64)
    for t in range(len(thresholds)):
        taken = np.zeros(m, np.bool_)
        bit = np.uint16(1 << t)
        for d in range(n):
            match = np.argmax(overlap[d])
            if overlap[d, match] <= thresholds[t]:
                if outside[d]:
                    left_out[d] |= bit
            elif ignored[match]:
                left_out[d] |= bit
            elif not taken[match]:
                taken[match] = True
                true[d] |= bit
                if t == 0:
                    found[d] = match
    return found


@compiled
def _overlaps(kind: int, rows: Array, found: Found, columns: Array, objects: Objects, given: Array) -> Array:
    """Overlaps of the detections ``rows`` with the objects ``columns``; those of kind GIVEN lie flat in ``given``."""
    result = np.empty((len(rows), len(columns)))
    for d in range(len(rows)):
        for g in range(len(columns)):
            if kind == GIVEN:
                result[d, g] = given[d * len(columns) + g]
            else:
                one, other = rows[d], columns[g]
                result[d, g] = _overlap(
                    kind, found.boxes[one], found.box_areas[one], objects.boxes[other], objects.box_areas[other],
                    objects.crowd[other],
                )  # fmt: skip
    return result


@compiled
def _same_image(order: Array, image: Array, start: int, wanted: int) -> int:
    """End of the run of ``order``, from ``start``, whose image is ``wanted``."""
    while start < len(order) and image[order[start]] == wanted:
        start += 1
    return start


@compiled
def match_class(
    rule: Rule, order: Array, found: Found, gt_order: Array, objects: Objects, given: Array, out: Result
) -> None:
    """Match one class, whose detections and objects ``order`` and ``gt_order`` list by image.

    ``given`` has overlaps of kind GIVEN, one image after the other, detections by falling score. ``out`` is filled in
    the order of scores; equal ones in the order of images, then of the file.
    """
    size, every = len(out.image), np.uint16((1 << len(rule.thresholds)) - 1)
    detection, rank, match = np.empty(size, np.int64), np.empty(size, np.int32), np.full(size, -1, np.int64)
    true = np.zeros((len(rule.ranges), size), np.uint16)
    left_out = np.zeros((len(rule.ranges), size), np.uint16)
    start, stop, i, j, used = 0, 0, 0, 0, 0
    while i < len(order):
        image = found.image[order[i]]
        end = _same_image(order, found.image, i, image)
        rows = order[i:end].copy()
        _sort_by_score(rows, found.score)
        rows = rows[: rule.limit]
        i, start, stop = end, stop, stop + len(rows)
        detection[start:stop], rank[start:stop] = rows, np.arange(len(rows))
        while j < len(gt_order) and objects.image[gt_order[j]] < image:
            j += 1
        end = _same_image(gt_order, objects.image, j, image)
        columns = gt_order[j:end]
        j = end
        overlap = _overlaps(rule.kind, rows, found, columns, objects, given[used:])
        used += overlap.size
        for a in range(len(rule.ranges)):
            low, high = rule.ranges[a]
            if len(columns) == 0:
                for d in range(len(rows)):
                    if found.areas[rows[d]] < low or found.areas[rows[d]] > high:
                        left_out[a, start + d] = every
                continue
            outside = (found.areas[rows] < low) | (found.areas[rows] > high)
            ignored = objects.ignored[columns] | (objects.areas[columns] < low) | (objects.areas[columns] > high)
            bits = true[a, start:stop], left_out[a, start:stop]
            if rule.voc:
                taken = _assign_voc(overlap, ignored, outside, rule.thresholds, bits[0], bits[1])
            else:
                crowd = objects.crowd[columns]
                taken = _assign_coco(overlap, crowd, ignored, outside, rule.thresholds, bits[0], bits[1])
            if a == 0:
                for d in range(len(rows)):
                    if taken[d] >= 0:
                        match[start + d] = columns[taken[d]]
    by_score = np.argsort(-found.score[detection], kind="mergesort")
    out.detection[:] = detection[by_score]
    out.image[:] = found.image[detection[by_score]]
    out.rank[:] = rank[by_score]
    out.found[:] = match[by_score]
    for a in range(len(rule.ranges)):
        out.true[a] = true[a][by_score]
        out.ignored[a] = left_out[a][by_score]


@compiled
def mistaken(
    kind: int,
    foreground: float,
    background: float,
    rows: Array,
    wrong: Array,
    label: Array,
    found: Found,
    by_image: Array,
    starts: Array,
    gt_label: Array,
    objects: Objects,
    mistake: Array,
    aim: Array,
) -> None:
    """The kind of mistake of each detection in ``rows`` that is ``wrong``, and the object it aims at; else 0 and -1.

    ``label`` is of all detections; ``by_image`` lists the objects by image, which ``starts`` delimits. An aim is the
    object of the greatest overlap: of another class for a classification mistake, else of the same, or -1.
    """
    for place in range(len(rows)):
        mistake[place], aim[place] = NONE, -1
        if not wrong[place]:
            continue
        d = rows[place]
        own, other = -np.inf, -np.inf
        nearest, nearest_other = -1, -1
        for i in range(starts[found.image[d]], starts[found.image[d] + 1]):
            g = by_image[i]
            if objects.ignored[g]:
                continue
            value = _overlap(kind, found.boxes[d], found.box_areas[d], objects.boxes[g], objects.box_areas[g], False)
            if gt_label[g] == label[d]:
                if value > own:
                    own, nearest = value, g
            elif value > other:
                other, nearest_other = value, g
        aim[place] = nearest
        if own >= foreground:
            mistake[place] = DUPLICATE
        elif own >= background:
            mistake[place] = LOCALISATION
        elif other >= foreground:
            mistake[place], aim[place] = CLASSIFICATION, nearest_other
        elif other < background:
            mistake[place] = BACKGROUND
        else:
            mistake[place] = BOTH
