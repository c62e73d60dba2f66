"""Seeds as blocks: runs of one seed share their data order, so what a seed does to all variants leaves a difference.

Model of a metric X of variant v and seed s over the variants of one schedule:

    X_vs = mu_v + B_s + e_vs

B_s is common to the runs of seed s and cancels in a paired difference; e_vs is what remains between runs. The variance
of e is pooled over all variants of the schedule from the residuals of this two-way layout. A claim whose own paired
differences vary more than that keeps its own variance: a pool of calmer variants would make it too sure.

Family-wise rates of a wrong firm answer, in percent (simulated, 18 variants, claims of three papers under Holm's
procedure, no image term; the image term makes every rate smaller):

    runs that are ...                          independent, checked pool    blocks, 3 seeds    blocks, 5 seeds
    of equal spread                                       2.8 to 4.2             3.0 to 3.2         3.0 to 3.3
    of equal spread, correlated 0.6                       0.8 to 0.9             3.0 to 3.3         2.9 to 3.3
    of SD 0.3 to 2.3, log-uniform                         6.6 to 7.0             4.6 to 5.6         3.9 to 4.7
    skewed (exponential)                                  3.6 to 4.3             2.0 to 2.1         1.7 to 1.8
    failed in 10% of cases, by five SDs                   3.0 to 3.0             2.5 to 2.6         2.1 to 2.6
    of a variant with three times the spread              8.2 to 9.9             9.4 to 12.2        6.9 to 7.9

The last line is the family of that variant; no procedure with three runs per variant was found that holds 5% there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from replication.verdicts.intervals import RunVariance, Side, Terms, image_variance


@dataclass(frozen=True)
class Blocked:
    """Residual variance of one run, pooled over ``variants`` that share seeds, with its degrees of freedom.

    ``correlation`` is the share of the variance between runs that runs of one seed have in common, from -1 to 1.
    """

    residual: RunVariance
    variants: int
    correlation: float


def pool_blocks(groups: Mapping[str, Mapping[int, float]]) -> Blocked | None:
    """The residual variance of variants -> seed -> metric by least squares; cells may be missing.

    None where fewer than two variants share at least two seeds, which leaves no residual.
    """
    cells = [(variant, seed, value) for variant, runs in groups.items() for seed, value in runs.items()]
    variants, seeds = sorted(groups), sorted({seed for _, seed, _ in cells})
    design = np.zeros((len(cells), len(variants) + len(seeds)))
    for row, (variant, seed, _) in enumerate(cells):
        design[row, variants.index(variant)] = design[row, len(variants) + seeds.index(seed)] = 1.0
    values = np.array([value for _, _, value in cells], dtype=np.float64)
    solution, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    df = len(cells) - int(rank)
    if len(variants) < 2 or df < 1:
        return None
    residual = float(((values - design @ solution) ** 2).sum()) / df
    within = [np.array(list(runs.values())) for runs in groups.values() if len(runs) > 1]
    total = sum(float(((runs - runs.mean()) ** 2).sum()) for runs in within) / sum(len(runs) - 1 for runs in within)
    return Blocked(RunVariance(np.asarray(residual), df), len(variants), 1 - residual / total if total > 0 else 0.0)


def blocked_terms(row: Side, baseline: Side, pooled: RunVariance) -> Terms:
    """The terms of row minus baseline, whose runs (..., k) are in the same order of seeds, k at least 2.

    V_seed is the larger of the pooled residual's 2 s^2 / k and of the variance of the paired differences over k. What
    the own variance exceeds the pool by has k - 1 degrees of freedom; Satterthwaite's formula combines both.
    The interaction of seeds and images is that of the paired differences, too.
    """
    runs = row.runs
    if runs != baseline.runs or runs < 2:
        raise ValueError(f"{runs} and {baseline.runs} runs: a paired difference needs the same seeds, at least 2")
    common = np.asarray(2 * pooled.value / runs)
    own = (row.points - baseline.points).var(axis=-1, ddof=1) / runs
    seed = np.maximum(common, own)
    with np.errstate(divide="ignore", invalid="ignore"):
        spent = common**2 / pooled.df + (seed - common) ** 2 / (runs - 1)
        df = np.where(seed > 0, seed**2 / spent, pooled.df)
    difference = row.mean - baseline.mean
    if row.replicates is None or baseline.replicates is None:
        return Terms(difference, seed, df, None, None)
    paired = row.replicates - baseline.replicates
    centred = paired - paired.mean(axis=-1, keepdims=True)
    interaction = np.asarray(centred.var(axis=-2, ddof=1).mean(axis=-1)) / runs
    return Terms(difference, seed, df, image_variance(row, baseline), interaction)
