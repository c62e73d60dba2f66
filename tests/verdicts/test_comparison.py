"""What a comparison says, against its formulas written out and against cases whose answer is known by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from replication.errors import ConfigError
from replication.evaluation.curves import POINTS
from replication.results.metrics import METRICS
from replication.verdicts.arms import KINDS, Arm, Arms, Resampling, RunNumbers
from replication.verdicts.comparison import compare_arms
from replication.verdicts.comparison_records import Options
from replication.verdicts.holm import adjusted

DRAWS = 300


def run(name, ap, seed=None, images=None, classes=(30.0, 50.0), gains=(1.0, 2.0, 0.5, 0.5, 1.0, 8.0)) -> RunNumbers:
    """A run of the given AP whose replicates deviate from it by ``images`` (R,)."""
    images = np.zeros(DRAWS) if images is None else images
    points = np.full(6, float(ap))
    return RunNumbers(
        name=name, sha256=name, seed=seed, columns_hash=name,
        points=points, replicates=points[:, None] + images,
        supported=points + 1, supported_replicates=points[:, None] + 1 + images,
        class_points=np.array(classes), class_replicates=np.array(classes)[:, None] + images,
        mistake_counts=np.arange(6.0), mistake_gains=np.array(gains),
        curves=np.zeros((2, len(POINTS))), seen=np.ones(10, np.bool_), warnings=(),
    )  # fmt: skip


def arms(values, images=None, seeds=False, per_class=(20, 30)) -> Arms:
    """Arms by name with the AP of each run; ``images`` are deviations (runs, R) by arm."""
    made = []
    for name, own in values.items():
        drawn = [None] * len(own) if images is None else images[name]
        made.append(Arm(name, tuple(run(f"{name}{i}", ap, i if seeds else None, drawn[i]) for i, ap in enumerate(own))))
    return Arms(tuple(made), Resampling(), "truth.json", "hash", 10, 50, ("cat", "dog"), per_class, ())


def one(values, options=None, **more):
    return compare_arms(arms(values, **more), options).contrasts[0]


def test_this_benchmark_is_the_pooled_t_interval():
    a, b = [30.0, 30.4, 30.2], [31.0, 31.5, 31.1]
    found = one({"A": a, "B": b})
    expected = stats.ttest_ind(b, a).confidence_interval(0.95)
    bounds = found.effect.this_benchmark
    assert (bounds.low, bounds.high) == pytest.approx((expected.low, expected.high))
    assert found.terms.spread == "pooled over arms"
    assert found.effect.p == pytest.approx(stats.ttest_ind(b, a).pvalue)
    assert found.verdict == "better"


@pytest.mark.parametrize(
    ("a", "b"), [([30.0, 30.4, 30.2], [31.0, 31.5, 31.1, 30.9]), ([30.0, 30.01, 30.02, 30.0], [31.0, 33.5, 29.1, 30.2])]
)
def test_unequal_numbers_or_spreads_keep_their_own_spread(a, b):
    found = one({"A": a, "B": b})
    expected = stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
    bounds = found.effect.this_benchmark
    assert (bounds.low, bounds.high) == pytest.approx((expected.low, expected.high))
    assert found.terms.spread == "each arm's own"


def test_new_images_combine_the_three_variances():
    rng = np.random.default_rng(0)
    drawn = {
        name: rng.normal(0, 0.3, (3, DRAWS)) + rng.normal(0, 0.4, DRAWS) * place for place, name in enumerate("AB")
    }
    a, b = [30.0, 30.4, 30.2], [31.0, 31.5, 31.1]
    found = one({"A": a, "B": b}, images=drawn)
    seed = (np.var(a, ddof=1) + np.var(b, ddof=1)) / 2 * 2 / 3
    image = (drawn["B"].mean(axis=0) - drawn["A"].mean(axis=0)).var(ddof=1)
    both = sum((own - own.mean(axis=1, keepdims=True)).var(axis=0, ddof=1).mean() / 3 for own in drawn.values())
    variance = max(image, seed, image + seed - both)
    half = stats.t.isf(0.025, 4 * (variance / seed) ** 2) * np.sqrt(variance)
    assert found.effect.new_images.high - found.effect.difference == pytest.approx(half)
    assert (found.terms.seed, found.terms.image, found.terms.interaction) == pytest.approx((seed, image, both))


def test_one_run_gives_the_image_interval_and_no_verdict():
    drawn = {name: np.random.default_rng(place).normal(0, 0.5, (1, DRAWS)) for place, name in enumerate("AB")}
    comparison = compare_arms(arms({"A": [30.0], "B": [33.0]}, images=drawn))
    found = comparison.contrasts[0]
    half = 1.959964 * (drawn["B"] - drawn["A"]).std(ddof=1)
    assert found.effect.new_images.high - 3 == pytest.approx(half, rel=1e-5)
    assert (found.verdict, found.effect.this_benchmark, found.effect.p) == ("no verdict", None, None)
    assert found.claim is None
    assert found.minimum_detectable_gain is None
    assert found.sentence.startswith("No verdict on B against A: these runs differ by +3.0 AP (95% interval")
    assert "1 against 1 run" in found.sentence
    assert any("no verdict on the methods" in text for text in comparison.warnings)


@pytest.mark.parametrize(
    ("b", "options", "verdict", "start"),
    [
        ([31.0, 31.2, 31.1], {}, "better", "B is better than A by 1.00 AP (95% interval"),
        ([29.0, 29.2, 29.1], {}, "worse", "B is worse than A by 1.00 AP (95% interval"),
        ([30.1, 30.3, 30.0], {}, "inconclusive", "Inconclusive whether B is better than A: +0.03 AP"),
        ([30.1, 30.3, 30.0], {"practical": 0.8}, "no gain of practical size", "B brings no gain of 0.80 AP over A"),
    ],
)
def test_the_word_and_the_sentence(b, options, verdict, start):
    found = one({"A": [30.0, 30.2, 30.1], "B": b}, Options(**options))
    assert found.verdict == verdict
    assert found.sentence.startswith(start)
    assert found.sentence.endswith(", 3 against 3 runs")
    assert "new images; " in found.sentence
    assert "this benchmark)" in found.sentence


def test_a_gain_below_practical_size_says_so():
    found = one({"A": [30.0, 30.02, 30.01], "B": [30.2, 30.22, 30.21]}, Options(practical=0.5))
    assert (found.verdict, found.qualifiers) == ("better", ("below practical size",))


@pytest.mark.parametrize(("claimed", "verdict"), [(1.0, "holds"), (4.0, "does not hold"), (1.9, "inconclusive")])
def test_a_claim_is_judged_against_half_of_it(claimed, verdict):
    found = one({"A": [30.0, 30.2, 30.1], "B": [31.0, 31.2, 31.1]}, Options(claimed=claimed))
    assert (found.claim.verdict, found.claim.cut) == (verdict, claimed / 2)


def test_seeds_needed_reach_the_wanted_power_and_one_less_does_not():
    """Simulated: so many runs an arm find half of the claimed gain in 80% of experiments."""
    rng = np.random.default_rng(2)
    a, b = [30.0, 30.8, 30.4], [31.0, 31.8, 31.4]
    found = one({"A": a, "B": b}, Options(claimed=1.2))
    spread = np.std(a, ddof=1)
    rates = {}
    for runs in (found.claim.seeds_needed - 1, found.claim.seeds_needed):
        drawn = rng.normal(0, spread, (2, 40_000, runs))
        p = stats.ttest_ind(drawn[1] + 0.6, drawn[0], axis=1)
        rates[runs] = np.mean((p.pvalue <= 0.05) & (p.statistic > 0))
    less, enough = rates.values()
    assert less < 0.805
    assert enough > 0.795


def test_where_images_are_too_few_more_images_are_named():
    rng = np.random.default_rng(0)
    drawn = {"A": np.zeros((3, DRAWS)), "B": np.tile(rng.normal(0, 1.0, DRAWS), (3, 1))}
    found = one({"A": [30.0, 30.1, 30.05], "B": [31.0, 31.1, 31.05]}, Options(claimed=2.0), images=drawn)
    assert found.claim.seeds_needed is None
    # z: (1.96 + 0.84)^2 times the variance of 1 over the square of the gain above the cut, of ten images
    assert found.claim.images_needed == pytest.approx(10 * 7.85 * drawn["B"].var(ddof=1) * 3 / 3, rel=0.1)


def test_the_minimum_detectable_gain_is_detected_with_the_wanted_power():
    rng = np.random.default_rng(4)
    a, b = [30.0, 30.8, 30.4], [31.0, 31.8, 31.4]
    found = one({"A": a, "B": b})
    drawn = rng.normal(0, np.std(a, ddof=1), (2, 40_000, 3))
    p = stats.ttest_ind(drawn[1] + found.minimum_detectable_gain, drawn[0], axis=1)
    assert np.mean((p.pvalue <= 0.05) & (p.statistic > 0)) == pytest.approx(0.8, abs=0.01)


def test_several_arms_share_the_level():
    values = {"A": [30.0, 30.3, 30.15], "B": [30.4, 30.7, 30.55], "C": [30.6, 30.9, 30.75]}
    comparison = compare_arms(arms(values))
    p = [contrast.effect.p for contrast in comparison.contrasts]
    np.testing.assert_allclose([contrast.effect.p_holm for contrast in comparison.contrasts], adjusted(np.array(p)))
    assert [contrast.arm for contrast in comparison.contrasts] == ["B", "C"]
    assert comparison.sentence.count("\n") == 1
    # The spread is pooled over all three: six degrees of freedom.
    assert comparison.contrasts[0].terms.df == pytest.approx(6)


def test_what_only_holm_takes_away_is_said():
    values = {"A": [30.0, 30.3, 30.15], "B": [30.32, 30.62, 30.47], "C": [30.0, 30.3, 30.15], "D": [30.0, 30.3, 30.1]}
    contrast = compare_arms(arms(values)).contrasts[0]
    assert contrast.effect.p <= 0.05 < contrast.effect.p_holm
    assert (contrast.verdict, contrast.qualifiers) == ("inconclusive", ("significant only before Holm correction",))


def test_paired_runs_are_tested_by_their_differences():
    a, b = [30.0, 31.0, 29.0, 30.5], [30.5, 31.6, 29.4, 31.1]
    plain, paired = one({"A": a, "B": b}, seeds=True), one({"A": a, "B": b}, Options(paired=True), seeds=True)
    assert plain.verdict == "inconclusive"
    assert paired.verdict == "better"
    assert paired.effect.p == pytest.approx(stats.ttest_rel(b, a).pvalue)
    assert paired.terms.spread == "seeds as blocks"


def test_pairing_is_by_seed_whatever_the_order_of_files():
    made = arms({"A": [30.0, 31.0, 29.0], "B": [30.5, 31.6, 29.4]}, seeds=True)
    turned = replace(made, arms=(made.arms[0], Arm("B", made.arms[1].runs[::-1])))
    both = [compare_arms(one, Options(paired=True)).contrasts[0].effect.p for one in (made, turned)]
    assert both[0] == pytest.approx(both[1])


@pytest.mark.parametrize(
    ("values", "seeds", "message"),
    [
        ({"A": [30.0, 31.0], "B": [30.0, 31.0, 32.0]}, True, "arm B has the seeds 0, 1, 2, arm A 0, 1"),
        ({"A": [30.0, 31.0], "B": [30.0, 31.0]}, False, "the files of arm A do not name a seed each"),
        ({"A": [30.0], "B": [30.0]}, True, "at least 2 seeds"),
    ],
)
def test_pairing_needs_the_same_seeds(values, seeds, message):
    with pytest.raises(ConfigError, match=message):
        compare_arms(arms(values, seeds=seeds), Options(paired=True))


def test_classes_have_a_family_of_their_own_and_rare_ones_are_left_out():
    found = one({"A": [30.0, 30.4, 30.2], "B": [31.0, 31.5, 31.1]}, per_class=(20, 9))
    assert [(effect.name, effect.objects) for effect in found.classes] == [("cat", 20)]
    assert found.supported.difference == pytest.approx(1.0)
    assert found.supported.baseline == pytest.approx(31.2)


def test_sizes_without_objects_are_left_out():
    made = arms({"A": [30.0, 30.4, 30.2], "B": [31.0, 31.5, 31.1]})
    place = METRICS.index("APl")
    for arm in made.arms:
        for one_run in arm.runs:
            one_run.points[place] = one_run.supported[place] = np.nan
            one_run.replicates[place] = np.nan
    found = compare_arms(made)
    assert [effect.name for effect in found.contrasts[0].sizes] == ["APs", "APm"]
    with pytest.raises(ConfigError, match="metric APl: not defined"):
        compare_arms(made, Options(("APl",)))


def test_draws_that_leave_nothing_to_find_are_dropped():
    rng = np.random.default_rng(0)
    drawn = {name: rng.normal(0, 0.3, (3, DRAWS)) for name in "AB"}
    whole = one({"A": [30.0, 30.4, 30.2], "B": [31.0, 31.5, 31.1]}, images={k: v[:, 10:] for k, v in drawn.items()})
    drawn["A"][0, :10] = np.nan
    part = one({"A": [30.0, 30.4, 30.2], "B": [31.0, 31.5, 31.1]}, images=drawn)
    assert part.effect.new_images == whole.effect.new_images


def test_mistakes_are_compared_kind_by_kind():
    made = arms({"A": [30.0, 30.4, 30.2], "B": [31.0, 31.5, 31.1]})
    better = tuple(replace(one, mistake_gains=one.mistake_gains - np.arange(6)) for one in made.arms[1].runs)
    found = compare_arms(replace(made, arms=(made.arms[0], Arm("B", better)))).contrasts[0]
    assert [cost.kind for cost in found.mistakes] == list(KINDS)
    assert [cost.difference for cost in found.mistakes] == pytest.approx([0, -1, -2, -3, -4, -5])


def test_spread_and_image_noise_of_an_arm():
    rng = np.random.default_rng(0)
    drawn = {name: rng.normal(0, 0.3, (3, DRAWS)) for name in "AB"}
    summary = compare_arms(arms({"A": [30.0, 30.4, 30.2], "B": [31.0, 31.5, 31.1]}, images=drawn)).arms[0]
    assert summary.sd["AP"] == pytest.approx(0.2)
    assert summary.image_noise == pytest.approx(0.3, abs=0.02)
    assert summary.values["AP"] == (30.0, 30.4, 30.2)


def test_detectors_that_learned_nothing_are_warned_of():
    comparison = compare_arms(arms({"A": [0.0, 0.1, 0.2], "B": [0.1, 0.0, 0.1]}))
    assert any("no run reaches an AP of 1" in text for text in comparison.warnings)


def test_the_document_is_json_of_its_schema():
    document = compare_arms(arms({"A": [30.0, 30.4], "B": [31.0, 31.5]}), Options(claimed=1.0)).to_dict()
    again = json.loads(json.dumps(document, allow_nan=False))
    assert again["schema"] == "comparison/1"
    assert again["sentence"].startswith("B is") or again["sentence"].startswith("Inconclusive")
    assert again["contrasts"][0]["effect"]["difference"] == pytest.approx(1.05)
    assert again["arms"][0]["files"] == ["A0", "A1"]


def test_the_data_frame_has_a_line_an_effect():
    pytest.importorskip("pandas")
    frame = compare_arms(arms({"A": [30.0, 30.4], "B": [31.0, 31.5]}), Options(("AP", "AP75"))).to_dataframe()
    assert frame.groupby("kind").size().to_dict() == {"class": 2, "metric": 2, "size": 3}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ("mAP",)}, "metric mAP: choose from AP, AP50"),
        ({"metrics": ()}, "metric missing"),
        ({"claimed": 0.0}, "claimed 0: a gain in AP points is above 0"),
        ({"practical": -1.0}, "practical -1: a gain"),
        ({"alpha": 1.0}, "alpha 1: expected a number between 0 and 1"),
        ({"estimand": "all images"}, "estimand 'all images': choose from new images, this benchmark"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        Options(**options)
