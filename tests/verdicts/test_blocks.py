"""Seeds as blocks: the estimates by hand, and how often the rule is wrong in worlds without a difference."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from replication.verdicts.blocks import POOLED_DF, blocked_terms, pool_blocks
from replication.verdicts.holm import adjusted
from replication.verdicts.intervals import Side, p_value, t_interval

PAIRS = {
    "giou": [(1, 0), (2, 0), (2, 1), (4, 3), (5, 3), (5, 4)],
    "fsaf": [(7, 6), (8, 6), (9, 6), (10, 6), (9, 7), (10, 8)],
    "libra": [(12, 11), (13, 11), (14, 11), (15, 11), (13, 12), (14, 13), (16, 17)],
}
"""Row and baseline of a paper's primary claims, among 18 variants of one schedule."""

VARIANTS = 18
REGIMES = ("equal", "unequal", "odd row", "odd baseline", "skewed")
ODD = {"giou": (1, 0), "fsaf": (9, 6), "libra": (13, 11)}
"""A row and a baseline of each paper that vary three times as much as all others."""


def spreads(regime: str, paper: str, trials: int, rng) -> np.ndarray:
    """Standard deviations (trials, variants) of what remains between runs."""
    if regime == "unequal":
        return np.exp(rng.uniform(np.log(0.3), np.log(2.3), (trials, VARIANTS)))
    sd = np.ones((trials, VARIANTS))
    if regime.startswith("odd"):
        sd[:, ODD[paper][regime.endswith("baseline")]] = 3
    return sd


def runs_of(regime: str, paper: str, seeds: int, correlation: float, trials: int, rng) -> np.ndarray:
    """Runs (trials, variants, seeds) whose true values are all 0; a part is common to the runs of one seed."""
    shape = trials, VARIANTS, seeds
    own = rng.exponential(size=shape) - 1 if regime == "skewed" else rng.normal(size=shape)
    common = np.sqrt(correlation / (1 - correlation)) * rng.normal(size=(trials, 1, seeds))
    return own * spreads(regime, paper, trials, rng)[..., None] + common


def rates(regime: str, paper: str, seeds: int, correlation: float, trials: int, rng) -> tuple[float, float]:
    """Percent of families with any false gain or loss after Holm, and the least coverage of a claim's 95% interval."""
    missed, wrong = np.zeros(len(PAIRS[paper])), 0
    for runs in runs_of(regime, paper, seeds, correlation, trials, rng):
        blocks = pool_blocks({str(place): own for place, own in enumerate(runs)})
        p = []
        for place, (row, baseline) in enumerate(PAIRS[paper]):
            terms = blocked_terms(Side(runs[row]), Side(runs[baseline]), blocks.difference(str(row), str(baseline)))
            p.append(p_value(terms, "this benchmark", 0.0))
            missed[place] += p[-1] <= 0.05
        wrong += bool((adjusted(np.array(p)) <= 0.05).any())
    return 100 * wrong / trials, 100 * (1 - missed.max() / trials)


def margin(percent: float, trials: int) -> float:
    """Three standard errors of a rate in percent."""
    return 300 * float(np.sqrt(percent / 100 * (1 - percent / 100) / trials))


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize(("seeds", "correlation"), [(3, 0.6), (5, 0.0)])
def test_a_family_without_differences_has_a_false_verdict_in_at_most_5_percent(regime, seeds, correlation, rng):
    trials = 300
    family, coverage = rates(regime, "giou", seeds, correlation, trials, rng)
    assert family <= 5 + margin(5, trials)
    assert coverage >= 90 - margin(10, trials)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_the_rates_of_the_documentation(regime, seeds, correlation, rng):
    trials = 4000
    for paper in PAIRS:
        family, coverage = rates(regime, paper, seeds, correlation, trials, rng)
        print(f"{regime}, {seeds} seeds, correlation {correlation}, {paper}: {family:.1f}%, coverage {coverage:.1f}%")
        assert family <= 5 + margin(5, trials)
        assert coverage >= 91 - margin(9, trials)


def test_a_pool_alone_would_break_the_promise(rng):
    """Without what one's own variance adds, claims on a variant that varies more are wrong far more often."""
    trials, wrong = 300, 0
    for runs in runs_of("odd baseline", "giou", 3, 0.0, trials, rng):
        pooled = pool_blocks({str(place): own for place, own in enumerate(runs)}).pooled
        p = [
            2 * stats.t.sf(abs(runs[row].mean() - runs[base].mean()) / np.sqrt(2 * pooled.value / 3), pooled.df)
            for row, base in PAIRS["giou"]
        ]
        wrong += bool((adjusted(np.array(p)) <= 0.05).any())
    assert 100 * wrong / trials > 5 + 2 * margin(5, trials)


def test_common_seeds_cost_nothing(rng):
    """What all runs of a seed share changes no term; independent runs would be judged by it."""
    runs = {name: rng.normal(size=4) for name in "abcd"}
    shifted = {name: own + np.array([3.0, -8.0, 5.0, 0.5]) for name, own in runs.items()}
    before, after = pool_blocks(runs), pool_blocks(shifted)
    assert float(after.pooled.value) == pytest.approx(float(before.pooled.value))
    assert after.own == pytest.approx(dict(before.own))
    assert after.correlation > 0.9 > before.correlation


def test_two_variants_are_tested_by_their_paired_differences(rng):
    a, b = rng.normal(size=(2, 5))
    blocks = pool_blocks({"a": a, "b": b})
    terms = blocked_terms(Side(a), Side(b), blocks.difference("a", "b"))
    theirs = stats.ttest_rel(a, b)
    assert float(p_value(terms, "this benchmark", 0.0)) == pytest.approx(theirs.pvalue)
    interval, expected = t_interval(terms, "this benchmark", 0.05), theirs.confidence_interval(0.95)
    assert (float(interval.low), float(interval.high)) == pytest.approx((expected.low, expected.high))


def test_a_variant_s_own_variance_is_grubbs_s(rng):
    """From variances of differences: those with v, less half of those between the others."""
    runs = {name: rng.normal(size=4) * scale for name, scale in zip("abcd", (1, 1, 1, 5), strict=True)}

    def between(one, other):
        return (runs[one] - runs[other]).var(ddof=1)

    others = np.mean([between("a", "b"), between("a", "c"), between("b", "c")]) / 2
    expected = np.mean([between("d", other) for other in "abc"]) - others
    blocks = pool_blocks(runs)
    assert blocks.own["d"] == pytest.approx(expected)
    pooled = float(blocks.pooled.value)
    assert sum(blocks.own.values()) == pytest.approx(4 * pooled)
    found = blocks.difference("d", "a")
    extra = [expected - pooled, max(0.0, blocks.own["a"] - pooled)]
    assert float(found.value) == pytest.approx(2 * pooled + sum(extra))
    most = min(9, POOLED_DF * 3)
    assert found.df == pytest.approx(float(found.value) ** 2 / (4 * pooled**2 / most + sum(x**2 for x in extra) / 3))


@pytest.mark.parametrize(
    "groups", [{"a": [1.0, 2.0]}, {"a": [1.0], "b": [2.0]}, {"a": [1.0, 2.0], "b": [1.0, 2.0, 3.0]}]
)
def test_blocks_need_two_variants_of_the_same_seeds(groups):
    with pytest.raises(ValueError, match="same seeds"):
        pool_blocks({name: np.array(own) for name, own in groups.items()})


def test_a_paired_difference_needs_the_same_runs():
    blocks = pool_blocks({"a": np.array([1.0, 2.0]), "b": np.array([1.0, 3.0])})
    with pytest.raises(ValueError, match="2 and 3 runs"):
        blocked_terms(Side(np.zeros(2)), Side(np.zeros(3)), blocks.difference("a", "b"))
