"""Calibration: do the intervals hold what they say, on simulated populations?"""

from __future__ import annotations

import numpy as np
import pytest
from support.simulation import detector, population, subset

from replication.evaluation import bootstrap, point
from replication.evaluation.intervals import differences, intervals
from replication.evaluation.matching import match


def ap(truth, detections):
    return float(point(match(truth, detections), ("all",)).metric("AP")[0])


def test_absolute_interval_by_hand():
    result = intervals(np.array([40.0]), np.array([39.0, 41.0, 43.0, np.nan]))
    assert result == {"estimate": 40.0, "low": 40 - 1.96 * 2, "high": 40 + 1.96 * 2, "se": 2.0, "bias": 1.0}


def test_an_absolute_interval_is_never_a_percentile_interval():
    skewed = 40 - np.random.default_rng(0).exponential(1, 1000)
    result = intervals(np.array([40.0]), skewed)
    assert set(result) == {"estimate", "low", "high", "se", "bias"}
    assert result["high"] - 40 == pytest.approx(40 - result["low"])
    assert result["high"] > skewed.max()


def test_difference_by_hand():
    drawn = np.linspace(-1, 3, 401)
    result = differences(np.array([41.0]), np.array([40.0]), drawn, units=11)
    assert result["estimate"] == 1
    assert result["percentile"] == pytest.approx([-0.9, 2.9])
    # Student's t with 10 degrees of freedom: 2.2281.
    assert result["t"] == pytest.approx([1 - 2.2281 * result["se"], 1 + 2.2281 * result["se"]], abs=1e-4)


def test_what_is_undefined_has_no_interval():
    assert intervals(np.array([np.nan]), np.array([1.0, 2.0])) is None
    assert intervals(np.array([1.0]), np.array([1.0, np.nan])) is None
    assert differences(np.array([np.nan]), np.array([1.0]), None, 10) is None
    assert differences(np.array([3.0]), np.array([1.0]), None, 10) == {"estimate": 2.0}
    assert differences(np.array([3.0]), np.array([1.0]), np.array([2.0, 2.5]), units=1) == {"estimate": 2.0}


def test_standard_error_is_that_of_brute_force_resampling():
    """1600 data sets put together from drawn copies of 60 images, each matched and evaluated anew.

    Their standard deviation is known to 1 / sqrt(3200) = 1.8%, the bootstrap's to 0.7%: the seed is fixed.
    """
    truth = population(21, 60, 3)
    detections = detector(truth, 22, per_image=12)
    rng = np.random.default_rng(23)
    brute = []
    for _ in range(1600):
        copies, (found,) = subset(truth, [detections], rng.integers(0, 60, 60))
        brute.append(ap(copies, found))
    quick = bootstrap(match(truth, detections), 10_000, seed=24).metric("AP")
    assert quick.std(ddof=1) == pytest.approx(np.std(brute, ddof=1), rel=0.03)
    assert quick.mean() == pytest.approx(np.mean(brute), abs=4 * np.std(brute) / 40)


@pytest.mark.parametrize("kind", ["t", "percentile"])
def test_paired_differences_are_covered(coverage, kind):
    """Nominal 95%; 400 data sets, so that 93 to 97% is what a right interval gives in 93 of 100 experiments."""
    assert 0.93 <= coverage[kind] <= 0.97


def test_unpaired_draws_would_be_far_too_wide(coverage):
    assert coverage["unpaired"] > 0.985


@pytest.fixture(scope="module")
def coverage():
    """Share of 400 data sets of 200 images, from a population of 6000, whose interval holds the true difference."""
    truth = population(31, 6000, 4, tail=0.3)
    detectors = [detector(truth, 32, skill, per_image=12) for skill in (1.0, 1.08)]
    target = ap(truth, detectors[1]) - ap(truth, detectors[0])
    rng = np.random.default_rng(33)
    hits = {"t": 0, "percentile": 0, "unpaired": 0}
    for data_set in range(400):
        sample, found = subset(truth, detectors, rng.integers(0, 6000, 200))
        runs = [match(sample, one) for one in found]
        values = [point(run, ("all",)).metric("AP") for run in runs]
        drawn = [bootstrap(run, 256, seed=data_set).metric("AP") for run in runs]
        apart = bootstrap(runs[0], 256, seed=data_set + 10_000).metric("AP")
        result = differences(values[1], values[0], drawn[1] - drawn[0], 200)
        loose = differences(values[1], values[0], drawn[1] - apart, 200)
        for name, (low, high) in (("t", result["t"]), ("percentile", result["percentile"]), ("unpaired", loose["t"])):
            hits[name] += low <= target <= high
    return {name: count / 400 for name, count in hits.items()}
