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
from replication.formats.columns import Detections, Flags, Floats, GroundTruth, Ints

BACKGROUND = 0.1
FALSE = ("localisation", "classification", "both", "duplicate", "background")


def mistakes(truth: GroundTruth, detections: Detections, matches: Matches) -> dict[str, dict[str, float | int | None]]:
    """``count`` and ``gain`` of each kind: AP at the first threshold (0.5), on 0-100, with it repaired, less without.

    Repairing moves the best-scored mistake aimed at an object that is not found onto it (localisation), or into its
    class (classification), and drops the others; duplicates, background and both are dropped; missed objects are no
    longer asked for. Each is repaired alone, so gains do not add up. A gain is None where nothing is left to find.
    """
    scene = _Scene(truth, detections, matches)
    base = scene.precision(scene.label, scene.true, scene.false)
    result: dict[str, dict[str, float | int | None]] = {}
    for kind, mistaken in scene.kinds.items():
        moved = kind in ("localisation", "classification")
        repaired = scene.moved(mistaken, kind == "classification") if moved else scene.dropped(mistaken)
        result[kind] = {"count": int(mistaken.sum()), "gain": _gain(repaired, base)}
    without = scene.precision(scene.label, scene.true, scene.false, scene.missed)
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
        overlap, aims = self._nearest(detections)
        self.kinds, self.aim = self._classified(overlap, aims)
        self.found = np.zeros(len(truth.labels), np.bool_)
        self.found[matches.found[self.true]] = True
        aimed = np.zeros_like(self.found)
        for kind in ("localisation", "classification"):
            aimed[self.aim[self.kinds[kind]]] = True
        self.missed: Flags = ~truth.ignored & ~self.found & ~aimed

    def _nearest(self, detections: Detections) -> tuple[Floats, Ints]:
        from replication.evaluation import kernels

        truth, matches = self.truth, self.matches
        by_image = np.argsort(truth.images, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(truth.images, minlength=len(truth.image_ids)))])
        found, objects = found_columns(detections, detections.box_areas), object_columns(truth)
        kind = KINDS[matches.criterion]
        return kernels.nearest(kind, matches.detection, self.label, found, by_image, starts, truth.labels, objects)

    def _classified(self, overlap: Floats, aims: Ints) -> tuple[dict[str, Flags], Ints]:
        foreground = self.matches.thresholds[0]
        own, other = overlap
        tests = {
            "duplicate": own >= foreground,
            "localisation": own >= BACKGROUND,
            "classification": other >= foreground,
            "background": np.maximum(own, other) < BACKGROUND,
            "both": np.ones(len(own), np.bool_),
        }
        left, kinds = self.false.copy(), {}
        for kind, test in tests.items():
            kinds[kind] = left & test
            left &= ~test
        return {kind: kinds[kind] for kind in FALSE}, np.where(kinds["classification"], aims[1], aims[0])

    def dropped(self, mistaken: Flags) -> float:
        return self.precision(self.label, self.true, self.false & ~mistaken)

    def moved(self, mistaken: Flags, into_class: bool) -> float:
        """The best mistake of each object not yet found made true, the others dropped."""
        rows = np.flatnonzero(mistaken & ~self.found[self.aim])
        rows = rows[np.argsort(-self.score[rows], kind="stable")]
        best = rows[np.unique(self.aim[rows], return_index=True)[1]]
        true, label = self.true.copy(), self.label
        true[best] = True
        if into_class:
            label = label.copy()
            label[best] = self.truth.labels[self.aim[best]]
        return self.precision(label, true, self.false & ~mistaken)

    def precision(self, label: Ints, true: Flags, false: Flags, unasked: Flags | None = None) -> float:
        """AP of detections that are true, false, or neither and so left out."""
        kept = np.flatnonzero(true | false)
        if label is not self.label:  # else they are in order
            kept = kept[np.lexsort((-self.score[kept], label[kept]))]
        wanted = ~self.truth.ignored if unasked is None else ~self.truth.ignored & ~unasked
        objects = np.flatnonzero(wanted)
        objects = objects[np.argsort(self.truth.labels[objects], kind="stable")]
        repaired = replace(
            self.matches,
            thresholds=self.matches.thresholds[:1],
            starts=self._starts(label[kept]),
            image=self.matches.image[kept],
            rank=self.matches.rank[kept],
            true=_row(true[kept]),
            ignored=np.zeros((1, len(kept)), np.uint16),
            truth_starts=self._starts(self.truth.labels[objects]),
            truth_image=self.truth.images[objects].astype(np.int32),
            truth_areas=np.ones(len(objects), np.uint8),
        )
        return float(point(repaired, ("all",)).metric("AP")[0])

    def _starts(self, label: Ints) -> Ints:
        return np.concatenate([[0], np.cumsum(np.bincount(label, minlength=len(self.matches.class_ids)))])


def _row(flags: Flags) -> NDArray[np.uint16]:
    return flags[None].astype(np.uint16)
