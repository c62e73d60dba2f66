"""Controls decide on whether a protocol is fit to judge; claims that it cannot test; halves of one variant's seeds."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
from support.verdict_papers import PAPER, few_images

from replication.catalog import Paper, Variant
from replication.errors import ConfigError
from replication.verdicts import judge, verdicts_table
from replication.verdicts.controls import control_questions
from replication.verdicts.halves import halves, halves_text, judge_halves
from replication.verdicts.registered import plan_hashes

CONTROLS = {"same": "equal", "broken": "loss"}
TABLE = "boxes-controls"
OFFSETS = (0.1, -0.1, 0.02)


@pytest.fixture
def controlled(catalog):
    """The catalog with two controls in a table beyond the paper."""
    table = copy.deepcopy(PAPER["tables"][0]) | {
        "id": TABLE,
        "beyond": True,
        "columns": PAPER["tables"][0]["columns"][:2],
    }
    first = {"id": "base", "label": "base", "backbone": "R-50", "variant": "base"}
    rows = [first | {"id": name, "label": name, "variant": name, "control": kind} for name, kind in CONTROLS.items()]
    table["rows"] = [first, *rows]
    paper = Paper.model_validate(PAPER | {"tables": [*PAPER["tables"], table]})
    known = catalog.variants["base"]
    more = {name: known.model_copy(update={"name": name}) for name in CONTROLS} if isinstance(known, Variant) else {}
    return catalog.model_copy(update={"papers": {"boxes": paper}, "variants": catalog.variants | more})


@pytest.fixture
def judged(world, protocol, controlled, results, judging, add_run):
    """Judges with the controls at these AP; those without a number have not run."""
    planned = protocol.model_copy(update={"tables": ("boxes-T1", TABLE)})

    def make(**values):
        world(planned)
        for name, ap in values.items():
            for seed, offset in enumerate(OFFSETS):
                add_run(planned, name, seed, ap + offset + 0.004 * len(name) * seed)
        return judge(controlled, planned, results, ["boxes-T1"], judging, few_images)

    return make


def words(document):
    return {one["id"]: one["verdict"] for one in document["verdicts"]}


def outcomes(document):
    return {one["row"]["id"]: (one["verdict"], one["passed"]) for one in document["controls"]["entries"]}


def test_a_protocol_whose_controls_come_out_gives_its_verdicts(judged):
    document = judged(same=36.0, broken=30.0)
    assert document["controls"]["state"] == "passed"
    assert outcomes(document) == {"same": ("no gain of practical size", True), "broken": ("loss", True)}
    assert words(document)["worse-AP"] == "loss"
    assert not [note for note in document["notes"] if note.startswith("controls")]
    text = " ".join(verdicts_table(document).split())
    assert "controls: passed" in text
    for one in document["controls"]["entries"]:
        tests = one["estimates"]["new images"]["cut_test"]
        assert tests["p_holm"] in (pytest.approx(tests["p"]), pytest.approx(2 * tests["p"])), "a family of two"


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"same": 36.0, "broken": 36.0}, "broken: loss expected, no gain of practical size found"),
        ({"same": 38.0, "broken": 30.0}, "same: no gain or loss expected, gain found"),
        ({"same": 34.0}, "same: no gain or loss expected, loss found"),
    ],
)
def test_all_verdicts_are_withheld_where_a_control_does_not_come_out(values, found, judged):
    document = judged(**values)
    assert document["controls"]["state"] == "not fit to judge"
    assert found in document["controls"]["reason"]
    kept = {"withheld", "single run", "blocked", "not testable"}
    assert set(words(document).values()) == kept
    for one in document["verdicts"]:
        if one["verdict"] == "withheld":
            assert found in one["reason"]
            assert one["qualifiers"] == []
            assert one["measured"]["gain"] is not None
            assert {(every["verdict"], *every["qualifiers"]) for every in one["estimates"].values()} == {("withheld",)}
            assert all(every["interval"]["low"] < every["interval"]["high"] for every in one["estimates"].values())
    assert "loss" not in {one["verdict"] for one in document["verdicts"]}


def test_controls_that_have_not_run_are_noted_and_withhold_nothing(judged):
    document = judged(same=36.0)
    assert document["controls"]["state"] == "not run yet"
    assert "controls not run yet: broken, no finished run of broken" in document["notes"]
    assert words(document)["worse-AP"] == "loss"


def test_a_protocol_without_controls_says_so(world, protocol, catalog, results, judging):
    world(protocol)
    document = judge(catalog, protocol, results, ["boxes-T1"], judging, few_images)
    assert document["controls"] == {"state": "none planned", "reason": "the protocol has no controls", "entries": []}
    assert "controls: none planned" in verdicts_table(document)


def test_controls_are_in_nobody_s_spread(judged, world, protocol, catalog, results, judging):
    with_them = judged(same=36.0, broken=30.0)
    without = judge(catalog, protocol, results, ["boxes-T1"], judging, few_images)
    assert with_them["spreads"] == without["spreads"]
    for one, other in zip(with_them["verdicts"], without["verdicts"], strict=True):
        assert one["estimates"] == other["estimates"]


@pytest.mark.parametrize("named", [{"claims": ["worse-AP", "null-AP"]}, {"tables": ["boxes-T1"]}])
def test_what_a_protocol_cannot_test_is_not_judged_and_in_no_family(named, world, protocol, catalog, results, judging):
    world(protocol)
    reason = "no object is large enough"
    excluding = protocol.model_validate(protocol.model_dump() | {"not_testable": [named | {"reason": f" {reason}\n"}]})
    document = judge(catalog, excluding, results, ["boxes-T1"], judging, few_images)
    worse = next(one for one in document["verdicts"] if one["id"] == "worse-AP")
    assert (worse["verdict"], worse["reason"]) == ("not testable here", reason)
    assert (worse["estimates"], worse["measured"]) == ({}, None)
    if "claims" in named:
        real = next(one for one in document["verdicts"] if one["id"] == "real-AP")["estimates"]["new images"]
        left = 3  # real, once and gone
        assert real["cut_test"]["p_holm"] == pytest.approx(min(1.0, left * real["cut_test"]["p"]))
    plans = [plan_hashes(catalog, one, judging, ["boxes-T1"]) for one in (protocol, excluding)]
    assert plans[0]["papers"] != plans[1]["papers"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"not_testable": [{"claims": ["nothing"], "reason": "r"}]}, "not_testable: claim 'nothing' is unknown"),
        ({"not_testable": [{"tables": ["nothing"], "reason": "r"}]}, "not_testable: table 'nothing' is unknown"),
        (
            {"not_testable": [{"claims": ["worse-AP"], "tables": ["boxes-T1"], "reason": "r"}]},
            "'worse-AP' is listed twice",
        ),
        (
            {
                "not_testable": [{"claims": ["worse-AP"], "reason": "r"}],
                "withdrawn": [{"claims": ["worse-AP"], "reason": "r"}],
            },
            "'worse-AP' is withdrawn, too",
        ),
    ],
)
def test_exclusions_that_make_no_sense_are_refused(keys, message, protocol, catalog, results, judging):
    wrong = protocol.model_validate(protocol.model_dump() | keys)
    with pytest.raises(ConfigError, match=message):
        judge(catalog, wrong, results, ["boxes-T1"], judging)


@pytest.mark.parametrize(("count", "ways"), [(4, 3), (5, 10), (6, 10), (7, 35), (10, 126)])
def test_every_way_to_halve_the_seeds_comes_once(count, ways):
    found = [frozenset((frozenset(one), frozenset(set(range(count)) - set(one)))) for one in halves(count)]
    assert len(found) == len(set(found)) == ways
    expected = {
        frozenset((frozenset(one), frozenset(set(range(count)) - set(one))))
        for one in itertools.combinations(range(count), count // 2)
    }
    assert set(found) == expected


def test_halves_of_one_variant_are_seldom_told_apart_and_two_clusters_of_seeds_are(
    add_run, protocol, catalog, results, judging, rng
):
    for variant in ("base", "real", "null"):
        for seed, offset in enumerate(rng.normal(0, 0.3, 5)):
            add_run(protocol, variant, seed, 36.0 + offset + 0.001 * len(variant))
    counted = judge(catalog, protocol, results, ["boxes-T1"], judging)["halves"]
    assert counted["splits"] == 3 * 10
    assert counted["firm"] <= 3
    for seed, value in enumerate((30.0, 30.1, 40.0, 40.1, 40.2)):
        add_run(protocol, "null", seed, value)
    apart = judge(catalog, protocol, results, ["boxes-T1"], judging)["halves"]
    assert apart["variants"]["null"]["firm"] >= 1


@pytest.mark.parametrize("seeds", [4, 5])
def test_of_all_splits_of_all_worlds_at_most_5_percent_give_a_false_verdict(made, catalog, judging, seeds, rng):
    """Three variants of equal spread."""
    column = catalog.papers["boxes"].tables[0].columns[0]
    shares = []
    for values in rng.normal(30, 0.5, (200, 3, seeds)):
        runs = {
            name: [made(name, seed, 400, value) for seed, value in enumerate(own)]
            for name, own in zip("abc", values, strict=True)
        }
        found = judge_halves([column], runs, judging, lambda run, column: None)
        assert found["splits"] == 3 * {4: 3, 5: 10}[seeds]
        shares.append(found["firm"] / found["splits"])
    assert 0.02 < np.mean(shares) < 0.05 + 3 * np.std(shares) / np.sqrt(len(shares))
    assert max(shares) < 0.3


def test_the_count_of_halves_is_shown_with_its_number_and_what_it_means():
    document = {
        "firm": 2,
        "splits": 30,
        "level": 0.05,
        "metrics": ["AP (iou)"],
        "variants": {"a": {}, "b": {}, "c": {}},
    }
    text = halves_text(document)
    assert "AP (iou): 2 of 30 splits of 3 variants (6.7%) give a gain or loss, at most 5% are expected" in text
    assert "not independent" in text
    assert not halves_text(document | {"splits": 0})


def test_controls_that_were_asked_for_are_judged_on_any_backbone(controlled, protocol):
    other = protocol.model_copy(update={"tables": ("boxes-T1",), "run_backbones": ("R-101",)})
    assert [one.claim.row for one in control_questions(controlled, other, [TABLE])] == list(CONTROLS)
    own = other.model_copy(update={"tables": ("boxes-T1", TABLE)})
    assert control_questions(controlled, own, [TABLE]) == []
