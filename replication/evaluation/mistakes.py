"""What a detector does wrong: its false detections and missed objects by kind, and the AP that repairing each gains.

The kinds are those of TIDE (Bolya et al., ECCV 2020), with duplicates told first. ``fg`` is the matching's first
threshold and ``bg`` 0.1; overlaps are those of the criterion, with objects to find.

- duplicate: reaches fg with an object of its class, which a better-scored detection has taken;
- localisation: between bg and fg with an object of its class;
- classification: reaches fg with an object of another class;
- background: below bg with all objects;
- both: between bg and fg with an object of another class;
- missed: an object that no detection found, nor a localisation or classification mistake aims at.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from replication.evaluation.bootstrap import point
from replication.evaluation.matching import KINDS, Matches, found_columns, object_columns
from replication.formats.columns import Detections, Flags, GroundTruth, Ints

BACKGROUND = 0.1
FALSE = ("localisation", "classification", "both", "duplicate", "background")
CODES = {"duplicate": 1, "localisation": 2, "classification": 3, "background": 4, "both": 5}
"""What ``kernels.mistaken`` calls them; 0 is what is no mistake."""


def mistakes(truth: GroundTruth, detections: Detections, matches: Matches) -> dict[str, dict[str, float | int | None]]:
    """``count`` and ``gain`` of each kind: AP at the first threshold (0.5), on 0-100, with it repaired, less without.

    Repairing moves the best-scored mistake aimed at an object that is not found onto it (localisation), or into its
    class (classification), and drops the others; duplicates, background and both are dropped; missed objects are no
    longer asked for. Each is repaired alone, so gains do not add up. A gain is None where nothing is left to find.
    """
    scene = _Scene(truth, detections, matches)
    base = scene.precision(matches, scene.true, scene.false)
    result: dict[str, dict[str, float | int | None]] = {}
    for kind, mistaken in scene.kinds.items():
        moved = kind in ("localisation", "classification")
        repaired = scene.moved(mistaken, kind == "classification") if moved else scene.dropped(mistaken)
        result[kind] = {"count": int(mistaken.sum()), "gain": _gain(repaired, base)}
    without = scene.precision(matches, scene.true, scene.false, scene.missed)
    result["missed"] = {"count": int(scene.missed.sum()), "gain": _gain(without, base)}
    return result


def _gain(repaired: float, base: float) -> float | None:
    return None if np.isnan(repaired) or np.isnan(base) else repaired - base


class _Scene:
    """One run's detections in the order of the matches, each false one with its kind and the object it aims at."""

    def __init__(self, truth: GroundTruth, detections: Detections, matches: Matches) -> None:
        self.truth, self.matches = truth, matches
        self.score = detections.scores[matches.detection]
        self.label: Ints = np.repeat(np.arange(len(matches.class_ids)), np.diff(matches.starts))
        self.true: Flags = matches.true[0] & 1 == 1
        self.false: Flags = ~self.true & (matches.ignored[0] & 1 == 0)
        mistake, self.aim = self._mistaken(detections)
        self.kinds: dict[str, Flags] = {kind: mistake == CODES[kind] for kind in FALSE}
        self.found = np.zeros(len(truth.labels), np.bool_)
        self.found[matches.found[self.true]] = True
        aimed = np.zeros_like(self.found)
        for kind in ("localisation", "classification"):
            aimed[self.aim[self.kinds[kind]]] = True
        self.missed: Flags = ~truth.ignored & ~self.found & ~aimed

    def _mistaken(self, detections: Detections) -> tuple[NDArray[np.uint8], Ints]:
        from replication.evaluation import kernels

        truth, matches = self.truth, self.matches
        by_image = np.argsort(truth.images, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(truth.images, minlength=len(truth.image_ids)))])
        found, objects = found_columns(detections, detections.box_areas), object_columns(truth)
        numbers = KINDS[matches.criterion], float(matches.thresholds[0]), BACKGROUND
        wrong = matches.detection, self.false, detections.labels
        mistake, aim = np.empty(len(matches.detection), np.uint8), np.empty(len(matches.detection), np.int64)
        kernels.mistaken(*numbers, *wrong, found, by_image, starts, truth.labels, objects, mistake, aim)
        return mistake, aim

    def dropped(self, mistaken: Flags) -> float:
        return self.precision(self.matches, self.true, self.false & ~mistaken)

    def moved(self, mistaken: Flags, into_class: bool) -> float:
        """The best mistake of each object not yet found made true, the others dropped."""
        rows = np.flatnonzero(mistaken)
        rows = rows[~self.found[self.aim[rows]]]
        rows = rows[np.argsort(-self.score[rows], kind="stable")]
        best = rows[np.unique(self.aim[rows], return_index=True)[1]]
        true, false = self.true.copy(), self.false & ~mistaken
        true[best] = True
        if not into_class:
            return self.precision(self.matches, true, false)
        order, starts = self._into_class(best)
        image, rank = self.matches.image[order], self.matches.rank[order]
        moved = replace(self.matches, starts=starts, image=image, rank=rank)
        return self.precision(moved, true[order], false[order])

    def _into_class(self, rows: Ints) -> tuple[Ints, Ints]:
        """All detections by class and falling score, ``rows`` in the classes of their aims, and where classes start.

        Of equal scores in a class, the first in the matches comes first.
        """
        old, new = self.label[rows], self.truth.labels[self.aim[rows]]
        by_class = np.lexsort((rows, -self.score[rows], new))
        rows, old, new = rows[by_class], old[by_class], new[by_class]
        others = np.delete(np.arange(len(self.label)), rows)
        classes = len(self.matches.class_ids)
        gone, come = (np.concatenate([[0], np.cumsum(np.bincount(one, minlength=classes))]) for one in (old, new))
        starts, falling = self.matches.starts - gone, -self.score[others]
        places = np.empty(len(rows), np.int64)
        for c in range(classes):
            mine, own = slice(come[c], come[c + 1]), falling[starts[c] : starts[c + 1]]
            first, last = (np.searchsorted(own, -self.score[rows[mine]], side) for side in ("left", "right"))
            places[mine] = starts[c] + np.where(old[mine] < c, first, last)
        return np.insert(others, places, rows), starts + come

    def precision(self, matches: Matches, true: Flags, false: Flags, unasked: Flags | None = None) -> float:
        """AP of detections, in the order of ``matches``, that are true, false, or neither and so left out."""
        if unasked is not None:
            objects = np.flatnonzero(~self.truth.ignored & ~unasked)
            labels = self.truth.labels[objects]
            counts = np.bincount(labels, minlength=len(matches.class_ids))
            images = self.truth.images[objects[np.argsort(labels, kind="stable")]].astype(np.int32)
            matches = replace(matches, truth_starts=np.concatenate([[0], np.cumsum(counts)]), truth_image=images)
        repaired = replace(
            matches,
            thresholds=matches.thresholds[:1],
            true=_row(true),
            ignored=_row(~(true | false)),
            truth_areas=np.ones(len(matches.truth_image), np.uint8),
        )
        return float(point(repaired, ("all",)).metric("AP")[0])


def _row(flags: Flags) -> NDArray[np.uint16]:
    return flags[None].astype(np.uint16)
