"""Variance terms and intervals against numbers by hand and scipy's own tests."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from support.verdict_worlds import pooled_terms

from replication.verdicts.intervals import (
    RunVariance,
    Side,
    image_interval,
    interaction_variance,
    one_sided,
    p_value,
    t_interval,
    variance_terms,
    welch_interval,
)

ROW, BASELINE = np.array([40.0, 41.0, 42.0]), np.array([38.0, 38.0, 41.0])  # means 41 and 39, variances 1 and 3


def test_seed_term_by_hand():
    terms = variance_terms(Side(ROW), Side(BASELINE))
    assert terms.difference == pytest.approx(2.0)
    assert terms.seed == pytest.approx(1 / 3 + 3 / 3)
    assert terms.seed_df == pytest.approx((4 / 3) ** 2 / ((1 / 3) ** 2 / 2 + 1 / 2))
    assert terms.image is None
    assert terms.estimands == ("this benchmark",)


def test_the_interval_of_this_benchmark_is_students_or_welchs():
    for terms, equal in ((pooled_terms, True), (variance_terms, False)):
        ours = t_interval(terms(Side(ROW), Side(BASELINE)), "this benchmark", 0.05)
        theirs = stats.ttest_ind(ROW, BASELINE, equal_var=equal)
        bounds = theirs.confidence_interval(0.95)
        assert (float(ours.low), float(ours.high)) == pytest.approx((bounds.low, bounds.high))
        p = p_value(terms(Side(ROW), Side(BASELINE)), "this benchmark", 0.0)
        assert p == pytest.approx(theirs.pvalue)


def test_equal_numbers_have_no_variance_that_rounding_leaves():
    terms = variance_terms(Side(np.full(3, 40.2)), Side(np.full(3, 40.1)))
    assert terms.seed == 0
    assert float(t_interval(terms, "this benchmark", 0.05).low) == pytest.approx(0.1)


def test_welch_is_scipys_with_unequal_numbers_of_runs():
    row, baseline = np.array([40.0, 41.5, 42.0, 39.2, 40.1]), np.array([38.0, 38.3, 41.0])
    ours = welch_interval(Side(row), Side(baseline), 0.1)
    theirs = stats.ttest_ind(row, baseline, equal_var=False)
    bounds = theirs.confidence_interval(0.9)
    assert (float(ours.low), float(ours.high)) == pytest.approx((bounds.low, bounds.high))
    assert float(ours.df) == pytest.approx(theirs.df)


def test_image_and_interaction_terms_by_hand():
    # Two runs a side, three replicates. Centred: row (-1, 0, 1) and (-3, 0, 3); baseline twice (-1, 1, 0).
    row = Side(np.array([10.0, 20.0]), np.array([[9.0, 10, 11], [17.0, 20, 23]]))
    baseline = Side(np.array([5.0, 6.0]), np.array([[4.0, 6, 5], [5.0, 7, 6]]))
    terms = pooled_terms(row, baseline)
    # Means over runs: row 13, 15, 17; baseline 4.5, 6.5, 5.5; differences 8.5, 8.5, 11.5, of variance 3.
    assert terms.image == pytest.approx(3.0)
    # Variances over the two runs, by replicate: row 2, 0, 2; baseline 0.
    assert interaction_variance(row.replicates) == pytest.approx(4 / 3)
    assert terms.interaction == pytest.approx(4 / 3 / 2)
    assert terms.seed == pytest.approx(50 / 2 + 0.5 / 2)
    combined = 3.0 + 25.25 - 2 / 3
    assert terms.variance("new images") == pytest.approx(combined)
    assert terms.df("new images") == pytest.approx(2 * (combined / 25.25) ** 2)
    half = stats.t.ppf(0.975, 2 * (combined / 25.25) ** 2) * np.sqrt(combined)
    interval = t_interval(terms, "new images", 0.05)
    assert float(interval.high) == pytest.approx(9.5 + half)
    assert float(interval.low) == pytest.approx(9.5 - half)


def test_the_combined_variance_is_never_below_one_of_its_parts():
    # All of the images' variance is interaction, and the runs happen to agree: V_img alone must remain.
    row = Side(np.array([10.0, 10.0]), np.array([[7.0, 10, 13], [13.0, 10, 7]]) + np.array([[0.0, 0, 0.6]]))
    baseline = Side(np.array([9.0, 9.0]), np.array([[9.0, 9, 9], [9.0, 9, 9]]))
    terms = variance_terms(row, baseline)
    assert terms.interaction > terms.image
    assert terms.variance("new images") == terms.image
    assert np.isinf(terms.df("new images"))
    interval = t_interval(terms, "new images", 0.05)
    assert float(interval.high - interval.low) == pytest.approx(2 * 1.959964 * np.sqrt(float(terms.image)))


def test_a_pooled_variance_replaces_both_sides_and_brings_its_df():
    terms = variance_terms(Side(ROW), Side(BASELINE), RunVariance(np.asarray(0.25), 12))
    assert terms.seed == pytest.approx(0.25 * 2 / 3)
    assert terms.df("this benchmark") == 12


def test_one_run_has_an_image_interval_and_no_other():
    drawn = np.array([[1.0, 2.0, 3.0, 2.0]])
    row, baseline = Side(np.array([2.0]), drawn), Side(np.array([1.0]), np.ones((1, 4)))
    with pytest.raises(ValueError, match="at least 2"):
        variance_terms(row, baseline)
    half = 1.959964 * np.sqrt(2 / 3)
    assert float(image_interval(row, baseline, 0.05).low) == pytest.approx(1 - half, abs=1e-6)


def test_new_images_cannot_be_spoken_of_without_replicates():
    with pytest.raises(ValueError, match="image replicates"):
        t_interval(variance_terms(Side(ROW), Side(BASELINE)), "new images", 0.05)
    with pytest.raises(ValueError, match="image replicates"):
        image_interval(Side(ROW), Side(BASELINE), 0.05)


def test_the_p_value_is_the_level_whose_bound_is_at_the_null():
    terms = variance_terms(Side(ROW), Side(BASELINE))
    for null in (-1.0, 0.7, 4.0):
        interval = t_interval(terms, "this benchmark", p_value(terms, "this benchmark", null))
        nearest = interval.low if null < terms.difference else interval.high
        assert float(nearest) == pytest.approx(null)
    above, below = one_sided(terms, "this benchmark", 0.7)
    assert above + below == pytest.approx(1.0)


def test_runs_without_any_spread():
    terms = variance_terms(Side(np.array([3.0, 3.0])), Side(np.array([2.0, 2.0])))
    interval = t_interval(terms, "this benchmark", 0.05)
    assert (float(interval.low), float(interval.high)) == (1.0, 1.0)
    assert p_value(terms, "this benchmark", 0.0) == 0.0
    assert p_value(terms, "this benchmark", 1.0) == 1.0


def test_leading_dimensions_are_comparisons(rng):
    row, baseline = rng.normal(size=(7, 2, 3)), rng.normal(size=(7, 2, 4))
    many = t_interval(variance_terms(Side(row), Side(baseline)), "this benchmark", 0.05)
    one = t_interval(variance_terms(Side(row[3, 1]), Side(baseline[3, 1])), "this benchmark", 0.05)
    assert many.low.shape == (7, 2)
    assert float(many.low[3, 1]) == pytest.approx(float(one.low))
