"""A folder of finished runs, JSON files only, judged as a whole: a world whose truth is known."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from scipy import stats
from support.verdict_papers import PAPER, few_images, renamed_paper

from replication.catalog import Column, Paper, load_catalog, load_protocol
from replication.errors import ConfigError, ResultError
from replication.results.files import read_json, sha256_file
from replication.results.fingerprint import training_fingerprint
from replication.results.finished import FinishedRun
from replication.results.layout import Layout, RunFiles
from replication.results.schemas import Metrics, Provenance
from replication.verdicts import judge, verdicts_table, write_verdicts
from replication.verdicts.evidence import detection_quality, questions
from replication.verdicts.output import needed_text
from replication.verdicts.registered import plan_hashes

TABLES = ["boxes-T1"]


@pytest.fixture
def tiny(world, protocol, catalog, results, judging):
    """Verdicts under the small protocol."""
    world(protocol)
    return judge(catalog, protocol, results, TABLES, judging, few_images)


@pytest.fixture
def full(world, paper_protocol, catalog, results, judging):
    """Verdicts at the paper's own scale."""
    world(paper_protocol)
    return judge(catalog, paper_protocol, results, TABLES, judging, few_images)


def entry(document, name):
    return next(one for one in document["verdicts"] if one["id"] == name)


def verdicts(document):
    return {one["id"]: (one["verdict"], *one["qualifiers"]) for one in document["verdicts"]}


def test_directions_of_a_known_world(tiny):
    assert tiny["judges"] == "direction"
    assert "another claim than the paper's" in tiny["head"]
    assert verdicts(tiny) == {
        "real-AP": ("gain",),
        "real-AP75": ("gain",),
        "real-ms": ("not testable",),
        "null-AP": ("no gain of practical size",),
        "worse-AP": ("loss",),
        "once-AP": ("single run",),
        "gone-AP": ("blocked",),
        "big-AP": ("not testable",),
        "planned-AP": ("not testable",),
    }


def test_sizes_of_a_known_world(full):
    assert full["judges"] == "size"
    assert verdicts(full) == {
        "real-AP": ("reproduced", "size agrees"),
        "real-AP75": ("reproduced", "size agrees"),
        "real-ms": ("not testable",),
        "null-AP": ("not reproduced",),
        "worse-AP": ("not reproduced", "contradicted"),
        "once-AP": ("single run",),
        "gone-AP": ("blocked",),
        "big-AP": ("blocked",),
        "planned-AP": ("not testable",),
    }


def test_every_obstacle_has_a_reason(tiny):
    reasons = {one["id"]: one["reason"] for one in tiny["verdicts"] if one["reason"]}
    assert reasons == {
        "real-ms": "latency is not judged: see the table",
        "once-AP": "a single seed: the variance between runs is unknown",
        "gone-AP": "no finished run of gone",
        "big-AP": "protocol tiny does not run backbone X-101-64x4d",
        "planned-AP": "planned is not built",
    }


def test_numbers_are_in_the_unit_that_the_paper_prints(full):
    real = entry(full, "real-AP")
    row = np.mean([38.1, 37.9 + 0.012, 38.02 + 0.024]) / 100
    baseline = np.mean([36.1, 35.9 + 0.012, 36.02 + 0.024]) / 100
    assert real["unit"] == "fraction"
    assert real["measured"]["gain"] == pytest.approx(row - baseline)
    assert real["measured"]["relative_percent"] == pytest.approx(100 * (row / baseline - 1))
    assert real["claimed"] == {
        "gain": 0.020, "cut": 0.010, "relative_percent": pytest.approx(5.5556, abs=1e-4),
        "stated": "5.56% relative improvement",
    }  # fmt: skip
    interval = real["estimates"]["new images"]["interval"]
    assert 0.015 < interval["low"] < interval["high"] < 0.025
    assert interval["relative_percent"] == pytest.approx([100 * interval[key] / baseline for key in ("low", "high")])


def test_the_interval_of_this_benchmark_by_hand(tiny):
    """The run variance pooled over four variants of three runs, 8 degrees of freedom."""
    offsets = [np.array([0.1, -0.1 + 0.003 * n, 0.02 + 0.006 * n]) for n in (4, 4, 4, 5)]  # base real null worse
    pooled = np.mean([one.var(ddof=1) for one in offsets])
    estimate = entry(tiny, "null-AP")["estimates"]["this benchmark"]["unblocked"]
    half = stats.t.ppf(0.975, 8) * np.sqrt(pooled * 2 / 3) / 100
    assert estimate["high"] - estimate["low"] == pytest.approx(2 * half)
    assert estimate["df"] == 8
    spread = tiny["spreads"]["AP (iou)"]
    assert spread["run_sd"] == pytest.approx(np.sqrt(pooled))
    assert (spread["df"], spread["variants"], spread["pooled"]) == (8, 4, True)
    assert spread["equal_spread"] == {"test": "Bartlett", "p": pytest.approx(stats.bartlett(*offsets).pvalue)}


def two_way(runs):
    """Sum of squares between runs (m, k) that neither variants nor seeds explain."""
    runs = np.array(runs)
    fitted = runs.mean(axis=1, keepdims=True) + runs.mean(axis=0) - runs.mean()
    return float(((runs - fitted) ** 2).sum())


def test_the_interval_with_seeds_as_blocks_by_hand(tiny):
    """Four variants of three seeds leave a residual of 6 degrees of freedom, fewer than the pool may count with."""
    offsets = [np.array([0.1, -0.1 + 0.003 * n, 0.02 + 0.006 * n]) for n in (4, 4, 4, 5)]
    null = entry(tiny, "null-AP")
    found = null["estimates"]["this benchmark"]["interval"]
    residual = two_way(offsets) / 6
    assert null["terms"]["blocks"]["variants"] == 4
    assert null["terms"]["blocks"]["residual_sd"] == pytest.approx(np.sqrt(residual))
    assert null["terms"]["blocks"]["seed_correlation"] == pytest.approx(1, abs=0.01), "all share their offsets"
    assert found["df"] == 6
    half = stats.t.ppf(0.975, 6) * np.sqrt(residual * 2 / 3) / 100
    assert found["high"] - found["low"] == pytest.approx(2 * half)
    worse = entry(tiny, "worse-AP")["terms"]
    pairs = [(0, 1), (0, 2), (1, 2)]
    calm = np.mean([(offsets[a] - offsets[b]).var(ddof=1) / 2 for a, b in pairs])
    own = np.mean([(offsets[3] - offsets[a]).var(ddof=1) for a in range(3)]) - calm
    assert worse["seed"] == pytest.approx((2 * residual + own - residual) / 3 / 1e4), "what it exceeds the pool by"


def test_runs_without_common_seeds_are_independent(tiny, add_run, protocol, catalog, results, judging):
    add_run(protocol, "null", 3, 36.07)
    found = entry(judge(catalog, protocol, results, TABLES, judging, few_images), "null-AP")
    assert found["terms"]["blocks"] is None
    for estimate in found["estimates"].values():
        assert estimate["interval"] == estimate["unblocked"]
    independent = judging.model_copy(update={"analysis": "independent runs"})
    whole = judge(catalog, protocol, results, TABLES, independent, few_images)
    assert all(one["terms"]["blocks"] is None for one in whole["verdicts"] if one["terms"])


def test_the_gain_over_supported_classes_is_in_the_entry(tiny):
    """Here one AP more for every run, so the same gain; three of five classes have ten objects."""
    null, once = (entry(tiny, name) for name in ("null-AP", "once-AP"))
    supported = null["supported_classes"]
    assert (supported["classes"], supported["of"]) == (3, 5)
    assert supported["row"] == pytest.approx(null["measured"]["row"] + 0.01)
    assert supported["gain"] == pytest.approx(null["measured"]["gain"])
    assert supported["interval"]["low"] < supported["gain"] < supported["interval"]["high"]
    assert once["supported_classes"]["interval"]["low"] == pytest.approx(once["image_interval"]["low"])
    assert entry(tiny, "gone-AP")["supported_classes"] is None


def test_welch_interval_is_in_the_entry(tiny):
    entries = [entry(tiny, "worse-AP"), entry(tiny, "gone-AP"), entry(tiny, "once-AP")]
    runs = [36.0 + np.array([0.1, -0.1 + 0.003 * n, 0.02 + 0.006 * n]) for n in (4, 5)]
    theirs = stats.ttest_ind(runs[1] - 2, runs[0], equal_var=False).confidence_interval(0.95)
    assert entries[0]["welch"]["low"] == pytest.approx(theirs.low / 100)
    assert entries[0]["welch"]["high"] == pytest.approx(theirs.high / 100)
    assert entries[1]["welch"] is None
    assert entries[2]["welch"] is None


def test_a_single_run_has_an_image_interval_and_no_answer(tiny):
    once = entry(tiny, "once-AP")
    assert once["runs"] == {"row": 1, "baseline": 3}
    assert once["estimates"] == {}
    assert once["image_interval"]["low"] < once["measured"]["gain"] < once["image_interval"]["high"]


def test_holm_counts_the_primary_claims_that_can_be_measured_whether_they_have_run_or_not(full):
    """Three have a verdict, three wait for runs, one is never measured; AP75 is of the family of the others."""
    judged = [one["estimates"]["new images"] for one in full["verdicts"] if one["primary"] and one["estimates"]]
    assert len(judged) == 3
    for hypothesis in ("cut_test", "margin_test"):
        tests = sorted((one[hypothesis] for one in judged), key=lambda one: one["p"])
        p = [one["p"] for one in tests]
        stepped = [6 * p[0], max(6 * p[0], 5 * p[1]), max(6 * p[0], 5 * p[1], 4 * p[2])]
        assert [one["p_holm"] for one in tests] == pytest.approx([min(1.0, value) for value in stepped])
    levels = {round(1 - one["cut_test"]["interval"]["level"], 6) for one in judged}
    assert levels == {round(0.05 / left, 6) for left in (6, 5, 4)}
    alone = entry(full, "real-AP75")["estimates"]["new images"]["cut_test"]
    assert alone["p_holm"] == alone["p"]
    assert full["notes"][0] == "0 to 3 runs per variant, 3 registered: not all have run yet"


def test_a_claim_without_detections_is_in_the_family_of_the_verdicts(world, protocol, catalog, results, judging):
    """Its estimate for this benchmark stands for the one for new images: the level is over all verdicts together."""
    world(protocol)

    def some(run, column):
        return None if run.variant == "worse" else few_images(run, column)

    document = judge(catalog, protocol, results, TABLES, judging, some)
    whole = judge(catalog, protocol, results, TABLES, judging, few_images)
    assert entry(document, "worse-AP")["estimand"] == "this benchmark"
    assert set(entry(document, "worse-AP")["estimates"]) == {"this benchmark"}
    headlines = [
        one["estimates"][one["estimand"]]["cut_test"]
        for one in document["verdicts"]
        if one["primary"] and one["estimates"]
    ]
    p = sorted(one["p"] for one in headlines)
    assert min(one["p_holm"] for one in headlines) == pytest.approx(5 * p[0])
    others = [entry(one, "real-AP")["estimates"]["this benchmark"] for one in (document, whole)]
    assert others[0] == others[1]


def test_the_same_comparison_in_two_tables_is_one_hypothesis(world, protocol, catalog, results, judging):
    world(protocol)
    paper = copy.deepcopy(PAPER)
    twin = copy.deepcopy(paper["tables"][0]) | {"id": "boxes-T2"}
    paper["tables"].append(twin)
    paper["claims"] += [one | {"id": f"{one['id']}-2", "table": "boxes-T2"} for one in paper["claims"]]
    twice = catalog.model_copy(update={"papers": {"boxes": Paper.model_validate(paper)}})
    document = judge(twice, protocol, results, ["boxes-T1", "boxes-T2"], judging, few_images)
    once = judge(catalog, protocol, results, TABLES, judging, few_images)
    for name in ("real-AP", "null-AP", "worse-AP"):
        expected = entry(once, name)["estimates"]
        assert entry(document, name)["estimates"] == expected
        assert entry(document, f"{name}-2")["estimates"] == expected


def test_two_tests_of_the_same_trainings_are_said_to_be_paired(
    tiny, world, add_run, protocol, catalog, results, judging
):
    """``real`` becomes a test-time variant of ``base``: its runs say nothing more of how trainings vary."""
    assert not [note for note in tiny["notes"] if "same trainings" in note]
    add = {"provenance": {"weights_from": "base"}}
    for seed, ap in enumerate((38.1, 37.9, 38.02)):
        add_run(protocol, "real", seed, ap, **add)
    document = judge(catalog, protocol, results, TABLES, judging, few_images)
    paired = [note for note in document["notes"] if "same trainings" in note]
    assert len(paired) == 1
    assert paired[0].startswith("real-AP, real-AP75: both rows are tests of the same trainings")
    assert paired[0] in verdicts_table(document)
    assert (tiny["spreads"]["AP (iou)"]["df"], document["spreads"]["AP (iou)"]["df"]) == (8, 6)
    assert document["spreads"]["AP (iou)"]["variants"] == 3


def test_without_detections_only_this_benchmark_is_answered(world, protocol, catalog, results, judging):
    world(protocol)
    document = judge(catalog, protocol, results, TABLES, judging)
    real = entry(document, "real-AP")
    assert list(real["estimates"]) == ["this benchmark"]
    assert real["estimand"] == "this benchmark"
    assert real["image_interval"] is None
    assert real["verdict"] == "gain"


def test_two_runs_are_too_few_for_a_verdict_but_have_numbers(add_run, protocol, catalog, results, judging):
    for variant in ("base", "real"):
        for seed in range(2):
            add_run(protocol, variant, seed, 36.0 + seed + len(variant) / 7 + 0.01 * seed * (variant == "real"))
    real = entry(judge(catalog, protocol, results, TABLES, judging), "real-AP")
    assert (real["verdict"], real["reason"]) == ("blocked", "too few runs: 2 per variant, at least 3 are needed")
    assert real["estimates"] == {}
    assert real["welch"] is not None


def test_a_baseline_that_learned_nothing_bars_its_claims(add_run, protocol, catalog, results, judging):
    for seed in range(3):
        add_run(protocol, "base", seed, 1.0 + seed)
        add_run(protocol, "real", seed, 30.0 + seed / 3)
    real = entry(judge(catalog, protocol, results, TABLES, judging), "real-AP")
    assert real["verdict"] == "blocked"
    assert real["reason"] == "baseline failed: AP (iou) 2.0, at least 5 is needed"


def test_at_the_papers_scale_a_baseline_far_below_the_published_one_bars_too(
    add_run, paper_protocol, protocol, catalog, results, judging
):
    for one in (paper_protocol, protocol):
        for seed in range(3):
            add_run(one, "base", seed, 33.5 + seed / 10)
            add_run(one, "real", seed, 36.0 + seed / 7)
    barred = entry(judge(catalog, paper_protocol, results, TABLES, judging), "real-AP")
    assert barred["reason"] == "baseline failed: AP (iou) 2.4 below the published one, at most 2 is allowed"
    assert entry(judge(catalog, protocol, results, TABLES, judging), "real-AP")["verdict"] == "gain"


def test_copies_of_one_run_are_no_seeds(add_run, protocol, catalog, results, judging):
    for seed in range(3):
        add_run(protocol, "base", seed, 36.0)
        add_run(protocol, "real", seed, 38.0 + seed / 10)
    real = entry(judge(catalog, protocol, results, TABLES, judging), "real-AP")
    assert real["reason"] == "seeds 0 and 1 of base have the same numbers: copies of one run"


def test_three_runs_that_found_nothing_are_a_loss_and_no_copies(tiny, add_run, protocol, catalog, results, judging):
    zeros = dict.fromkeys(("AP", "AP50", "AP75", "APs", "APm", "APl"), 0.0)
    for seed in range(3):
        add_run(protocol, "gone", seed, 0.0, metrics={"metrics": zeros, "giou_metrics": zeros})
    document = judge(catalog, protocol, results, TABLES, judging)
    assert entry(document, "gone-AP")["verdict"] == "loss"
    assert document["spreads"]["AP (iou)"]["left_out"] == ["gone"]


@pytest.mark.parametrize("values", [(36.0, 36.0, 36.001), (1.0, 1.01, 1.02)], ids=["copies", "collapsed"])
def test_runs_that_are_no_sample_narrow_nobodys_interval(values, tiny, add_run, protocol, catalog, results, judging):
    """Two copies of a run, or a detector that learned nothing, among four healthy variants."""
    for seed, value in enumerate(values):
        add_run(protocol, "gone", seed, value)
    document = judge(catalog, protocol, results, TABLES, judging, few_images)
    for metric, before in tiny["spreads"].items():
        assert document["spreads"][metric] == before | {"left_out": ["gone"]}
        assert before["left_out"] == []
    for name in ("real-AP", "null-AP", "worse-AP"):
        for estimand in ("new images", "this benchmark"):
            now, before = (entry(one, name)["estimates"][estimand]["interval"] for one in (document, tiny))
            assert now == before
    own = entry(document, "gone-AP")["terms"]
    assert not own["unblocked"]["pooled"], "the spread of others does not stand for its own"
    assert own["unblocked"]["seed"] == pytest.approx(sum(own["run_variance"].values()) / 3)
    base = np.array([36.1, 35.9 + 0.012, 36.02 + 0.024])
    assert own["blocks"]["variants"] == 2
    assert own["seed"] == pytest.approx((np.array(values) - base).var(ddof=1) / 3 / 1e4)


def with_ap75(add_run, protocol, variant, seed, ap, ap75):
    """A run whose AP75 does not follow from its AP."""
    values = {"AP": ap, "AP50": ap + 20, "AP75": ap75, "APs": ap / 2, "APm": ap, "APl": ap + 10}
    add_run(protocol, variant, seed, ap, metrics={"metrics": values, "giou_metrics": values})


def test_the_floor_is_of_ap_whatever_the_claim_is_of(add_run, protocol, catalog, results, judging):
    for seed in range(3):
        with_ap75(add_run, protocol, "base", seed, 12.0 + seed / 10, 4.0 + seed / 10)
        with_ap75(add_run, protocol, "real", seed, 14.0 + seed / 9, 8.0 + seed / 9)
        with_ap75(add_run, protocol, "null", seed, 4.0 + seed / 10, 6.0 + seed / 10)
    document = judge(catalog, protocol, results, TABLES, judging)
    assert entry(document, "real-AP75")["verdict"] == "gain"
    assert document["spreads"]["AP75 (iou)"]["left_out"] == ["null"]


def test_the_shortfall_is_of_ap_whatever_the_claim_is_of(add_run, paper_protocol, catalog, results, judging):
    """Published are AP 36 and AP75 38."""
    for seed in range(3):
        with_ap75(add_run, paper_protocol, "base", seed, 35.5 + seed / 10, 33.0 + seed / 10)
        with_ap75(add_run, paper_protocol, "real", seed, 37.5 + seed / 9, 35.0 + seed / 9)
    assert entry(judge(catalog, paper_protocol, results, TABLES, judging), "real-AP75")["verdict"] == "reproduced"
    for seed in range(3):
        with_ap75(add_run, paper_protocol, "base", seed, 33.0 + seed / 10, 38.0 + seed / 10)
    barred = entry(judge(catalog, paper_protocol, results, TABLES, judging), "real-AP75")
    assert barred["reason"] == "baseline failed: AP (iou) 2.9 below the published one, at most 2 is allowed"


def test_a_baseline_is_not_held_against_the_images_of_a_test_server(add_run, paper_protocol, catalog, results, judging):
    for seed in range(3):
        add_run(paper_protocol, "base", seed, 33.5 + seed / 10)
        add_run(paper_protocol, "real", seed, 36.0 + seed / 7)
    paper = copy.deepcopy(PAPER)
    paper["tables"][0]["test_server"] = True
    hidden = catalog.model_copy(update={"papers": {"boxes": Paper.model_validate(paper)}})
    assert entry(judge(catalog, paper_protocol, results, TABLES, judging), "real-AP")["verdict"] == "blocked"
    assert entry(judge(hidden, paper_protocol, results, TABLES, judging), "real-AP")["verdict"] == "reproduced"


def test_proposals_have_no_ap_and_are_held_to_their_recall(tmp_path):
    made = Provenance(config_hash="c", data_hash="d", fingerprint="f")

    def run(iou, giou):
        measured = Metrics(protocol="tiny", variant="rpn", seed=0, metrics=iou, giou_metrics=giou)
        return FinishedRun("rpn", 0, RunFiles(tmp_path), measured, made)

    recall = Column(id="AR100", head="AR100", metric="AR100", criterion="iou", unit="percent")
    assert detection_quality(recall, [run({"AP": None, "AR100": one}, {}) for one in (40.0, 42.0)]) == ("AR100", 41.0)
    strict = Column(id="AP75", head="AP75", metric="AP75", criterion="giou", unit="percent")
    assert detection_quality(strict, [run({"AP": 30.0, "AP75": 31.0}, {"AP": 20.0, "AP75": 21.0})]) == ("AP", 20.0)


def test_unequal_spreads_are_not_pooled(add_run, protocol, catalog, results, judging):
    for variant, sd in {"base": 0.01, "real": 0.02, "null": 3.0}.items():
        for seed, offset in enumerate((-1.0, 0.1, 0.9)):
            add_run(protocol, variant, seed, 36.0 + len(variant) / 100 + sd * offset)
    independent = judging.model_copy(update={"analysis": "independent runs"})
    document = judge(catalog, protocol, results, TABLES, independent)
    assert not document["spreads"]["AP (iou)"]["pooled"]
    real = entry(document, "real-AP")
    assert real["terms"]["unblocked"]["pooled"] is False
    own = sum(real["terms"]["run_variance"].values()) / 3
    assert real["terms"]["seed"] == pytest.approx(own)
    estimate = real["estimates"]["this benchmark"]["interval"]
    assert estimate["df"] == real["welch"]["df"] < 4
    assert (estimate["low"], estimate["high"]) == pytest.approx((real["welch"]["low"], real["welch"]["high"]))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"provenance": {"data_hash": "other"}}, "data_hash differs"),
        ({"provenance": {"fingerprint": "other"}}, "different code"),
        ({"provenance": {"config_hash": "other"}}, "different configurations"),
        ({"provenance": {"protocol": "mini"}}, "another run's result"),
        ({"provenance": {"seed": 0}}, "another run's result"),
        ({"metrics": {"images": 19}}, "different image sets"),
        ({"metrics": {"objects": 59}}, "different image sets"),
        ({"metrics": {"protocol": "mini"}}, "must not be mixed"),
        ({"metrics": {"criterion": "giou"}}, "evaluated in two ways"),
        ({"metrics": {"evaluator": "another"}}, "evaluated in two ways"),
        ({"metrics": {"area_ranges": {"small": [0, 9]}}}, "area_ranges"),
    ],
)
def test_what_does_not_belong_together_is_refused(changes, words, world, add_run, protocol, catalog, results, judging):
    world(protocol)
    add_run(protocol, "real", 2, 38.5, **changes)
    with pytest.raises(ResultError, match=words) as error:
        judge(catalog, protocol, results, TABLES, judging)
    assert "real/seed2" in str(error.value)
    assert "\n" not in str(error.value)


def trained_by(own, variant):
    """What the provenance of a GIoU run says of its code and settings: this checkout's, or others."""
    record = load_catalog().variants[variant]
    return {"provenance": {"training_fingerprint": training_fingerprint(record, own) if own else "elsewhere"}}


def test_runs_of_an_edited_protocol_are_refused_with_those_of_this_one(add_run, results, judging):
    """Code and data agree, and each variant with itself; but the settings were edited between two variants."""
    catalog, mini = load_catalog(), load_protocol("mini")
    for variant, own in (("faster_rcnn_R50_smooth_l1", mini), ("faster_rcnn_R50_iou", mini)):
        for seed in range(3):
            add_run(mini, variant, seed, 40 + seed / 10, **trained_by(own, variant))
    assert not any("settings" in note for note in judge(catalog, mini, results, ["giou-T5"], judging)["notes"])
    add_run(mini, "faster_rcnn_R50_giou", 0, 41.0, **trained_by(None, "faster_rcnn_R50_giou"))
    with pytest.raises(ResultError, match=r"giou/seed0/provenance.json: training_fingerprint: .* train it again"):
        judge(catalog, mini, results, ["giou-T5"], judging)


def test_runs_of_an_older_checkout_are_judged_and_said_to_be(add_run, results, judging):
    catalog, mini = load_catalog(), load_protocol("mini")
    for variant in ("faster_rcnn_R50_smooth_l1", "faster_rcnn_R50_iou"):
        add_run(mini, variant, 0, 40.0, **trained_by(None, variant))
    notes = judge(catalog, mini, results, ["giou-T5"], judging)["notes"]
    assert notes[0].startswith("all runs were trained by other code, or under other settings of protocol mini")


def test_a_table_of_another_benchmark_is_refused(paper_protocol, results, judging):
    with pytest.raises(ConfigError, match="voc2007"):
        judge(load_catalog(), paper_protocol, results, ["giou-T4"], judging)


def test_published_numbers_against_the_prediction_of_our_runs(full, tiny):
    assert tiny["numbers"] == []
    found = {(one["row"], one["column"]): one for one in full["numbers"]}
    assert set(found) == {
        (row, column) for row in ("base", "real", "null", "worse", "once") for column in ("AP", "AP75")
    }
    base = found["base", "AP"]
    assert base["reproduced"]
    assert not found["worse", "AP"]["reproduced"]
    sd = full["spreads"]["AP (iou)"]["run_sd"] / 100
    half = stats.t.ppf(0.975, 8) * sd * np.sqrt(1 + 1 / 3) + 0.0005
    assert base["high"] - base["mean"] == pytest.approx(half)
    single = found["once", "AP"]
    assert single["high"] - single["mean"] == pytest.approx(stats.t.ppf(0.975, 8) * sd * np.sqrt(2) + 0.0005)


def test_copies_of_one_run_reproduce_no_number(add_run, paper_protocol, catalog, results, judging):
    for seed in range(3):
        add_run(paper_protocol, "base", seed, 36.0)
        add_run(paper_protocol, "real", seed, 38.0 + seed / 10)
    found = {one["row"] for one in judge(catalog, paper_protocol, results, TABLES, judging)["numbers"]}
    assert found == {"real"}


def test_a_metric_that_no_seed_moves_is_judged(add_run, protocol, catalog, results, judging):
    """AP75 is the same in all runs of a side, though the runs differ: no variance, not even what rounding leaves."""
    for variant, ap75 in (("base", 40.0), ("real", 40.2)):
        for seed in range(3):
            values = {"AP": 36.0 + seed / 10, "AP50": 60.0, "AP75": ap75, "APs": 20.0, "APm": 40.0, "APl": 50.0}
            add_run(protocol, variant, seed, 36.0, metrics={"metrics": values, "giou_metrics": values})
    document = judge(catalog, protocol, results, TABLES, judging)
    json.dumps(document, allow_nan=False)
    assert entry(document, "real-AP75")["verdict"] == "gain"


def test_variants_with_the_same_numbers_in_another_order_are_judged(add_run, protocol, catalog, results, judging):
    values = np.array([37.02, 38.18, 35.97])
    for places, variant in enumerate(("base", "real", "null")):
        for seed, ap in enumerate(np.roll(values, places)):
            add_run(protocol, variant, seed, ap)
    document = judge(catalog, protocol, results, TABLES, judging)
    json.dumps(document, allow_nan=False)
    assert document["spreads"]["AP (iou)"]["pooled"]
    assert entry(document, "real-AP")["verdict"] == "inconclusive"


def test_the_spread_of_runs_is_of_one_schedule(add_run, protocol, catalog, results, judging):
    """A detector of another schedule varies ten times as much: its runs say nothing of the others'."""
    schedules = {"iterations": 300, "batch": 8, "lr": 0.001}, {"iterations": 200, "batch": 8, "lr": 0.001}
    for variant, sd, made in (("base", 0.1, 0), ("real", 0.1, 0), ("null", 1.0, 1), ("worse", 1.0, 1)):
        for seed, offset in enumerate((-1.0, 0.3, 0.9)):
            ap = 36.0 + 2 * (variant == "real") + sd * (offset + 0.001 * seed * len(variant))
            add_run(protocol, variant, seed, ap, provenance=schedules[made])
    document = judge(catalog, protocol, results, TABLES, judging.model_copy(update={"analysis": "independent runs"}))
    names = [f"AP (iou), {number} iterations of 8 images at rate 0.001" for number in (300, 200)]
    spreads = [document["spreads"][name] for name in names]
    assert [one["variants"] for one in spreads] == [2, 2]
    assert spreads[1]["run_sd"] == pytest.approx(10 * spreads[0]["run_sd"], rel=0.01)
    assert entry(document, "real-AP")["terms"]["unblocked"]["pooled"]
    across = entry(document, "null-AP")
    assert not across["terms"]["unblocked"]["pooled"]
    assert across["estimates"]["this benchmark"]["interval"]["df"] == across["welch"]["df"]


def test_numbers_of_a_test_server_are_of_other_images(world, paper_protocol, catalog, results, judging):
    world(paper_protocol)
    paper = copy.deepcopy(PAPER)
    paper["tables"][0]["test_server"] = True
    hidden = catalog.model_copy(update={"papers": {"boxes": Paper.model_validate(paper)}})
    assert judge(hidden, paper_protocol, results, TABLES, judging)["numbers"] == []


def test_the_plan_s_hashes_change_with_all_that_was_registered_and_nothing_else(catalog, protocol, judging, tiny):
    plan = plan_hashes(catalog, protocol, judging, TABLES)
    assert tiny["plan"] == plan
    assert list(plan["papers"]) == ["boxes"]
    papers = [copy.deepcopy(PAPER) for _ in range(5)]
    papers[0]["claims"][0]["gain"] = 0.021
    papers[1]["tables"][0]["columns"][0]["metric"] = "AP50"
    papers[2]["tables"][0]["columns"][0]["criterion"] = "giou"
    papers[3]["tables"][0]["rows"][1]["variant"] = "worse"
    papers[4]["tables"][0]["rows"][0]["published"]["AP"] = 0.361
    of_paper = [
        *((with_papers(catalog, paper), protocol, judging) for paper in papers),
        (catalog, protocol.model_copy(update={"tables": ("boxes-T2",)}), judging),
    ]
    of_protocol = [
        (catalog, protocol.model_copy(update={"seeds": 5}), judging),
        (catalog, protocol, judging.model_copy(update={"analysis": "independent runs"})),
        (catalog, protocol, judging.model_copy(update={"plan": ("other words",)})),
        (catalog, protocol, judging.model_copy(update={"alpha": 0.1})),
        (catalog, protocol, judging.model_copy(update={"cut": 0.4})),
        (catalog, protocol, judging.model_copy(update={"estimand": "this benchmark"})),
    ]
    for changed, kept, others in (("papers", "protocol", of_paper), ("protocol", "papers", of_protocol)):
        hashes = [plan_hashes(*one, TABLES) for one in others]
        assert len({str(one[changed]) for one in [plan, *hashes]}) == len(others) + 1
        assert all(one[kept] == plan[kept] for one in hashes)
    reworded = protocol.model_copy(update={"title": "other words", "workers": 7})
    assert plan_hashes(catalog, reworded, judging, TABLES) == plan


def with_papers(catalog, *papers):
    """The catalog with other papers."""
    return catalog.model_copy(update={"papers": {paper["id"]: Paper.model_validate(paper) for paper in papers}})


def test_a_further_paper_changes_nothing_of_the_others(catalog, protocol, judging):
    more = with_papers(catalog, PAPER, renamed_paper("boxes_v2"))
    wider = protocol.model_copy(update={"tables": ("boxes-T1", "boxes_v2-T1")})
    plan = plan_hashes(catalog, protocol, judging, TABLES)
    assert plan_hashes(more, wider, judging, TABLES) == plan
    both = plan_hashes(more, wider, judging, ["boxes-T1", "boxes_v2-T1"])
    assert both["protocol"] == plan["protocol"]
    assert both["papers"]["boxes"] == plan["papers"]["boxes"] != both["papers"]["boxes_v2"]


def test_withdrawn_verdicts_keep_their_numbers_and_nobody_else_s_change(tiny, catalog, protocol, results, judging):
    reason = "the runs started from the wrong weights"
    entry_of = {"claims": ["worse-AP", "planned-AP"], "reason": f"  {reason}\n"}
    withdrawing = protocol.model_validate(protocol.model_dump() | {"withdrawn": [entry_of]})
    document = judge(catalog, withdrawing, results, TABLES, judging, few_images)
    assert document["plan"] == tiny["plan"]
    for before, after in zip(tiny["verdicts"], document["verdicts"], strict=True):
        if after["id"] == "worse-AP":
            assert after == before | {"verdict": "withdrawn", "qualifiers": [], "reason": reason}
        else:
            assert after == before, "also what is not testable anyway"
    text = " ".join(verdicts_table(document).split())
    assert "1 withdrawn" in text
    assert "loss" not in text


@pytest.mark.parametrize(
    ("claims", "words"),
    [(["worse-AP", "wrong-AP"], "claim 'wrong-AP' is unknown"), (["worse-AP", "worse-AP"], "is listed twice")],
)
def test_a_withdrawal_of_no_claim_or_of_one_twice_is_refused(claims, words, catalog, protocol, results, judging):
    wrong = protocol.model_validate(protocol.model_dump() | {"withdrawn": [{"claims": claims, "reason": "r"}]})
    with pytest.raises(ConfigError, match=f"protocol tiny: withdrawn: .*{words}"):
        judge(catalog, wrong, results, TABLES, judging)


def test_a_metric_that_the_file_does_not_have_blocks_its_claims_alone(
    world, add_run, protocol, catalog, results, judging
):
    world(protocol)
    values = {"AP": 38.2, "AP50": 58.0, "AP75": None, "APs": 20.0, "APm": 40.0, "APl": 50.0}
    folder = add_run(protocol, "real", 0, 38.2, metrics={"metrics": values, "giou_metrics": values})
    document = judge(catalog, protocol, results, TABLES, judging, few_images)
    json.dumps(document, allow_nan=False)
    missing = entry(document, "real-AP75")
    assert (missing["verdict"], missing["measured"]) == ("blocked", None)
    assert missing["reason"] == f"no number for AP75 (iou) in {folder / 'metrics.json'}"
    assert entry(document, "real-AP")["verdict"] == "gain"


def test_more_seeds_than_registered_are_noted(tiny, world, protocol, catalog, results, judging):
    assert tiny["notes"][0] == "0 to 3 runs per variant, 3 registered: not all have run yet"
    fewer = protocol.model_copy(update={"seeds": 1})
    note = judge(catalog, fewer, results, TABLES, judging)["notes"][0]
    assert note.startswith("0 to 3 runs per variant, 1 registered: seeds added after looking at the results make false")


def test_other_tables_than_the_registered_ones_are_noted(world, protocol, catalog, results, judging):
    world(protocol)
    wider = protocol.model_copy(update={"tables": ("boxes-T1", "boxes-T2")})
    notes = judge(catalog, wider, results, TABLES, judging)["notes"]
    assert any(note.startswith("judged on boxes-T1; registered were boxes-T1, boxes-T2") for note in notes)


def test_runs_whose_claims_cannot_be_measured_are_judged_all_the_same(world, protocol, catalog, results, judging):
    world(protocol)
    paper = copy.deepcopy(PAPER)
    paper["claims"] = [one for one in paper["claims"] if one["id"] in ("real-ms", "planned-AP")]
    few = catalog.model_copy(update={"papers": {"boxes": Paper.model_validate(paper)}})
    document = judge(few, protocol, results, TABLES, judging, few_images)
    assert {one["verdict"] for one in document["verdicts"]} == {"not testable"}
    assert document["notes"] == []


def test_rare_classes_are_noted(tiny, world, protocol, catalog, results, judging):
    assert tiny["notes"][1].startswith("2 classes have fewer than ten objects")
    without = judge(catalog, protocol, results, TABLES, judging, lambda run, column: None)
    assert [note.split(": ")[-1][:8] for note in without["notes"]] == ["not all ", "judged f"]


def test_the_file_names_its_runs_and_is_the_same_each_time(world, protocol, catalog, results, judging):
    world(protocol)
    write_verdicts(catalog, protocol, results, TABLES, judging)
    path = Layout(results, protocol.name).verdicts
    before = path.read_bytes()
    document = read_json(path, "verdicts/4")
    run = document["runs"][0]
    metrics = results / "tiny" / "runs" / run["variant"] / f"seed{run['seed']}" / "metrics.json"
    assert run["metrics_sha256"] == sha256_file(metrics)
    assert len(document["runs"]) == 13
    write_verdicts(catalog, protocol, results, TABLES, judging)
    assert path.read_bytes() == before
    assert "NaN" not in before.decode()
    assert "Infinity" not in before.decode()


KEYS = {
    "id", "paper", "table", "row", "baseline", "backbone", "column", "unit", "primary", "claimed", "verdict",
    "qualifiers", "reason", "estimand", "runs", "measured", "image_interval",
    "supported_classes", "estimates", "terms", "welch",
}  # fmt: skip
ESTIMATE_KEYS = {
    "verdict", "qualifiers", "interval", "cut_test", "margin_test", "variance", "minimum_detectable_gain",
    "expected_gain", "power", "seeds_needed", "images_needed", "unblocked",
}  # fmt: skip


def test_every_entry_has_the_same_fields(full, tiny):
    for document in (full, tiny):
        json.dumps(document, allow_nan=False)
        for one in document["verdicts"]:
            assert set(one) == KEYS
            assert one["verdict"]
            assert (one["estimand"] is None) == bool(one["reason"])
            for estimate in one["estimates"].values():
                assert set(estimate) == ESTIMATE_KEYS


def test_the_minimum_detectable_gain_agrees_with_the_interval(full):
    """The smallest gain lies above the cut by more than the interval's half width, and its power is the wanted one."""
    estimate = entry(full, "null-AP")["estimates"]["new images"]
    tested = estimate["cut_test"]["interval"]
    half = (tested["high"] - tested["low"]) / 2
    assert 1.2 * half < estimate["minimum_detectable_gain"] - 0.010 < 1.7 * half
    assert estimate["power"] > 0.99
    assert estimate["seeds_needed"] == 3
    assert estimate["expected_gain"] == 0.020


@pytest.mark.parametrize(
    ("seeds", "images", "text"),
    [
        (7, None, "7 seeds"),
        (None, 1200, "1,200 images"),
        (7, 1200, "7 seeds or 1,200 images"),
        (None, None, "neither alone"),
    ],
)
def test_seeds_or_images_that_a_claim_needs_are_shown(seeds, images, text, tiny):
    assert needed_text({"seeds_needed": seeds, "images_needed": images}) == text
    document = copy.deepcopy(tiny)
    entry(document, "real-AP")["estimates"]["new images"] |= {"seeds_needed": seeds, "images_needed": images}
    table = " ".join(verdicts_table(document).split())
    lines = table[table.index("real over base") : table.index("null over base")]
    assert all(word in lines for word in text.split())


def test_only_the_estimate_for_new_images_says_how_many_images_are_needed(world, protocol, catalog, results, judging):
    """A claim too small for a thousand runs on these images, and for a thousand times the images with these runs."""
    world(protocol)
    faint = copy.deepcopy(PAPER)
    for one in faint["claims"]:
        one["gain"] = 1e-8
    small = catalog.model_copy(update={"papers": {"boxes": Paper.model_validate(faint)}})
    document = judge(small, protocol, results, TABLES, judging, few_images)
    real, worse = (entry(document, name)["estimates"] for name in ("real-AP", "worse-AP"))
    estimates = [side[estimand] for side in (real, worse) for estimand in ("this benchmark", "new images")]
    assert [one["seeds_needed"] for one in estimates] == [None] * 4
    assert [one["images_needed"] for one in estimates] == [None] * 4
    for one in faint["claims"]:
        one["gain"] = 0.001
    small = catalog.model_copy(update={"papers": {"boxes": Paper.model_validate(faint)}})
    document = judge(small, protocol, results, TABLES, judging, few_images)
    worse = entry(document, "worse-AP")["estimates"]
    assert worse["this benchmark"]["images_needed"] is None
    assert worse["new images"]["images_needed"] > 20, "the images that there are"


def test_a_small_protocol_expects_the_same_share_of_its_own_baseline(tiny):
    real = entry(tiny, "real-AP")
    assert real["estimates"]["new images"]["expected_gain"] == pytest.approx(
        0.020 / 0.360 * real["measured"]["baseline"]
    )


def test_the_table_for_the_terminal_has_a_line_a_primary_claim(tiny):
    text = verdicts_table(tiny)
    assert "another claim than the paper's" in text
    assert text.count(" over base") == 5
    assert "primary claims: 1 gain, 1 no gain of practical size, 1 loss, 1 single run, 1 blocked, 2 not testable" in (
        " ".join(text.split())
    )
    assert tiny["plan"]["protocol"][:12] in text
    assert f"boxes {tiny['plan']['papers']['boxes'][:12]}" in text


@pytest.mark.parametrize(
    ("tables", "papers"),
    [
        (["giou-T5", "fsaf-T1", "libra-T1", "giou-T7"], ["giou", "fsaf", "libra_rcnn"]),
        (["libra-T2", "fsaf-T1", "libra-T1"], ["libra_rcnn", "fsaf"]),
    ],
)
def test_claims_come_in_the_order_of_the_tables_and_paper_by_paper(tables, papers):
    asked = questions(load_catalog(), tables)
    assert list(dict.fromkeys(one.paper.id for one in asked)) == papers
    of_first = [one.table.id for one in asked if one.paper.id == papers[0]]
    assert of_first == sorted(of_first, key=tables.index)


@pytest.mark.parametrize("name", ["mini", "paper", "paper_voc", "smoke", "custom"])
def test_every_shipped_protocol_can_be_judged_before_it_has_runs(name, results, judging):
    protocol = load_protocol(name)
    document = judge(load_catalog(), protocol, results, list(protocol.tables), judging)
    assert {one["verdict"] for one in document["verdicts"]} <= {"blocked", "not testable", "withdrawn"}
    assert document["verdicts"]
    assert verdicts_table(document)
