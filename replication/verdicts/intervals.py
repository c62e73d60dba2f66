"""The difference of two variants over their runs: three variance terms, t intervals for both estimands, Welch.

Model of a metric X of variant v, seed s, on the images of a test set:

    X = mu_v + I_v + S_vs + E_vs

I is what this set of images does for the variant, S what the seed does, E what the seed does on just these images. The
image bootstrap sees I and E, repeated runs see S and E. All functions work on arrays with any leading dimensions (...),
one entry a comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Estimand = Literal["new images", "this benchmark"]
ESTIMANDS: tuple[Estimand, ...] = ("new images", "this benchmark")
"""``this benchmark``: the same images, other seeds. ``new images``: other images of the same kind, too."""


@dataclass(frozen=True)
class Side:
    """One variant: ``points`` (..., k), one value per run; ``replicates`` (..., k, R), its image bootstrap.

    Replicate r of every run of a comparison is of the same draw of images.
    """

    points: Floats
    replicates: Floats | None = None

    @property
    def runs(self) -> int:
        """Number of runs k."""
        return int(self.points.shape[-1])

    @property
    def mean(self) -> Floats:
        """Mean over the runs (...)."""
        return np.asarray(self.points.mean(axis=-1))


@dataclass(frozen=True)
class RunVariance:
    """Variance of a metric between runs of one variant (...), with its degrees of freedom."""

    value: Floats
    df: float

    def scaled(self, points: float) -> RunVariance:
        """The same in a unit that is ``points`` times as large."""
        return RunVariance(self.value / points**2, self.df)


@dataclass(frozen=True)
class Terms:
    """What an interval is made of, each (...).

    ``seed`` is V_seed, the variance of the difference by other runs; ``image`` V_img, by other images; ``interaction``
    the part that both contain. The last two are None without replicates.
    """

    difference: Floats
    seed: Floats
    seed_df: Floats | float
    image: Floats | None
    interaction: Floats | None

    @property
    def estimands(self) -> tuple[Estimand, ...]:
        """Those that can be answered: new images need replicates."""
        return ESTIMANDS if self.interaction is not None else ("this benchmark",)

    def variance(self, estimand: Estimand) -> Floats:
        """V of the difference under an estimand."""
        if estimand == "this benchmark":
            return self.seed
        if self.image is None or self.interaction is None:
            raise ValueError("the estimand 'new images' needs image replicates")
        return np.maximum(np.maximum(self.image, self.seed), self.image + self.seed - self.interaction)

    def df(self, estimand: Estimand) -> Floats:
        """Degrees of freedom by Satterthwaite: only V_seed is estimated from few numbers. Infinite where it is 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(self.seed > 0, self.variance(estimand) / self.seed, np.inf)
        return self.seed_df * ratio**2


@dataclass(frozen=True)
class Interval:
    """Bounds (...) of a difference at level 1 - ``alpha``."""

    low: Floats
    high: Floats
    df: Floats


def variance_terms(row: Side, baseline: Side, pooled: RunVariance | None = None) -> Terms:
    """The terms of row minus baseline, at least two runs each; ``pooled`` replaces the sides' own run variances.

    Without it each side keeps its own, with Welch's degrees of freedom: for sides that may not be pooled.
    """
    seed: Floats
    df: Floats | float
    if pooled is None:
        seed, df = _own_variances(row, baseline)
    else:
        seed, df = pooled.value * (1 / row.runs + 1 / baseline.runs), pooled.df
    difference = row.mean - baseline.mean
    if row.replicates is None or baseline.replicates is None:
        return Terms(difference, seed, df, None, None)
    parts = [
        interaction_variance(side.replicates) / side.runs for side in (row, baseline) if side.replicates is not None
    ]
    return Terms(difference, seed, df, image_variance(row, baseline), parts[0] + parts[1])


def run_variance(points: Floats) -> Floats:
    """Variance over the runs (..., k) of one variant, k - 1 in the denominator; k must be at least 2."""
    if points.shape[-1] < 2:
        raise ValueError(f"{points.shape[-1]} run: a variance over runs needs at least 2")
    # Of equal numbers it is 0, and not what rounding their mean leaves.
    return np.where(np.ptp(points, axis=-1) == 0, 0.0, points.var(axis=-1, ddof=1))


def _own_variances(row: Side, baseline: Side) -> tuple[Floats, Floats]:
    """V_seed of sides that each keep their own run variance, and its degrees of freedom by Welch and Satterthwaite."""
    parts = [run_variance(side.points) / side.runs for side in (row, baseline)]
    variance = parts[0] + parts[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        spent = parts[0] ** 2 / (row.runs - 1) + parts[1] ** 2 / (baseline.runs - 1)
        df = np.where(variance > 0, variance**2 / spent, row.runs + baseline.runs - 2)
    return np.asarray(variance), np.asarray(df)


def interaction_variance(replicates: Floats) -> Floats:
    """V_int (...): variance over runs of the centred replicates (..., k, R), averaged over the replicates.

    It is what images do to one run and not to another of the same variant. Near the variance between runs, that one is
    image noise; far below it, seeds matter by themselves.
    """
    centred = replicates - replicates.mean(axis=-1, keepdims=True)
    return np.asarray(centred.var(axis=-2, ddof=1).mean(axis=-1))


def t_interval(terms: Terms, estimand: Estimand, alpha: Floats | float) -> Interval:
    """Difference +- t sqrt(V)."""
    df = terms.df(estimand)
    half = stats.t.isf(np.asarray(alpha) / 2, df) * np.sqrt(terms.variance(estimand))
    return Interval(terms.difference - half, terms.difference + half, df)


def p_value(terms: Terms, estimand: Estimand, null: float) -> Floats:
    """Two-sided p of the hypothesis that the true difference is ``null``; 1 - p is the level whose bound is there."""
    return np.asarray(np.minimum(1.0, 2 * np.minimum(*one_sided(terms, estimand, null))))


def one_sided(terms: Terms, estimand: Estimand, null: float) -> tuple[Floats, Floats]:
    """The p of "at most ``null``" and of "at least ``null``"."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (terms.difference - null) / np.sqrt(terms.variance(estimand))
    t = np.where(np.isnan(t), 0.0, t)  # no variance at all, and the difference is the null itself
    df = terms.df(estimand)
    return stats.t.sf(t, df), stats.t.cdf(t, df)


def welch_interval(row: Side, baseline: Side, alpha: float) -> Interval:
    """Welch's t interval over the runs alone: each side keeps its own variance. For "this benchmark"."""
    return t_interval(variance_terms(Side(row.points), Side(baseline.points)), "this benchmark", alpha)


def image_variance(row: Side, baseline: Side) -> Floats:
    """V_img (...): variance over replicates of the difference of the means over runs."""
    if row.replicates is None or baseline.replicates is None:
        raise ValueError("the variance by other images needs image replicates of both sides")
    return np.asarray((row.replicates.mean(axis=-2) - baseline.replicates.mean(axis=-2)).var(axis=-1, ddof=1))


def image_interval(row: Side, baseline: Side, alpha: float) -> Interval:
    """Difference +- z sqrt(V_img): what other images would do to these very runs. No statement about the method."""
    half = stats.norm.isf(alpha / 2) * np.sqrt(image_variance(row, baseline))
    difference = row.mean - baseline.mean
    return Interval(difference - half, difference + half, np.full_like(half, np.inf))
