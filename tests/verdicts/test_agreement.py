"""Prediction intervals: by hand, and their coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from replication.verdicts.agreement import other_images, predicted


def test_by_hand():
    """Mean 2, s^2 1, k 3: t(0.975; 2) = 4.302653, times sqrt(1 + 1/3), plus rounding."""
    found = predicted(np.array([1.0, 2.0, 3.0]), 1, 0.05, rounding=0.05)
    assert found.high - 2 == pytest.approx(4.302653 * np.sqrt(4 / 3) + 0.05, abs=1e-5)
    assert found.low + found.high == pytest.approx(4)
    assert found.df == 2
    assert found.holds(-2.9)
    assert not found.holds(-3.1)


def test_other_images_add_their_variance_and_degrees_of_freedom():
    """V_run 4/3 and nine times as much by images: df = 2 (V / V_run)^2 = 200."""
    found = predicted(np.array([1.0, 2.0, 3.0]), 1, 0.05, images=12)
    assert found.df == pytest.approx(200)
    assert found.high - 2 == pytest.approx(1.971896 * np.sqrt(40 / 3), abs=1e-5)


def test_more_variance_never_narrows():
    points = np.array([1.0, 2.0, 3.0])
    bounds = [predicted(points, 1, 0.05, images=value).high for value in (0.0, 0.1, 1.0, 4.0, 12.0)]
    assert bounds == sorted(bounds)


def test_what_images_do_to_single_runs_is_no_part_of_the_image_variance(rng):
    shared, own = rng.normal(0, 2, 40_000), rng.normal(0, 1, (3, 40_000))
    assert other_images(shared + own, 100, 100) == pytest.approx(2 * 4, rel=0.03)
    assert other_images(shared + own, 100, 400) == pytest.approx(1.25 * 4, rel=0.03)
    assert other_images(shared + own, 100, None) == pytest.approx(2 * 4, rel=0.03)


@pytest.mark.parametrize(("runs", "further"), [(3, 1), (3, 3), (5, 1)])
@pytest.mark.parametrize("image", [0.0, 1.5])
def test_coverage(rng, runs, further, image):
    trials = 4000
    held = 0
    for _ in range(trials):
        own = rng.normal(0, 1, runs) + image * rng.normal()
        mean = rng.normal(0, 1, further).mean() + image * rng.normal()
        held += predicted(own, further, 0.05, 2 * image**2).holds(mean)
    assert 0.94 <= held / trials <= (0.985 if image else 0.96)


def test_a_single_run_predicts_nothing():
    with pytest.raises(ValueError, match="needs at least 2"):
        predicted(np.array([1.0]), 1, 0.05)
