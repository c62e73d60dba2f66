"""The figure of mistakes: means over seeds by hand, what older or other results lack, and refusal of broken files."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from replication.errors import ResultError
from replication.evaluation.mistakes import FALSE
from replication.report import write_report
from replication.report.cells import compare
from replication.report.mistakes import KINDS, draw_mistakes, repair_gains


def costs(*gains):
    return {kind: {"count": 3, "gain": gain} for kind, gain in zip(KINDS, gains, strict=True)}


def test_the_kinds_are_those_of_the_evaluation():
    assert list(KINDS) == [*FALSE, "missed"]


def test_a_row_is_the_mean_of_its_runs(catalog, protocol, results, add_run):
    add_run("base", 0, mistakes=costs(4.0, 8.0, 1.0, 0.5, 2.0, None))
    add_run("base", 1, mistakes=costs(5.0, 10.0, 2.0, 0.5, 3.0, 3.0))
    add_run("iou", 0)  # of an older evaluation
    comparison = compare(catalog, "giou-T5", protocol, results)
    base, iou = comparison.lines[:2]
    # A kind that one run has no number of has no mean.
    assert repair_gains(base) == {
        "localisation": 4.5,
        "classification": 9,
        "both": 1.5,
        "duplicate": 0.5,
        "background": 2.5,
    }
    assert repair_gains(iou) == {}
    svg = draw_mistakes(comparison)
    assert svg == draw_mistakes(comparison)
    ElementTree.fromstring(svg)
    for text in (*KINDS, "smooth L1", "4.5", "9.0", "1.5", "0.5", "2.5"):
        assert f">{text}<" in svg
    assert ">IoU<" not in svg


def test_the_page_shows_the_figure_and_says_what_the_kinds_are(catalog, protocol, results, add_run):
    add_run("base", 0, mistakes=costs(4.0, 8.0, 1.0, 0.5, 2.0, 3.0))
    page = write_report(catalog, protocol, results, ["giou-T5"]).read_text()
    assert "What mistakes cost" in page
    assert page.count('id="mistakes"') == page.count('href="#mistakes"') == 1
    for words in KINDS.values():
        assert words in page


def test_results_without_mistakes_show_none(catalog, protocol, results, add_run):
    add_run("base")
    assert draw_mistakes(compare(catalog, "giou-T5", protocol, results)) is None
    assert 'id="mistakes"' not in write_report(catalog, protocol, results, ["giou-T5"]).read_text()


@pytest.mark.parametrize("broken", [[1], {"both": 3.0}, {"both": {"count": 1}}, {"both": {"gain": "x"}}])
def test_broken_mistakes_are_named(catalog, protocol, results, add_run, broken):
    add_run("base", mistakes=broken)
    with pytest.raises(ResultError, match=r"base/seed0/metrics\.json: mistakes.*evaluate the run again"):
        compare(catalog, "giou-T5", protocol, results)
