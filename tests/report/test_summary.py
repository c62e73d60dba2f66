"""The sentences that the page opens with, for every kind of verdict."""

from __future__ import annotations

import pytest
from support.claim_entries import entry

from replication.report.forest import forest
from replication.report.summary import headlines, opening, summarize
from replication.report.verdicts import COLORS, effects
from replication.results.files import write_json
from replication.results.layout import Layout
from replication.verdicts import SCHEMA

MINUS = "\N{MINUS SIGN}"
UNMEASURED = {"measured": None, "estimand": None, "estimates": {}}
UNTESTED = {**UNMEASURED, "verdict": "not testable", "reason": "protocol mini does not run backbone R-101"}


@pytest.fixture
def paper(catalog):
    return catalog.papers["giou"]


def test_claimed_and_measured_are_of_the_largest_claim_that_was_measured(paper):
    entries = [entry(), entry(id="two", row="C", claimed=0.2), entry(id="three", row="D", claimed=3.0, **UNTESTED)]
    told = summarize(paper, entries, "mini")
    assert told.claimed == "3 gains of +0.2 to +3.0; the largest that was measured is B over A, AP: +1.2 (+3.0 %)."
    assert told.measured == (
        f"For that one +0.40 (+2.0 %); 95% interval {MINUS}0.60 to +1.40; 3 and 3 runs. 2 of 3 claims were measured."
    )


def test_inconclusive_claims_come_with_what_could_have_been_detected(paper):
    entries = [entry(), entry(id="two", row="C", measured=0.1, qualifiers=["significant only before Holm correction"])]
    told = summarize(paper, entries, "mini")
    assert told.can == "Nothing: none of the claims is decided."
    assert told.cannot == (
        "2 of 2 claims are inconclusive (measured +0.10 to +0.40; minimum detectable gain +0.90; 1 significant only "
        "before Holm correction)."
    )


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("gain", "shows a gain"), ("loss", "shows a loss"), ("reproduced", "is reproduced in size"),
        ("not reproduced", "is not reproduced"), ("no gain of practical size", "shows no gain of practical size"),
    ],
)  # fmt: skip
def test_what_can_be_said_names_the_claim_its_number_and_interval(paper, verdict, words):
    told = summarize(paper, [entry(verdict=verdict), entry(id="two", row="C")], "mini")
    assert told.can == f"1 of 2 claims {words}: B over A, AP, +0.40 ({MINUS}0.60 to +1.40)."
    alone = summarize(paper, [entry(verdict=verdict)], "mini")
    assert alone.can.startswith(f"The claim {words}: ")
    assert alone.cannot == "Nothing is left open under protocol mini."


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("withheld", "has its verdict withheld"), ("withdrawn", "has its verdict withdrawn"),
        ("blocked", "could not be judged"), ("single run", "has a single run, which gives no verdict"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_gives_the_reason(paper, verdict, words):
    told = summarize(paper, [entry(verdict=verdict, reason="the weights are wrong. At length: x"), entry(id="2")], "m")
    assert told.can == "Nothing: none of the claims is decided."
    assert f"1 of 2 claims {words}: the weights are wrong." in told.cannot


def test_a_protocol_that_is_not_fit_to_judge_says_so(paper):
    reason = "not fit to judge: controls failed: shuffled labels: loss expected, inconclusive found"
    told = summarize(paper, [entry(verdict="withheld", reason=reason)] * 2, "mini")
    assert told.cannot == f"2 of 2 claims have their verdicts withheld: {reason}."


def test_claims_that_cannot_be_tested_and_none_at_all(paper):
    untested = [entry(**UNTESTED)]
    told = summarize(paper, untested, "mini")
    assert told.measured == "Nothing of it yet."
    assert told.cannot == "The claim cannot be tested: protocol mini does not run backbone R-101."
    assert summarize(paper, [], "mini").claimed == "No primary claim of the tables shown."
    assert opening([told], []) == "No claim has been judged yet."


def test_the_first_sentence_counts_by_colour(paper):
    verdicts = ("gain", "loss", "no gain of practical size", "inconclusive", "withheld", "not testable")
    entries = [entry(id=verdict, verdict=verdict) for verdict in verdicts]
    assert opening([summarize(paper, entries, "mini")], entries) == (
        "Of 6 claims in 1 paper, 1 is supported by the runs, 2 are contradicted, and 3 cannot be decided here."
    )


def test_headlines_are_the_largest_claim_of_each_paper_at_most_three(catalog, protocol, tmp_path):
    assert headlines(catalog, protocol, tmp_path, ["T1"]) == []
    entries = [entry(id=f"{name}{gain}", paper=name, claimed=gain) for name in "pqrs" for gain in (0.5, 1.2)]
    entries += [entry(id="elsewhere", paper="z", table="T9"), entry(id="secondary", paper="y", primary=False)]
    write_json(Layout(tmp_path, protocol.name).verdicts, SCHEMA, {"verdicts": entries})
    line = f"T1: B over A, AP: inconclusive; claimed +1.2, measured +0.40 ({MINUS}0.60 to +1.40)"
    assert headlines(catalog, protocol, tmp_path, ["T1"]) == [line] * 3
    write_json(Layout(tmp_path, protocol.name).verdicts, SCHEMA, {"verdicts": [entry(**UNMEASURED)]})
    assert headlines(catalog, protocol, tmp_path, ["T1"]) == [
        "T1: B over A, AP: inconclusive; claimed +1.2, not measured"
    ]


def test_the_forest_has_one_interval_by_itself_and_one_among_all_coloured_by_the_verdict():
    shown = effects([entry(), entry(id="two", verdict="gain")], relative=True)
    assert [one.interval for one in shown] == [(-3.0, 7.0)] * 2
    assert [one.family for one in shown] == [(-8.0, 12.0)] * 2
    assert [one.color for one in shown] == [COLORS["open"], COLORS["good"]]
    panel = forest(shown, "gain").axes[0]
    bands = [bar for bar in panel.collections if bar.get_linewidth()[0] > 5]
    assert [bar.get_segments()[0].tolist() for bar in bands] == [[[-8, 0], [12, 0]], [[-8, -1], [12, -1]]]
    widths = [line.get_linewidth() for line in panel.lines if len(line.get_xdata()) == 2][:2]
    assert all(width < bands[0].get_linewidth()[0] for width in widths)


def test_the_forest_of_sizes_marks_half_the_claim():
    shown = effects([entry()], relative=False)
    assert (shown[0].cut, shown[0].family) == (0.6, (-1.6, 2.4))
    marks = [bar.get_segments()[0].tolist() for bar in forest(shown, "gain").axes[0].collections]
    assert [[0.6, -0.32], [0.6, 0.32]] in marks
