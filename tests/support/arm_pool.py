"""Pools of simulated runs on a large set of images, from which the arms of many small experiments are drawn.

A trial draws a test set of images and some runs. Both its AP and its bootstrap are the real evaluator's on the real
matches, through image weights; what is true of an arm is the mean over its pool on all images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from support.simulation import detector, population

from replication.evaluation.bootstrap import image_weights, point, weighted
from replication.evaluation.curves import POINTS
from replication.evaluation.matching import Matches, match
from replication.results.metrics import METRICS
from replication.verdicts.arms import KINDS, Arm, Arms, Resampling, RunNumbers

IMAGES, CLASSES = 1500, 3


@dataclass(frozen=True)
class Pool:
    """Matches of many runs of one detector, and their AP on all images."""

    matches: list[Matches]
    points: np.ndarray

    @property
    def truth(self) -> float:
        return float(self.points.mean())


def pool(truth, name: int, runs: int, skill: float, spread: float) -> Pool:
    """``spread`` is the standard deviation of the skill between seeds."""
    rng = np.random.default_rng([name, 5])
    skills = skill * np.exp(rng.normal(0, spread, runs))
    found = [
        match(truth, detector(truth, 1000 * name + seed, float(one), per_image=8, confused=0.03))
        for seed, one in enumerate(skills)
    ]
    return Pool(found, np.array([point(one, ("all",)).metric("AP")[0] for one in found]))


def superpopulation():
    return population(11, IMAGES, CLASSES, per_image=3.0, tail=0.5)


def trial(rng, pools: tuple[Pool, Pool], runs: int, images: int, replicates: int) -> Arms:
    """An experiment: a test set of ``images`` images, ``runs`` runs per arm; the same pool twice is A/A."""
    # With replacement, images as well as runs: draws from all images and all seeds, which a pool stands for.
    drawn = rng.integers(0, IMAGES, images)
    weights = np.zeros((1 + replicates, IMAGES), np.uint8)
    np.add.at(weights[0], drawn, 1)
    for row, counts in enumerate(image_weights(replicates, images, int(rng.integers(2**31)))):
        np.add.at(weights[1 + row], drawn, counts)
    chosen = [rng.integers(0, len(one.matches), runs) for one in pools]
    arms = []
    for name, one, own in zip("AB", pools, chosen, strict=True):
        samples = [weighted(one.matches[place], weights, threads=1) for place in own]
        arms.append(
            Arm(name, tuple(_run(f"{name}{place}", sample) for place, sample in zip(own, samples, strict=True)))
        )
    matches = pools[0].matches[0]
    label = np.repeat(np.arange(CLASSES), np.diff(matches.truth_starts))
    per_class = np.bincount(label, weights[0][matches.truth_image], minlength=CLASSES).astype(int)
    return Arms(
        arms=tuple(arms),
        resampling=Resampling(replicates=replicates),
        truth="simulated",
        truth_hash="",
        images=images,
        objects=int(per_class.sum()),
        class_names=matches.class_names,
        per_class=tuple(per_class.tolist()),
        warnings=(),
    )


def _run(name: str, sample) -> RunNumbers:
    ap = sample.metric("AP")
    classes = 100 * sample.precision["all"].mean(axis=1).T
    values = np.tile(ap, (len(METRICS), 1))
    return RunNumbers(
        name=name,
        sha256=name,
        seed=None,
        columns_hash=name,
        points=values[:, 0],
        replicates=values[:, 1:],
        supported=values[:, 0],
        supported_replicates=values[:, 1:],
        class_points=classes[:, 0],
        class_replicates=classes[:, 1:],
        mistake_counts=np.zeros(len(KINDS)),
        mistake_gains=np.zeros(len(KINDS)),
        curves=np.zeros((2, len(POINTS))),
        seen=np.ones(IMAGES, np.bool_),
        warnings=(),
    )
