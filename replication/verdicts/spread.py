"""The spread of runs: pooled over variants, checked for being equal, and what it says of a published number."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from replication.verdicts.intervals import Floats, RunVariance

MIN_POOLED_DF = 4
"""Fewer degrees of freedom are no better than two variants of three runs by themselves."""


@dataclass(frozen=True)
class Spread:
    """Run variance of one metric pooled over variants. ``p_equal`` is of Bartlett's test, None where it is undefined.

    It stands for the ``members``, variants of one schedule; ``variants`` of them have the runs that it is made of.
    ``left_out`` are variants whose runs are no sample of it: copies of one run, or of a detector that learned nothing.
    Bartlett's because the t intervals assume normal runs anyway; Levene's and Brown-Forsythe's almost never reject
    with three runs per variant.
    """

    pooled: RunVariance
    p_equal: float | None
    variants: int
    metric: str = ""
    members: frozenset[str] = frozenset()
    left_out: frozenset[str] = frozenset()

    def equal(self, alpha: float) -> bool:
        """Whether the test leaves equal spread standing, so that pooling is allowed."""
        return self.p_equal is None or self.p_equal > alpha

    def covers(self, sides: Iterable[Floats], alpha: float) -> bool:
        """Whether some members' own runs (k,) do not vary more than those of all others, by an F test.

        Bartlett's test over many variants hardly sees the one that varies more, and it is that one's claims that the
        common spread would make too sure.
        """
        own = pool(sides)
        if own is None:
            return True
        df = self.pooled.df - own.pooled.df
        rest = float(self.pooled.value) * self.pooled.df - float(own.pooled.value) * own.pooled.df
        if df < 1 or rest <= 0:
            return True
        return bool(float(own.pooled.value) * df / rest <= stats.f.isf(alpha, own.pooled.df, df))


def pool(groups: Iterable[Floats]) -> Spread | None:
    """The spread over the runs (k,) of each variant; None where no two runs of one variant exist.

    Variants of one run have no variance and are left out.
    """
    repeated = [group for group in groups if len(group) > 1]
    if not repeated:
        return None
    df = sum(len(group) - 1 for group in repeated)
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in repeated)
    return Spread(RunVariance(np.asarray(squares / df), df), _equal(repeated), len(repeated))


def _equal(groups: list[Floats]) -> float | None:
    """The p of Bartlett's test. A variant whose runs are all alike makes it undefined unless all are."""
    if len(groups) < 2:
        return None
    constant = [bool(np.ptp(group) == 0) for group in groups]
    if any(constant):
        return None if all(constant) else 0.0
    p = float(stats.bartlett(*groups).pvalue)
    # Of variances that agree but for rounding the statistic may be below 0, where SciPy has no p.
    return 1.0 if math.isnan(p) else p


@dataclass(frozen=True)
class Prediction:
    """Where one further run would fall, widened by the rounding of the published number."""

    low: float
    high: float
    df: float

    def holds(self, published: float) -> bool:
        """Whether the published number lies inside."""
        return self.low <= published <= self.high


def prediction(points: Floats, variance: RunVariance, rounding: float, alpha: float) -> Prediction:
    """Mean +- (t s sqrt(1 + 1/k) + rounding) over own runs ``points`` (k,).

    The published number is taken as one run of the same kind; ``rounding`` is half its last printed digit.
    """
    half = float(stats.t.isf(alpha / 2, variance.df) * np.sqrt(variance.value * (1 + 1 / len(points)))) + rounding
    return Prediction(float(points.mean()) - half, float(points.mean()) + half, variance.df)
