"""One table judged before the runs of those after it."""

from __future__ import annotations

import copy
import json

import pytest
from support.elsewhere_runs import SKILLS, detections, prepare
from support.verdict_papers import PAPER, few_images

from replication import cli
from replication.catalog import Paper, Variant, load_catalog, load_protocol
from replication.errors import ConfigError, ResultError
from replication.evaluation.elsewhere import import_run
from replication.verdicts import judge, verdicts_table
from replication.verdicts.interim import judge_interim

FIRST, LATER = "boxes-T1", "boxes-T2"
OFFSETS = (0.1, -0.1, 0.02)


@pytest.fixture
def catalog(catalog):
    """A second table: a claim of its own, ``late``, and a control, ``same``."""
    table = copy.deepcopy(PAPER["tables"][0])
    base, real = table["rows"][:2]
    names = {"id": "late", "label": "late", "variant": "late"}
    control = base | {"id": "same", "label": "same", "variant": "same", "control": "equal", "baseline": "base"}
    table |= {"id": LATER, "rows": [base, real | names, control]}
    claim = PAPER["claims"][0] | {"id": "late-AP", "table": LATER, "row": "late"}
    paper = PAPER | {"tables": [*PAPER["tables"], table], "claims": [*PAPER["claims"], claim]}
    known = catalog.variants["base"]
    assert isinstance(known, Variant)
    more = {name: known.model_copy(update={"name": name}) for name in ("late", "same")}
    return catalog.model_copy(
        update={"papers": {"boxes": Paper.model_validate(paper)}, "variants": catalog.variants | more}
    )


@pytest.fixture
def protocol(protocol):
    return protocol.model_copy(update={"tables": (FIRST, LATER)})


@pytest.fixture
def interim(world, protocol, catalog, results, judging):
    """Judges the first table, once its own runs are there."""
    world(protocol)
    return lambda: judge_interim(catalog, protocol, results, [FIRST, LATER], FIRST, judging, few_images)


@pytest.fixture
def add_later(add_run, protocol):
    def add(variant, ap, **changes):
        for seed, offset in enumerate(OFFSETS):
            add_run(protocol, variant, seed, ap + offset + 0.004 * len(variant) * seed, **changes)

    return add


def by_name(document):
    return {one["id"]: one for one in document["verdicts"]}


def test_it_is_the_judgement_of_all_tables_as_far_as_they_have_run(interim, protocol, catalog, results, judging):
    whole, found = judge(catalog, protocol, results, [FIRST, LATER], judging, few_images), interim()
    assert found["verdicts"] == [one for one in whole["verdicts"] if one["table"] == FIRST]
    assert by_name(found)["worse-AP"]["verdict"] == "loss"
    assert by_name(whole)["late-AP"]["verdict"] == "blocked"


def test_its_families_hold_the_claims_of_the_later_tables(interim, protocol, catalog, results, judging):
    alone = judge(catalog, protocol, results, [FIRST], judging, few_images)
    p = [by_name(document)["null-AP"]["estimates"]["new images"]["cut_test"] for document in (alone, interim())]
    assert p[0]["p"] == p[1]["p"]
    assert p[0]["interval"]["level"] < p[1]["interval"]["level"]


def test_later_runs_and_controls_are_not_read(interim, add_later, protocol, catalog, results, judging):
    """They may be half finished, or of other code until the workflow comes to them."""
    before = interim()
    add_later("late", 40.0)
    add_later("same", 30.0, provenance={"fingerprint": "of other code"})
    with pytest.raises(ResultError, match="different code"):
        judge(catalog, protocol, results, [FIRST, LATER], judging, few_images)
    assert interim() == before
    assert before["controls"] == {
        "state": "not run yet", "reason": "controls not run yet: same, no finished run of same", "entries": [],
    }  # fmt: skip


def test_later_runs_can_take_a_verdict_back(interim, add_later, protocol, catalog, results, judging):
    assert by_name(interim())["worse-AP"]["verdict"] == "loss"
    add_later("same", 30.0)
    final = judge(catalog, protocol, results, [FIRST, LATER], judging, few_images)
    assert by_name(final)["worse-AP"]["verdict"] == "withheld"


def test_it_says_in_its_first_line_what_it_is(interim, results):
    document = interim()
    assert document["interim"].startswith(f"INTERIM verdicts of {FIRST}, without the runs that only {LATER} show.")
    assert str(results / "tiny" / "verdicts.json") in document["interim"]
    text = " ".join(verdicts_table(document).split())
    assert "note: controls not run yet: same, no finished run of same" in text
    assert LATER not in text


@pytest.mark.parametrize("table", [LATER, "boxes-T3"])
def test_the_last_table_and_one_that_is_not_judged_are_refused(table, protocol, catalog, results, judging):
    with pytest.raises(ConfigError, match=rf"--interim {table}: expected one of .* not the last: {FIRST};"):
        judge_interim(catalog, protocol, results, [FIRST, LATER], table, judging)


def test_the_verb_prints_and_writes_nothing(capsys, tmp_path):
    results = tmp_path / "results"
    prepare(results)
    for variant in list(SKILLS)[:3]:
        for seed in range(3):
            path = detections(tmp_path, variant, seed)
            import_run(load_catalog(), load_protocol("smoke"), results, variant, seed, path)
    options = ("--protocol", "smoke", "--results", str(results), "--tables", "giou-T5,giou-T7")
    assert cli.main(("verdicts", *options, "--interim", "giou-T5")) == 0
    text = capsys.readouterr().out
    assert text.startswith("INTERIM verdicts of giou-T5, without the runs that only giou-T7 show.")
    assert "giou-T5: GIoU loss over smooth L1" in " ".join(text.split())
    assert cli.main(("verdicts", *options, "--interim", "giou-T5", "--format", "json")) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "interim_verdicts/2"
    assert {one["table"] for one in document["verdicts"]} == {"giou-T5"}
    assert not list(results.rglob("*verdicts*"))
    assert cli.main(("verdicts", *options, "--interim", "giou-T7")) == 2
