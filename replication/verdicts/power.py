"""Power of the t interval, minimum detectable gain, and the number of seeds needed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from replication.verdicts.intervals import Estimand, Floats, Side, Terms, interaction_variance, run_variance

MOST_SEEDS = 1000


def power(effect: Floats | float, variance: Floats | float, df: Floats | float, alpha: float) -> Floats:
    """Probability that the lower bound of the level 1 - ``alpha`` interval lies above the cut.

    ``effect`` is how far the true difference lies above it; noncentral t, normal where ``df`` is infinite.
    """
    df = np.asarray(df, dtype=np.float64)
    away = np.asarray(effect) / np.sqrt(variance)
    critical = stats.t.isf(alpha / 2, df)
    finite = np.where(np.isfinite(df), df, 1.0)
    chance = np.where(np.isfinite(df), stats.nct.sf(critical, finite, away), stats.norm.sf(critical - away))
    # Far away the noncentral t gives no number.
    return np.asarray(np.where(np.isnan(chance), away > critical, chance))


def detectable_effect(variance: float, df: float, alpha: float, wanted: float) -> float:
    """The smallest distance above the cut that is detected with probability ``wanted``."""
    if variance == 0:
        return 0.0
    # Where |t| is large, the noncentral t is its noncentrality plus noise: this bound is generous.
    most = (float(stats.t.isf(alpha / 2, df)) + 10) * 3
    away = optimize.brentq(lambda away: float(power(away, 1.0, df, alpha)) - wanted, 0.0, most)
    return float(away) * math.sqrt(variance)


@dataclass(frozen=True)
class Design:
    """How the variance of a comparison falls with k runs a side: V(k) = ``floor`` + max(``run``, ``interaction``) / k.

    ``floor`` is what no number of seeds removes, the images' part; ``run`` the sum of the run variances of both sides,
    ``interaction`` that of what images do to one run alone, which is part of the former and may be the better estimate.
    ``df`` are the degrees of freedom that each further seed brings.
    """

    floor: float
    run: float
    df: float
    interaction: float = 0.0

    def power(self, seeds: int, effect: float, alpha: float) -> float:
        """Power with that many runs a side."""
        seed = self.run / seeds
        variance = self.floor + max(self.run, self.interaction) / seeds
        if variance == 0:
            return float(effect > 0)
        df = self.df * (seeds - 1) * (variance / seed) ** 2 if seed > 0 else math.inf
        return float(power(effect, variance, df, alpha))


def design(terms: Terms, estimand: Estimand, row: Side, baseline: Side, pooled: float | None, variants: int) -> Design:
    """The design of a comparison that was made; ``pooled`` over ``variants`` replaces the two sides' run variances."""
    own = [float(run_variance(side.points)) if pooled is None else pooled for side in (row, baseline)]
    floor, both = 0.0, 0.0
    if estimand == "new images" and terms.image is not None and terms.interaction is not None:
        floor = max(0.0, float(terms.image - terms.interaction))
        sides = (side.replicates for side in (row, baseline))
        both = sum(float(interaction_variance(replicates)) for replicates in sides if replicates is not None)
    # Welch's: between one seed's worth, where one side alone varies, and two.
    welch = sum(own) ** 2 / sum(one**2 for one in own) if any(own) else 2.0
    return Design(floor, sum(own), welch if pooled is None else variants, both)


def paired_design(terms: Terms, estimand: Estimand, runs: int) -> Design:
    """The design of ``runs`` paired differences: all from their terms, since seeds are what repeats."""
    floor, both = 0.0, 0.0
    if estimand == "new images" and terms.image is not None and terms.interaction is not None:
        floor, both = max(0.0, float(terms.image - terms.interaction)), runs * float(terms.interaction)
    return Design(floor, runs * float(terms.seed), float(terms.seed_df) / (runs - 1), both)


def seeds_needed(plan: Design, effect: float, alpha: float, wanted: float, least: int) -> int | None:
    """Runs per variant that detect ``effect`` above the cut with probability ``wanted``; None where 1000 are too few.

    Never below ``least``, the number with which anything is judged at all.
    """
    if effect <= 0 or plan.power(MOST_SEEDS, effect, alpha) < wanted:
        return None
    low, high = least - 1, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if plan.power(middle, effect, alpha) >= wanted else (middle, high)
    return high
