"""Which class a detector takes for which: its detections paired with the objects whatever the classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from replication.evaluation.matching import Matches
from replication.formats.columns import Detections, Flags, Floats, GroundTruth, Ints

OVERLAP = 0.5
"""Least IoU of a pair."""


@dataclass(frozen=True)
class Confusion:
    """``counts`` (C + 1, C + 1): rows are the objects' classes, columns the detections'; the last of either is the
    background, of false detections and of objects without a detection. Detections below ``score`` do not count.
    """

    score: float
    counts: Ints


def confusion(truth: GroundTruth, detections: Detections, matches: Matches) -> Confusion:
    """Pair the detections of at least ``best_score`` with objects: by falling score, each takes the object of the
    greatest IoU, at least 0.5, that is still free, whatever its class.

    A detection left over is the background's, unless it lies on an object that is not to be found: half of it on a
    crowd, or IoU of 0.5 with another.
    """
    score, classes = best_score(detections, matches), len(truth.class_ids)
    counts = np.zeros((classes + 1, classes + 1), np.int64)
    kept = np.flatnonzero(detections.scores >= score)
    kept = kept[np.lexsort((-detections.scores[kept], detections.images[kept]))]
    found, objects, none = _by_image(detections.images[kept]), _by_image(truth.images), np.empty(0, np.int64)
    for image in found.keys() | objects.keys():
        _add(counts, truth, detections, kept[found.get(image, none)], objects.get(image, none))
    return Confusion(score, counts)


def best_score(detections: Detections, matches: Matches) -> float:
    """The least score of the detections that together have the greatest F1 at the first threshold (0.5), over all
    classes together; 1 where there are none.
    """
    counted = matches.ignored[0] & 1 == 0
    scores, true = detections.scores[matches.detection][counted], (matches.true[0] & 1 == 1)[counted]
    if not len(scores):
        return 1.0
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(true[order])
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + len(matches.truth_image))
    last = np.append(scores[1:] < scores[:-1], True)  # detections of equal score count together
    return float(scores[np.argmax(np.where(last, f1, -1.0))])


def _by_image(images: Ints) -> dict[int, Ints]:
    """Of each image that occurs, where; in the order in which they stand."""
    order = np.argsort(images, kind="stable")
    names, starts = np.unique(images[order], return_index=True)
    return dict(zip(names.tolist(), np.split(order, starts[1:]), strict=True)) if len(order) else {}


def _add(counts: Ints, truth: GroundTruth, detections: Detections, rows: Ints, columns: Ints) -> None:
    """Count one image: ``rows`` of the detections by falling score, ``columns`` of the objects."""
    wanted, other = columns[~truth.ignored[columns]], columns[truth.ignored[columns]]
    overlap = _overlaps(detections.boxes[rows], truth.boxes[wanted])
    excused = _excused(truth, detections, rows, other)
    free = np.ones(len(wanted), np.bool_)
    for place, row in enumerate(rows.tolist()):
        reached = np.where(free, overlap[place], -1.0)
        best = int(np.argmax(reached)) if len(wanted) else -1
        if best >= 0 and reached[best] >= OVERLAP:
            free[best] = False
            counts[truth.labels[wanted[best]], detections.labels[row]] += 1
        elif not excused[place]:
            counts[-1, detections.labels[row]] += 1
    counts[:-1, -1] += np.bincount(truth.labels[wanted[free]], minlength=len(counts) - 1)


def _excused(truth: GroundTruth, detections: Detections, rows: Ints, other: Ints) -> Flags:
    """Which detections (D,) lie on objects that are not to be found."""
    boxes = detections.boxes[rows]
    crowds = other[truth.crowds[other]]
    on_crowd = _overlaps(boxes, truth.boxes[crowds], of_first=True) >= OVERLAP
    on_other = _overlaps(boxes, truth.boxes[other]) >= OVERLAP
    return np.asarray(np.concatenate([on_crowd, on_other], axis=1).any(axis=1), np.bool_)


def _overlaps(first: Floats, second: Floats, of_first: bool = False) -> Floats:
    """IoU (D, O) of XYXY boxes (D, 4) and (O, 4), or the share of each first box that lies on the second."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.prod(np.maximum(high - low, 0.0), axis=2)
    areas = [np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0), axis=1) for boxes in (first, second)]
    whole = areas[0][:, None] + (0.0 if of_first else areas[1][None, :] - common)
    shares: Floats = common / np.maximum(whole, np.finfo(np.float64).tiny)
    return shares
