"""Comparisons drawn from the model whose truth is known: many at once, one a leading index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from replication.verdicts.intervals import RunVariance, Side, Terms, run_variance, variance_terms

REPLICATES = 100


@dataclass(frozen=True)
class Regime:
    """Standard deviations in AP: of images (of the difference), of seeds, of seeds on just these images."""

    image: float
    seed: float
    both: float


GRID = {
    "seeds": Regime(0.0, 0.15, 0.10),
    "images": Regime(0.0, 0.05, 0.20),
    "wild seeds": Regime(0.0, 0.30, 0.10),
    "other images": Regime(0.20, 0.15, 0.15),
}
"""The regimes of the false-positive table, in its order."""


def draw_side(rng, regime: Regime, trials: int, runs: int, gain: float = 0.0, replicates: int = REPLICATES) -> Side:
    """One variant whose true value is ``gain``; half of the images' variance is its own."""

    def normal(scale, *shape):
        return rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)

    image = regime.image / np.sqrt(2)
    points = gain + normal(image, trials, 1) + normal(np.hypot(regime.seed, regime.both), trials, runs)
    if not replicates:
        return Side(points)
    drawn = normal(regime.both, trials, runs, replicates) + points[..., None]
    if image:
        drawn += normal(image, trials, 1, replicates)
    return Side(points, drawn)


def pooled_terms(row: Side, baseline: Side) -> Terms:
    """The terms with the run variances of the two sides pooled, as of two variants of one schedule."""
    df = row.runs + baseline.runs - 2
    squares = run_variance(row.points) * (row.runs - 1) + run_variance(baseline.points) * (baseline.runs - 1)
    return variance_terms(row, baseline, RunVariance(squares / df, df))
