"""Comparisons of arms whose truth is known, by the real matching and bootstrap: level, coverage, power.

Pools of runs whose skill varies by seed; every trial draws other images and other runs of the pools.
"""

from __future__ import annotations

import numpy as np
import pytest
from support.arm_pool import Pool, pool, superpopulation, trial

from replication.verdicts.comparison import compare_arms
from replication.verdicts.comparison_records import Options
from replication.verdicts.power import power

IMAGES, REPLICATES, ALPHA = 400, 120, 0.05
SHORT, FULL = 60, 1500


@pytest.fixture(scope="module")
def pools() -> tuple[Pool, Pool]:
    """Two detectors; runs of each vary by about as much as image noise, half of it the seeds' own."""
    truth = superpopulation()
    return pool(truth, 1, 40, 0.85, 0.03), pool(truth, 2, 40, 1.0, 0.03)


def margin(rate: float, trials: int) -> float:
    """Three standard errors of a rate."""
    return 3 * float(np.sqrt(rate * (1 - rate) / trials))


def contrasts(pools, runs: int, trials: int, seed: int):
    rng = np.random.default_rng(seed)
    for _ in range(trials):
        yield compare_arms(trial(rng, pools, runs, IMAGES, REPLICATES), Options(alpha=ALPHA)).contrasts[0]


def check_level(pools, runs: int, trials: int) -> None:
    same = (pools[0], pools[0])
    wrong = np.mean([one.verdict in ("better", "worse") for one in contrasts(same, runs, trials, runs)])
    assert wrong <= ALPHA + margin(ALPHA, trials)


def check_coverage_and_power(pools, runs: int, trials: int) -> None:
    gain = pools[1].truth - pools[0].truth
    found = list(contrasts(pools, runs, trials, 10 + runs))
    covered = np.mean([one.effect.new_images.low <= gain <= one.effect.new_images.high for one in found])
    assert 0.93 - margin(0.95, trials) <= covered <= 0.97 + margin(0.95, trials)
    variances = [
        max(one.terms.image, one.terms.seed, one.terms.image + one.terms.seed - one.terms.interaction) for one in found
    ]
    df = float(np.median([one.terms.df for one in found]))
    predicted = float(power(gain, float(np.mean(variances)), df, ALPHA))
    measured = np.mean([one.verdict == "better" for one in found])
    # The variance is known from each trial alone, and not all of the noise is normal.
    assert measured == pytest.approx(predicted, abs=0.08 + margin(predicted, trials))


@pytest.mark.parametrize("runs", [3, 5])
def test_level_coverage_and_power_in_short(pools, runs):
    check_level(pools, runs, SHORT)
    check_coverage_and_power(pools, runs, SHORT)


@pytest.mark.slow
@pytest.mark.parametrize("runs", [3, 5])
def test_two_arms_of_one_detector_are_told_apart_in_at_most_5_percent(pools, runs):
    check_level(pools, runs, FULL)


@pytest.mark.slow
@pytest.mark.parametrize("runs", [3, 5])
def test_intervals_cover_and_power_is_as_predicted(pools, runs):
    check_coverage_and_power(pools, runs, FULL)


def test_one_run_an_arm_judged_by_images_alone_would_fail():
    """Why there is no verdict from one run: its interval leaves the truth out far more often than it says."""
    varied = pool(superpopulation(), 3, 12, 0.85, 0.12)
    rng = np.random.default_rng(3)
    trials = 80
    missed = []
    for _ in range(trials):
        one = compare_arms(trial(rng, (varied, varied), 1, IMAGES, REPLICATES)).contrasts[0]
        assert one.verdict == "no verdict"
        missed.append(not one.effect.new_images.low <= 0 <= one.effect.new_images.high)
    assert np.mean(missed) > 0.3
