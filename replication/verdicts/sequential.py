"""Levels of a group-sequential design: looks after planned numbers of runs, at most ``alpha`` over all of them.

The level is spent over the looks by a function of the share of runs that are there (Lan and DeMets 1983), so that the
numbers of runs may be any. What a look's level is follows from the joint normal distribution of the differences at all
looks, whose correlation is the square root of the ratio of their runs. The tests are t tests of few runs, for which
these levels are a little too high (5.0 to 7% instead of 5%): all are lowered by one factor until t tests, simulated
with and without a part of the variance that no run removes, stay at ``alpha`` over all looks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from scipy import optimize, stats

from replication.errors import ConfigError
from replication.verdicts.intervals import Floats

Spending = Literal["obrien-fleming", "pocock"]
NODES = 200
"""Points of the quadrature: levels are exact to eleven digits."""


TRIALS = 200_000
IMAGES = (0.0, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.7, 1.0)
"""Simulated standard deviations of the difference by other images, in those of one run."""


def look_levels(runs: Sequence[int], alpha: float, spending: Spending = "obrien-fleming") -> tuple[float, ...]:
    """Two-sided level of each look, at ``runs`` runs per arm; the last is final.

    ``obrien-fleming`` spends little early, ``pocock`` about the same at each look. Raises ConfigError for another
    function, or numbers of runs that do not rise from 2 or more.

    >>> look_levels([5], 0.05)
    (0.05,)
    >>> [round(level, 3) for level in look_levels([3, 5], 0.05)]
    [0.006, 0.04]
    """
    if spending not in get_args(Spending):
        raise ConfigError(f"spending {spending!r}: choose from {', '.join(get_args(Spending))}")
    if not runs or min(runs) < 2 or list(runs) != sorted(set(runs)):
        raise ConfigError(f"looks {list(runs)}: expected rising numbers of runs per arm, at least 2")
    if len(runs) == 1:
        return (alpha,)
    p = _simulated(runs)

    def excess(factor: float) -> float:
        """How far the simulated chance of any rejection is above ``alpha`` when the levels are for less of it."""
        levels = np.array(normal_levels(runs, factor * alpha, spending))
        return float((p <= levels).any(axis=-1).mean(axis=-1).max()) - alpha

    if excess(1.0) <= 0:
        return normal_levels(runs, alpha, spending)
    low, high = 0.0, 1.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (low, middle) if excess(middle) > 0 else (middle, high)
    return normal_levels(runs, low * alpha, spending)


def _simulated(runs: Sequence[int]) -> Floats:
    """The p values (images, trials, looks) of pooled t tests between arms without a difference, from one seed."""
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, TRIALS, runs[-1]))
    common = rng.normal(size=TRIALS)
    found = np.empty((len(IMAGES), TRIALS, len(runs)))
    for look, count in enumerate(runs):
        seed = (one[:, :count].var(axis=1, ddof=1) + other[:, :count].var(axis=1, ddof=1)) / count
        difference = one[:, :count].mean(axis=1) - other[:, :count].mean(axis=1)
        for place, image in enumerate(IMAGES):
            variance = seed + image**2
            t = np.abs(difference + image * common) / np.sqrt(variance)
            found[place, :, look] = 2 * stats.t.sf(t, (2 * count - 2) * (variance / seed) ** 2)
    return found


def normal_levels(runs: Sequence[int], alpha: float, spending: Spending) -> tuple[float, ...]:
    """The levels of tests whose variance is known."""
    shares = [count / runs[-1] for count in runs]
    spent = [_spent(share, alpha, spending) for share in shares[:-1]] + [alpha]
    levels: list[float] = []
    # Density of the sum at the last look, on the nodes inside its bounds; before any look, all mass is at 0.
    at, density, before, used = np.zeros(1), np.ones(1), 0.0, 0.0
    for share, total in zip(shares, spent, strict=True):
        level, bound = _level(at, density, before, share, total - used)
        levels.append(level)
        nodes, weights = np.polynomial.legendre.leggauss(NODES)
        inside = bound * math.sqrt(share) * nodes
        step = stats.norm.pdf(inside[:, None], at[None, :], math.sqrt(share - before))
        density = (step * density).sum(axis=1) * weights * bound * math.sqrt(share)
        at, before, used = inside, share, total
    return tuple(levels)


def _spent(share: float, alpha: float, spending: Spending) -> float:
    """The part of ``alpha`` that may be used up when ``share`` of the runs are there."""
    if spending == "pocock":
        return alpha * math.log(1 + (math.e - 1) * share)
    return float(4 * stats.norm.sf(stats.norm.isf(alpha / 4) / math.sqrt(share)))  # half of it on each side


def _level(at: Floats, density: Floats, before: float, share: float, budget: float) -> tuple[float, float]:
    """Level and bound of a look at which the chance of a first rejection is ``budget``."""
    scale = math.sqrt(share - before)

    def excess(bound: float) -> float:
        edge = bound * math.sqrt(share)
        beyond = stats.norm.sf((edge - at) / scale) + stats.norm.cdf((-edge - at) / scale)
        return float((beyond * density).sum()) - budget

    bound = float(optimize.brentq(excess, 0.0, 10.0, xtol=1e-13))
    return min(1.0, float(2 * stats.norm.sf(bound))), bound
