"""Figures of Libra R-CNN: what is drawn, from which numbers, and what is left out."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import pytest

from replication.catalog import Catalog, Paper, load_catalog
from replication.errors import ResultError
from replication.report import write_report
from replication.report.cells import compare, compare_all
from replication.report.papers import paper_drawings
from replication.report.papers.libra_rcnn import draw_balanced_l1, draw_sampling
from replication.results.files import write_json
from replication.results.layout import Layout

SAMPLING: dict[str, Any] = {
    "variant": "faster_rcnn_R50",
    "images": 200,
    "edges": [0.0, 0.05, 0.1, 0.15],
    "counts": {"candidates": [90, 5, 5], "random": [70, 20, 10], "iou_balanced": [40, 30, 30], "hard": [35, 35, 30]},
}
BALANCED = {
    "error": [0.0, 1.0, 2.0],
    "lines": [
        {"label": "smooth L1", "loss": [0.0, 0.5, 1.5], "gradient": [0.0, 1.0, 1.0]},
        {"label": "balanced L1, a", "loss": [0.0, 0.6, 1.6], "gradient": [0.0, 1.0, 1.0]},
    ],
}


@pytest.fixture
def libra() -> Catalog:
    return load_catalog()


def test_sampling_names_the_share_of_hard_ones():
    drawn = draw_sampling(SAMPLING)
    ElementTree.fromstring(drawn.svg)
    assert "hard negatives (highest loss)" in drawn.svg
    assert "65% above IoU 0.05" in drawn.svg
    assert "30% above IoU 0.05" in drawn.svg
    assert "60% above IoU 0.05" in drawn.svg
    assert drawn.caption.endswith("here 65% and 30%.")
    assert drawn.svg == draw_sampling(SAMPLING).svg


def test_balanced_l1_has_a_line_each():
    svg = draw_balanced_l1(BALANCED).svg
    ElementTree.fromstring(svg)
    for text in (">smooth L1<", ">balanced L1, a<", ">gradient<", ">loss<"):
        assert text in svg


def test_figures_stand_in_the_page_and_in_files(libra, protocol, results, add_run):
    for variant, ap in (("faster_rcnn_R50", 40.0), ("libra_rcnn_R50", 42.0), ("fast_rcnn_R50", 39.0)):
        add_run(variant, 0, ap)
    write_json(Layout(results, protocol.name).figure_data("libra_rcnn", "sampling"), "figure/1", SAMPLING)
    write_json(Layout(results, protocol.name).figure_data("libra_rcnn", "balanced_l1"), "figure/1", BALANCED)
    page = write_report(libra, protocol, results, ["giou-T5", "libra-T1", "libra-T2"]).read_text()
    assert sorted(path.stem for path in (results / "mini" / "figures" / "svg").glob("libra*.svg")) == [
        "libra-T1_curves", "libra-T1_sizes", "libra-T2_curves", "libra-T2_sizes", "libra_rcnn_balanced_l1",
        "libra_rcnn_sampling",
    ]  # fmt: skip
    assert page.count(">hard negatives (highest loss)") == 1
    again = write_report(libra, protocol, results, ["giou-T5", "libra-T1", "libra-T2"]).read_text()
    assert page == again


@pytest.mark.parametrize("table", [f"libra-T{number}" for number in range(1, 7)])
def test_figure_5_stands_with_any_table_of_the_paper_before_a_run_is_finished(libra, protocol, results, table):
    write_json(Layout(results, protocol.name).figure_data("libra_rcnn", "balanced_l1"), "figure/1", BALANCED)
    shown = compare_all(libra, ["giou-T5", table, "libra-T3"], protocol, results)
    drawn = paper_drawings(libra.papers["libra_rcnn"], shown, protocol, results)
    assert [one.name for one in drawn[table]] == ["libra_rcnn_balanced_l1"]
    assert "giou-T5" not in drawn


def test_other_papers_have_none(catalog, protocol, results, add_run):
    add_run("base")
    assert isinstance(catalog.papers["giou"], Paper)
    shown = compare_all(catalog, ["giou-T5"], protocol, results)
    assert paper_drawings(catalog.papers["giou"], shown, protocol, results) == {"giou-T5": []}


def test_broken_figure_data_are_named(libra, protocol, results):
    path = Layout(results, protocol.name).figure_data("libra_rcnn", "sampling")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"schema": "figure/9"}))
    with pytest.raises(ResultError, match=r"libra_rcnn/sampling\.json: schema is 'figure/9'"):
        paper_drawings(
            libra.papers["libra_rcnn"], compare_all(libra, ["libra-T1"], protocol, results), protocol, results
        )


def test_curves_of_an_rpn_show_its_own_loss(libra, protocol, results, add_run):
    from replication.report.curves import draw_curves

    folder = add_run("rpn_R50", 0, 40.0, metrics={"AR100": 40.0, "AR300": 50.0, "AR1000": 60.0})
    lines = [{"iteration": k, "loss_rpn_cls": 1 / k, "loss_rpn_loc": 1 / k} for k in range(1, 30)]
    (folder / "curves.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    svg = draw_curves(compare(libra, "libra-T3", protocol, results))
    assert svg is not None
    assert "classification loss" in svg
    assert "average IoU" not in svg
    (folder / "curves.jsonl").write_text('{"iteration": 1, "lr": 0.1}\n')
    assert draw_curves(compare(libra, "libra-T3", protocol, results)) is None


def test_proposals_are_no_sample_detections(libra, protocol, results, add_run):
    """Data enough for the page to show photographs, were these detections."""
    from replication.report.samples import samples

    truth = {"images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 8}], "categories": [], "annotations": []}
    add_run("rpn_R50", 0, 40.0, metrics={"AR100": 40.0, "AR300": 50.0, "AR1000": 60.0})
    (results / "mini" / "runs" / "rpn_R50" / "seed0" / "detections.json").write_text("[]")
    write_json(results / "mini" / "data.json", "data/1", {"splits": {"val": {"folder": "x"}}})
    (results / "mini" / "ground_truth.json").write_text(json.dumps(truth))
    comparison = compare(libra, "libra-T3", protocol, results)
    assert comparison.runs[0].class_agnostic
    assert samples(comparison, results) == []


def test_a_detector_has_recall_too(libra, protocol, results, add_run):
    """``metrics.json`` of a detector holds AR100, whose name is also one of the proposals' recalls."""
    add_run("rpn_R50", 0, 40.0, metrics={"AR1": 20.0, "AR10": 30.0, "AR100": 40.0})
    assert not compare(libra, "libra-T3", protocol, results).runs[0].class_agnostic
