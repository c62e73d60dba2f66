"""The overview and the forest plot: what they show is what ``verdicts.json`` says."""

from __future__ import annotations

import copy
import html
import re
import shutil

import pytest
from support.verdict_papers import PAPER, few_images, renamed_paper

from replication.catalog import Paper
from replication.catalog.units import gain, percent
from replication.errors import ResultError
from replication.planning.plan import Plan
from replication.report import render_table, terminal_table, write_report
from replication.report.claims import bounds, tone
from replication.report.forest import forest
from replication.report.verdicts import COLORS, effects, read_verdicts
from replication.results.files import read_json, write_json
from replication.results.layout import Layout
from replication.verdicts import SCHEMA, judge
from replication.verdicts.output import needed_text

TABLES = ["boxes-T1"]
NONE = "\N{EN DASH}"


@pytest.fixture(params=["protocol", "paper_protocol"])
def judged(request, world, catalog, results, judging):
    """A protocol at either scale, its verdicts written, and the page made from them."""
    protocol = request.getfixturevalue(request.param)
    world(protocol)
    document = judge(catalog, protocol, results, TABLES, judging, few_images)
    write_json(Layout(results, protocol.name).verdicts, SCHEMA, document)
    return protocol, document, write_report(catalog, protocol, results, TABLES).read_text()


def cells(page, table):
    """Text of the cells of a table by row."""
    body = re.search(rf'<table[^>]* data-table="{table}">(.*?)</table>', page, re.S)[1]
    return {
        row: [
            " ".join(html.unescape(re.sub(r"<[^>]+>", " ", cell)).split())
            for cell in re.findall(r"<td[^>]*>(.*?)</td>", text, re.S)
        ]
        for row, text in re.findall(r'<tr data-row="([^"]+)">(.*?)</tr>', body, re.S)
    }


def test_the_page_begins_with_a_line_a_claim(judged):
    _, document, page = judged
    shown = cells(page, "verdicts")
    expected = [one for one in document["verdicts"] if one["primary"] and one["verdict"] != "not testable"]
    assert list(shown) == [one["id"] for one in expected]
    reasons = [
        html.unescape(text)
        for text in re.findall(r"<li>(.*?)</li>", page[page.index("</nav>") : page.index("other-verdicts")])
    ]
    assert reasons == list(dict.fromkeys(one["reason"] for one in expected if one["reason"]))
    for one in expected:
        line = shown[one["id"]]
        claimed, measured, estimate = one["claimed"], one["measured"], one["estimates"].get(one["estimand"])
        assert line[0].startswith(f"{one['row']['label']} over base, ")
        marks = [str(reasons.index(one["reason"]) + 1)] if one["reason"] else []
        assert line[1] == " ".join([one["verdict"], *marks, *one["qualifiers"]])
        assert line[2] == f"{gain(claimed['gain'], one['unit'])} {percent(claimed['relative_percent'])}"
        shown_gain = (
            f"{gain(measured['gain'], one['unit'])} {percent(measured['relative_percent'])}" if measured else NONE
        )
        assert line[3] == shown_gain
        assert line[4] == (bounds(one) or NONE)
        assert line[5] == (gain(estimate["minimum_detectable_gain"], one["unit"]) if estimate else NONE)
        assert line[6] == (needed_text(estimate) if estimate else NONE)
        assert line[7:] == [f"{one['runs']['row']} / {one['runs']['baseline']}", "boxes-T1"]
    assert page.index('id="verdicts"') < page.index('id="boxes-T1"')
    assert html.escape(document["head"], quote=False).replace("'", "&#39;") in page
    assert document["plan"]["protocol"][:16] in page


def test_the_page_says_which_claims_hold_together_and_no_more_of_the_plan_than_is_known(judged):
    _, document, page = judged
    assert (
        "Holm's procedure keeps the family-wise error rate at 5% over the primary claims of a paper, which are the "
        "verdicts, and separately over" in page
    )
    assert "Its other claims are secondary: a second family" in page
    assert "all claims of a paper together" not in page
    assert "Registered before" not in page
    text = html.unescape(re.sub(r"<[^>]+>", "", page))
    plan = document["plan"]
    hashes = f"rules and seeds {plan['protocol'][:16]}, claims of boxes {plan['papers']['boxes'][:16]}."
    assert f"Plan at judging, 3 seeds per variant: {hashes}" in text
    assert "do not say when the plan was fixed" in text


def test_numbers_by_hand(judged):
    """Mean of base 36.0187, of real 38.0187, of worse 34.0217; once 39.1: in fractions, as the paper prints."""
    _, _, page = judged
    shown = cells(page, "verdicts")
    # 2 of 36.0187 is 5.6%, as the paper's 0.020 of 0.360.
    assert shown["real-AP"][2:4] == ["+0.0200 +5.6 %", "+0.0200 +5.6 %"]
    assert shown["worse-AP"][3] == "\N{MINUS SIGN}0.0200 \N{MINUS SIGN}5.5 %"
    assert shown["once-AP"][3].startswith("+0.0308 ")
    assert shown["gone-AP"][3:5] == [NONE, NONE]


def test_other_claims_and_those_that_cannot_be_judged_are_listed(judged):
    _, document, page = judged
    assert list(cells(page, "other-verdicts")) == ["real-AP75"]
    for one in document["verdicts"]:
        if one["verdict"] == "not testable":
            assert html.escape(one["reason"]) in page


def test_published_numbers_stand_on_the_page_at_the_papers_scale_only(judged):
    protocol, document, page = judged
    assert ('data-table="numbers"' in page) == protocol.published_scale
    if protocol.published_scale:
        shown = cells(page, "numbers")
        assert len(shown) == len(document["numbers"]) == 10
        assert shown["boxes-T1/base/AP"][-1] == "yes"
        assert shown["boxes-T1/worse/AP"][-1] == "no"


def test_the_forest_shows_claimed_and_measured_gains(judged):
    protocol, document, _ = judged
    entries = [one for one in document["verdicts"] if one["primary"] and one["measured"]]
    panel = forest(effects(entries, not protocol.published_scale), "gain").axes[0]
    key = "relative_percent" if document["judges"] == "direction" else "gain"
    factor = 1 if key == "relative_percent" else 100
    for marker, side in (("D", "claimed"), ("o", "measured")):
        drawn = [line.get_xdata()[0] for line in panel.lines if line.get_marker() == marker]
        assert drawn == pytest.approx([factor * one[side][key] for one in entries])
    real = entries[0]["estimates"]["new images"]["interval"]
    expected = real["relative_percent"] if key == "relative_percent" else [100 * real["low"], 100 * real["high"]]
    interval = panel.lines[0]
    assert list(interval.get_xdata()) == pytest.approx(expected)
    assert (interval.get_color(), interval.get_linestyle()) == (COLORS["good"], "-")
    styles = {one["id"]: line.get_linestyle() for one, line in zip(entries, panel.lines[::3], strict=False)}
    assert styles["once-AP"] == ":", "a single run has no verdict"


def forest_file(protocol, results):
    return results / protocol.name / "figures" / "svg" / "boxes_forest.svg"


def test_the_forest_is_a_file_and_an_element_of_the_page(judged, results):
    protocol, _, page = judged
    svg = forest_file(protocol, results).read_text()
    assert svg.startswith("<?xml")
    assert "real over base" in svg
    assert page.count("real over base") >= 1
    assert "Date" not in svg


def test_the_same_verdicts_give_the_same_bytes(judged, catalog, results):
    protocol, _, page = judged
    svg = forest_file(protocol, results).read_bytes()
    assert write_report(catalog, protocol, results, TABLES).read_text() == page
    assert forest_file(protocol, results).read_bytes() == svg


def test_a_page_without_verdicts_has_none(world, protocol, catalog, results):
    world(protocol)
    page = write_report(catalog, protocol, results, TABLES).read_text()
    assert 'id="verdicts"' not in page
    assert read_verdicts(catalog, protocol, results, []) is None


@pytest.mark.parametrize("judged", ["protocol"], indirect=True)
def test_verdicts_on_other_runs_than_the_page_shows_are_refused(judged, add_run, catalog, results):
    protocol, _, _ = judged
    add_run(protocol, "real", 2, 45.0)
    with pytest.raises(ResultError, match=r"real/seed2/metrics\.json is not the one that was judged"):
        write_report(catalog, protocol, results, TABLES)


@pytest.mark.parametrize("judged", ["protocol"], indirect=True)
def test_runs_that_came_after_the_verdicts_are_refused(judged, add_run, catalog, results):
    protocol, _, _ = judged
    add_run(protocol, "real", 3, 38.1)
    with pytest.raises(ResultError, match="seed3"):
        write_report(catalog, protocol, results, TABLES)


@pytest.mark.parametrize("judged", ["protocol"], indirect=True)
def test_verdicts_on_runs_that_are_gone_are_refused(judged, catalog, results):
    protocol, _, _ = judged
    shutil.rmtree(results / protocol.name / "runs" / "real" / "seed2")
    with pytest.raises(ResultError, match=r"real seed 2 was judged .* run `replication verdicts`"):
        write_report(catalog, protocol, results, TABLES)
    shutil.rmtree(results / protocol.name / "runs" / "real")
    with pytest.raises(ResultError, match="real seed 0 was judged"):
        write_report(catalog, protocol, results, TABLES)


@pytest.mark.parametrize("judged", ["protocol"], indirect=True)
def test_verdicts_by_another_plan_are_refused(judged, catalog, results):
    protocol, _, _ = judged
    changed = copy.deepcopy(PAPER)
    changed["claims"][0]["gain"] = 0.021
    other = catalog.model_copy(update={"papers": {"boxes": Paper.model_validate(changed)}})
    with pytest.raises(ResultError, match=r"plan\.papers\.boxes: .*papers/boxes\.yaml.* run `repl"):
        write_report(other, protocol, results, TABLES)
    more = protocol.model_copy(update={"seeds": 5})
    with pytest.raises(ResultError, match=r"plan\.protocol: .*number of seeds.* run `replication verdicts"):
        write_report(catalog, more, results, TABLES)


def rewrite(path, **changes):
    document = {key: value for key, value in read_json(path, SCHEMA).items() if key != "schema"}
    write_json(path, SCHEMA, document | changes)


@pytest.mark.parametrize("judged", ["protocol"], indirect=True)
def test_verdicts_of_another_protocol_are_refused(judged, catalog, results):
    protocol, _, _ = judged
    rewrite(Layout(results, protocol.name).verdicts, protocol="mini")
    with pytest.raises(ResultError, match="protocol: is mini, the page is of tiny; run"):
        write_report(catalog, protocol, results, TABLES)


@pytest.mark.parametrize("judged", ["protocol"], indirect=True)
def test_verdicts_on_other_tables_are_refused(judged, catalog, results):
    protocol, _, _ = judged
    rewrite(Layout(results, protocol.name).verdicts, tables=[])
    with pytest.raises(ResultError, match="tables: boxes-T1 of paper boxes has not been judged; run"):
        write_report(catalog, protocol, results, TABLES)


@pytest.mark.parametrize("judged", ["protocol"], indirect=True)
def test_a_withdrawn_verdict_is_shown_as_such_with_its_reason_though_it_was_judged_before(judged, catalog, results):
    protocol, _, before = judged
    assert "Withdrawn" not in before
    assert ">withdrawn<" not in before
    claims = {"claims": ["worse-AP"], "reason": "wrong <weights>"}
    withdrawing = protocol.model_validate(protocol.model_dump() | {"withdrawn": [claims]})
    page = write_report(catalog, withdrawing, results, TABLES).read_text()
    was, now = cells(before, "verdicts"), cells(page, "verdicts")
    assert was["worse-AP"][1].startswith("loss")
    assert now["worse-AP"][1].startswith("withdrawn")
    assert now["worse-AP"][2:] == was["worse-AP"][2:], "the numbers stay"
    assert {name: line for name, line in now.items() if name not in ("worse-AP", "once-AP", "gone-AP")} == {
        name: line for name, line in was.items() if name not in ("worse-AP", "once-AP", "gone-AP")
    }
    assert "boxes-T1, worse over base. Reason: wrong &lt;weights&gt;" in page
    assert page.count("Verdicts withdrawn on worse over base. Reason: wrong &lt;weights&gt;") == 1
    assert "<b>1</b> loss" in before
    assert "<b>1</b> loss" not in page
    forms = render_table(catalog, "boxes-T1", withdrawing, results)
    assert "- **Withdrawn:** Verdicts withdrawn on worse over base. Reason: wrong \\<weights>" in forms["md"]
    assert "Verdicts withdrawn on worse over base" in forms["tex"]
    assert "Verdicts withdrawn on worse over base" in terminal_table(catalog, "boxes-T1", withdrawing, results)


def two_papers(world, catalog, protocol, results, judging):
    """Verdicts on two papers, and the catalog that has them."""
    papers = {"boxes": Paper.model_validate(PAPER), "boxes_v2": Paper.model_validate(renamed_paper("boxes_v2"))}
    both = catalog.model_copy(update={"papers": papers})
    world(protocol)
    document = judge(both, protocol, results, ["boxes-T1", "boxes_v2-T1"], judging, few_images)
    write_json(Layout(results, protocol.name).verdicts, SCHEMA, document)
    return both


def test_a_changed_claim_of_one_paper_leaves_the_others_renderable(world, catalog, protocol, results, judging):
    both = two_papers(world, catalog, protocol, results, judging)
    before = cells(write_report(both, protocol, results, TABLES).read_text(), "verdicts")
    changed = renamed_paper("boxes_v2")
    changed["claims"][0]["gain"] = 0.021
    later = both.model_copy(update={"papers": both.papers | {"boxes_v2": Paper.model_validate(changed)}})
    assert cells(write_report(later, protocol, results, TABLES).read_text(), "verdicts") == before
    with pytest.raises(ResultError) as error:
        write_report(later, protocol, results, ["boxes-T1", "boxes_v2-T1"])
    text = str(error.value)
    assert "verdicts.json: plan.papers.boxes_v2: the claims of boxes_v2 (papers/boxes_v2.yaml)" in text
    assert "run `replication verdicts --tables boxes-T1,boxes_v2-T1` again, or show other tables" in text
    assert "\n" not in text
    (results / protocol.name / "archive.json").write_text("{}")
    with pytest.raises(ResultError, match=r"cannot be judged again: show boxes-T1 with --tables$"):
        write_report(later, protocol, results, ["boxes-T1", "boxes_v2-T1"])


def test_a_figure_of_one_paper_is_not_that_of_a_paper_whose_id_it_begins_with(
    world, catalog, protocol, results, judging
):
    both = two_papers(world, catalog, protocol, results, judging)
    tables = ("boxes-T1", "boxes_v2-T1")
    write_report(both, protocol, results, tables)
    plan = Plan(protocol, both, results, tables, ())
    names = {path.stem for path in (results / protocol.name / "figures" / "svg").iterdir()}
    assert {"boxes_forest", "boxes_v2_forest"} <= names
    assert {name: plan.paper_of(name) for name in names} == {
        name: "boxes_v2" if name.startswith("boxes_v2") else "boxes" for name in names
    }


def test_colours_say_for_against_or_open():
    words = ("reproduced", "gain", "not reproduced", "loss", "no gain of practical size")
    assert [tone(word) for word in words] == ["good", "good", "bad", "bad", "bad"]
    assert {tone(word) for word in ("inconclusive", "single run", "blocked", "not testable")} == {"open"}
