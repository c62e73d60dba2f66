"""Power, smallest detectable effect and seeds needed, against published values and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from support.verdict_worlds import Regime, draw_side, pooled_terms

from replication.verdicts.blocks import blocked_terms
from replication.verdicts.intervals import RunVariance, Side, Terms, t_interval
from replication.verdicts.needed import images_needed, needs
from replication.verdicts.power import (
    MOST_SEEDS,
    Design,
    design,
    detectable_effect,
    paired_design,
    power,
    seeds_needed,
)


@pytest.mark.parametrize(
    ("runs", "df", "expected"),
    [(5, 8, 0.40), (8, 14, 0.30), (10, 18, 0.265), (3, 16, 0.49)],
)
def test_effects_seen_with_80_percent_power_at_a_run_sd_of_a_fifth(runs, df, expected):
    """Textbook two-sample sizes; the last is three runs with the spread of eight variants pooled."""
    assert detectable_effect(0.2**2 * 2 / runs, df, 0.05, 0.8) == pytest.approx(expected, abs=0.008)


def test_many_degrees_of_freedom_are_the_normal_case():
    normal = 1.959964 + 0.841621  # the quantiles of 97.5% and 80%
    assert detectable_effect(1.0, np.inf, 0.05, 0.8) == pytest.approx(normal, abs=1e-5)
    assert detectable_effect(4.0, 1e7, 0.05, 0.8) == pytest.approx(2 * normal, abs=1e-3)
    assert detectable_effect(0.0, 4, 0.05, 0.8) == 0.0


def test_two_degrees_of_freedom_have_a_solution():
    effect = detectable_effect(1.0, 2, 0.001, 0.99)
    assert power(effect, 1.0, 2, 0.001) == pytest.approx(0.99, abs=1e-4)


def test_without_a_gain_the_power_is_the_error_of_one_side():
    assert power(0.0, 0.3, 5, 0.05) == pytest.approx(0.025)


@pytest.mark.parametrize("runs", [3, 5])
def test_the_predicted_power_is_that_of_repeated_experiments(runs, rng):
    sd = 0.2
    variance, df = sd**2 * 2 / runs, 2 * (runs - 1)
    effect = detectable_effect(variance, df, 0.05, 0.8)
    row, baseline = Side(rng.normal(effect, sd, (20_000, runs))), Side(rng.normal(0, sd, (20_000, runs)))
    seen = t_interval(pooled_terms(row, baseline), "this benchmark", 0.05).low > 0
    assert np.mean(seen) == pytest.approx(0.8, abs=0.012)


def test_the_power_predicted_for_new_images_is_that_of_repeated_experiments(rng):
    regime, runs, effect = Regime(0.20, 0.15, 0.15), 5, 0.7
    # V(k) = sI^2 + 2 (sS^2 + sE^2) / k
    plan = Design(floor=0.04, run=2 * 0.045, df=2)
    row, baseline = draw_side(rng, regime, 8000, runs, gain=effect), draw_side(rng, regime, 8000, runs)
    seen = t_interval(pooled_terms(row, baseline), "new images", 0.05).low > 0
    assert np.mean(seen) == pytest.approx(plan.power(runs, effect, 0.05), abs=0.02)


def test_seeds_needed_is_the_first_number_with_that_power():
    # The gain of +0.2 of a box loss at a run SD of 0.20: about 16 runs an arm.
    plan = Design(floor=0.0, run=2 * 0.2**2, df=2)
    needed = seeds_needed(plan, 0.2, 0.05, 0.8, least=3)
    assert needed == pytest.approx(16, abs=1)
    assert plan.power(needed, 0.2, 0.05) >= 0.8 > plan.power(needed - 1, 0.2, 0.05)


def test_a_spread_of_a_quarter_needs_about_25():
    assert seeds_needed(Design(0.0, 2 * 0.25**2, 2), 0.2, 0.05, 0.8, 3) == pytest.approx(25, abs=1)


def test_no_number_of_seeds_makes_up_for_too_few_images():
    assert seeds_needed(Design(floor=0.2**2, run=0.01, df=2), 0.3, 0.05, 0.8, 3) is None
    assert seeds_needed(Design(0.0, 1.0, 2), 0.0, 0.05, 0.8, 3) is None
    assert Design(0.2**2, 0.01, 2).power(MOST_SEEDS, 0.3, 0.05) < 0.8


def test_images_needed_by_the_quantiles_of_the_normal_distribution():
    """Images alone vary, by 1/n: the number at which an effect is 2.8 standard errors."""
    terms = Terms(np.asarray(0.0), np.asarray(0.0), 4, np.asarray(0.2**2), np.asarray(0.0))
    expected = 1000 * ((1.959964 + 0.841621) * 0.2 / 0.3) ** 2
    assert images_needed(terms, 1000, 0.3, 0.05, 0.8) == pytest.approx(expected, abs=1)
    runs_only = Terms(np.asarray(0.0), np.asarray(1.0), 4, np.asarray(0.0), np.asarray(0.0))
    assert images_needed(runs_only, 1000, 0.3, 0.05, 0.8) is None
    assert images_needed(terms, 1000, 0.0, 0.05, 0.8) is None


@pytest.mark.parametrize(
    ("seeds", "images", "effect", "words"),
    [
        (7, None, 0.3, ["needs more seeds"]),
        (None, 900, 0.3, ["needs more test images"]),
        (7, 900, 0.3, ["needs more seeds or more test images"]),
        (None, None, 0.3, ["needs more seeds and more test images: neither alone is enough"]),
        (3, 900, 0.3, []),
        (7, 300, 0.3, []),
        (None, None, 0.0, []),
    ],
)
def test_what_an_inconclusive_comparison_of_3_runs_and_300_images_needs(seeds, images, effect, words):
    assert needs(seeds, images, 3, 300, effect) == words


def test_the_design_of_paired_runs_gives_back_their_variance(rng):
    row, baseline = (draw_side(rng, Regime(0.3, 0.2, 0.1), 1, 4) for _ in range(2))
    row, baseline = (Side(side.points[0], side.replicates[0]) for side in (row, baseline))
    terms = blocked_terms(row, baseline, RunVariance(np.asarray((row.points - baseline.points).var(ddof=1)), 3))
    for estimand in ("new images", "this benchmark"):
        plan = paired_design(terms, estimand, 4)
        assert plan.floor + max(plan.run, plan.interaction) / 4 == pytest.approx(float(terms.variance(estimand)))
        expected = power(0.5, terms.variance(estimand), terms.df(estimand), 0.05)
        assert plan.power(4, 0.5, 0.05) == pytest.approx(float(expected), rel=1e-6)


def test_a_large_gain_needs_the_least_number_that_is_judged():
    assert seeds_needed(Design(0.0, 0.01, 2), 5.0, 0.05, 0.8, 3) == 3
    assert seeds_needed(Design(0.0, 0.0, 2), 5.0, 0.05, 0.8, 4) == 4


def test_the_design_of_a_comparison_gives_back_its_own_variance(rng):
    row, baseline = (draw_side(rng, Regime(0.3, 0.2, 0.1), 1, 4) for _ in range(2))
    row, baseline = (Side(side.points[0], side.replicates[0]) for side in (row, baseline))
    terms = pooled_terms(row, baseline)
    plan = design(terms, "new images", row, baseline, None, 2)
    assert plan.floor + plan.run / 4 == pytest.approx(float(terms.variance("new images")), rel=1e-6)
    assert design(terms, "this benchmark", row, baseline, None, 2).floor == 0.0
    assert design(terms, "this benchmark", row, baseline, 0.04, 8) == Design(0.0, 0.08, 8)
