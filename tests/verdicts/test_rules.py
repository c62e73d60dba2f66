"""From intervals to words at and around every boundary; Holm's procedure by hand; the pooled spread and predictions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from replication.verdicts.holm import adjusted, levels
from replication.verdicts.intervals import Interval, RunVariance
from replication.verdicts.rules import (
    direction_qualifiers,
    judge_direction,
    judge_size,
    size_qualifiers,
)
from replication.verdicts.spread import pool, prediction

TINY = 1e-9


def between(low: float, high: float) -> Interval:
    return Interval(np.asarray(low), np.asarray(high), np.asarray(4.0))


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (1.0, 3.0, "reproduced"),
        (1.0 - TINY, 3.0, "inconclusive"),
        (-1.0, 1.0, "not reproduced"),
        (-1.0, 1.0 + TINY, "inconclusive"),
        (-5.0, -2.0, "not reproduced"),
        (-5.0, 5.0, "inconclusive"),
    ],
)
def test_size_against_the_cut_of_one(low, high, word):
    assert judge_size(between(low, high), 1.0) == word


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (TINY, 3.0, "gain"),
        (TINY, 0.1, "gain"),
        (0.0, 3.0, "inconclusive"),
        (-3.0, -TINY, "loss"),
        (-3.0, 0.0, "no gain of practical size"),
        (-0.1, 0.5 - TINY, "no gain of practical size"),
        (-0.1, 0.5, "inconclusive"),
        (0.0, 0.4, "no gain of practical size"),
    ],
)
def test_direction_with_a_practical_size_of_a_half(low, high, word):
    assert judge_direction(between(low, high), between(low, high), 0.5) == word


def test_each_hypothesis_has_the_interval_of_its_own_family():
    assert judge_direction(between(0.1, 0.4), between(-1.0, 1.0), 0.5) == "gain"
    assert judge_direction(between(-0.1, 0.6), between(0.0, 0.4), 0.5) == "no gain of practical size"
    assert judge_direction(between(-0.1, 0.4), between(-0.2, 0.6), 0.5) == "inconclusive"
    assert direction_qualifiers(between(0.1, 0.4), between(0.0, 0.6), between(0.1, 0.4), 0.5) == []
    assert size_qualifiers(between(0.1, 0.9), between(-0.1, 1.1), between(0.1, 0.9), 2.0, 1.0) == []


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (1.5, 2.5, ["size agrees"]),
        (2.1, 2.5, []),
        (0.1, 0.9, ["a gain, but less than half the claimed one"]),
        (0.1, 1.0, ["a gain, but less than half the claimed one"]),
        (0.0, 0.9, []),
        (-2.0, -0.1, ["contradicted"]),
        (-2.0, 0.0, []),
        (-2.0, 2.0, ["size agrees"]),
    ],
)
def test_qualifiers_of_a_claim_of_two(low, high, words):
    interval = between(low, high)
    assert size_qualifiers(interval, interval, interval, 2.0, 1.0) == words


BEFORE_HOLM = "only before Holm correction"


def test_a_verdict_that_only_the_family_takes_away_says_so():
    wide = between(-0.1, 2.1)
    assert size_qualifiers(between(0.9, 2.1), wide, between(1.1, 1.9), 2.0, 1.0) == [
        "significant only before Holm correction"
    ]
    assert direction_qualifiers(between(-0.1, 2.0), wide, between(0.1, 1.8), 0.5) == [
        "significant only before Holm correction"
    ]
    loss = between(-2.0, -0.1)
    assert direction_qualifiers(between(-2.1, 0.1), between(-2.1, 0.1), loss, 0.5) == [
        "loss only before Holm correction"
    ]
    firm = between(0.1, 0.4)
    assert direction_qualifiers(firm, firm, between(0.12, 0.38), 0.5) == ["below practical size"]


def test_holm_by_hand():
    # Holm 1979: 4 x 0.005, 3 x 0.01, then 2 x 0.03 and 1 x 0.04 which must not fall below it.
    p = np.array([0.01, 0.04, 0.03, 0.005])
    assert adjusted(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert levels(p, 0.05) == pytest.approx([0.05 / 3, 0.05 / 2, 0.05 / 2, 0.05 / 4])


def test_holm_when_all_or_none_stand_and_for_one():
    assert levels(np.array([0.001, 0.002, 0.003]), 0.05) == pytest.approx([0.05 / 3, 0.05 / 2, 0.05])
    assert levels(np.array([0.5, 0.4, 0.9]), 0.05) == pytest.approx([0.05 / 3] * 3)
    assert adjusted(np.array([0.5, 0.4, 0.9])) == pytest.approx([1.0, 1.0, 1.0])
    assert adjusted(np.array([0.02])) == pytest.approx([0.02])


def test_the_pooled_spread_by_hand():
    groups = [np.array([1.0, 3.0]), np.array([2.0, 4.0, 6.0]), np.array([7.0])]
    spread = pool(groups)
    assert float(spread.pooled.value) == pytest.approx((2 + 8) / 3)
    assert spread.pooled.df == 3
    assert spread.variants == 2
    assert spread.p_equal == pytest.approx(stats.bartlett(groups[0], groups[1]).pvalue)
    assert pool([np.array([1.0]), np.array([2.0])]) is None


def test_a_variant_that_does_not_vary_at_all_is_not_of_the_same_spread():
    assert pool([np.array([1.0, 1.0]), np.array([2.0, 3.0])]).p_equal == 0.0
    assert pool([np.array([1.0, 1.0]), np.array([2.0, 2.0])]).p_equal is None
    assert not pool([np.array([1.0, 1.0]), np.array([2.0, 3.0])]).equal(0.05)


def test_the_same_numbers_in_another_order_are_of_equal_spread(rng):
    """Their variances agree but for rounding, which takes Bartlett's statistic below 0."""
    for values in [np.array([37.02, 38.18, 35.97]), *np.round(rng.normal(36, 1, (200, 3)), 2)]:
        spread = pool([np.roll(values, places) for places in range(3)])
        assert spread.p_equal == pytest.approx(1.0)
        assert spread.equal(0.05)


def test_two_members_that_vary_more_than_the_others_keep_their_own_spread():
    """The others' variance is 1; the two sides' own is tested against it by F with 2 and 4 degrees of freedom."""
    others = [np.array([0.0, np.sqrt(2.0)])] * 4
    for factor, covered in ((0.98, True), (1.02, False)):
        sd = np.sqrt(2 * factor * stats.f.isf(0.1, 2, 4))
        sides = [np.array([0.0, sd])] * 2
        spread = pool([*others, *sides])
        assert spread.covers(sides, 0.1) is covered
        assert spread.covers(others[:2], 0.1)
    assert pool(sides).covers(sides, 0.1), "there are no others"


def test_predictions_for_a_published_number():
    """Three own runs of SD 0.2: +-0.99 by themselves, +-0.49 with the spread of eight variants; then the rounding."""
    points = np.array([36.8, 37.0, 37.2])
    own = prediction(points, RunVariance(np.asarray(0.04), 2), 0.0, 0.05)
    pooled = prediction(points, RunVariance(np.asarray(0.04), 16), 0.05, 0.05)
    assert own.high - 37.0 == pytest.approx(0.99, abs=0.005)
    assert 37.0 - pooled.low == pytest.approx(0.49 + 0.05, abs=0.005)
    assert pooled.holds(37.5)
    assert not pooled.holds(37.6)


def test_one_further_run_falls_inside_as_often_as_it_should(rng):
    runs = rng.normal(0, 0.2, (20_000, 4))
    half = stats.t.ppf(0.975, 2) * runs[:, :3].std(axis=1, ddof=1) * np.sqrt(1 + 1 / 3)
    inside = np.abs(runs[:, 3] - runs[:, :3].mean(axis=1)) <= half
    assert np.mean(inside) == pytest.approx(0.95, abs=0.006)
    for row, limit in zip(runs[:5], half[:5], strict=True):
        ours = prediction(row[:3], RunVariance(row[:3].var(ddof=1), 2), 0.0, 0.05)
        assert (ours.high - ours.low) / 2 == pytest.approx(limit)
