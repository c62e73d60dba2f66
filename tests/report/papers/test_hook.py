"""Figures of a paper that nobody has heard of: found by exactly its id, and no file of the pipeline names it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import replication.report.papers as papers
from replication.catalog import Catalog, FigureData
from replication.planning.plan import Plan
from replication.report import write_report
from replication.report.papers import PaperFigures, paper_figures
from replication.results.files import write_json
from replication.results.layout import Layout

MODULE = """
from replication.report.drawing import Drawing
from replication.report.papers import PaperFigures

SVG = '<?xml version="1.0"?>\\n<svg height="8" width="8" xmlns="http://www.w3.org/2000/svg"><text>{}</text></svg>\\n'


def of_table(comparison):
    return [Drawing(f"{comparison.table.id}_own", SVG.format("of " + comparison.table.id), "Own.")]


def dots(data):
    return Drawing("giou_dots", SVG.format(f"{data['dots']} dots"), "Dots.")


FIGURES = PaperFigures(of_table=of_table, of_data={"dots": dots})
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module for the paper ``giou``, found before the package's own."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "giou.py").write_text(MODULE)
    name = f"{papers.__name__}.giou"
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(papers, "__path__", [str(folder), *papers.__path__])
    yield
    sys.modules.pop(name, None)
    vars(papers).pop("giou", None)


@pytest.fixture
def declaring(catalog: Catalog) -> Catalog:
    """The catalog whose paper declares the data, and more of which nothing is drawn."""
    data = (FigureData(name="dots"), FigureData(name="unused", variant="base"))
    return catalog.model_copy(
        update={"papers": {"giou": catalog.papers["giou"].model_copy(update={"figure_data": data})}}
    )


@pytest.mark.usefixtures("module")
def test_a_module_of_the_paper_s_id_draws_on_its_page(declaring, protocol, results, add_run):
    add_run("base")
    write_json(Layout(results, protocol.name).figure_data("giou", "dots"), "figure/1", {"dots": 3})
    page = write_report(declaring, protocol, results, ["giou-T5", "libra-T1"]).read_text()
    names = {path.stem for path in (results / "mini" / "figures" / "svg").iterdir()}
    assert {"giou-T5_own", "libra-T1_own", "giou_dots"} <= names
    assert page.count("<text>3 dots</text>") == 1
    plan = Plan(protocol, declaring, results, ("giou-T5",), ())
    assert {plan.paper_of(name) for name in names} == {"giou"}
    assert plan.figure_data == [Layout(results, protocol.name).figure_data("giou", "dots")]


@pytest.mark.usefixtures("module")
def test_a_paper_whose_id_begins_like_another_s_has_figures_of_its_own_only(declaring, protocol, results, add_run):
    add_run("base")
    second = declaring.papers["giou"].model_copy(update={"id": "giou_v2"})
    other = declaring.model_copy(update={"papers": {"giou_v2": second}})
    write_json(Layout(results, protocol.name).figure_data("giou", "dots"), "figure/1", {"dots": 3})
    write_report(other, protocol, results, ["giou-T5"])
    names = {path.stem for path in (results / "mini" / "figures" / "svg").iterdir()}
    assert names == {"giou-T5_curves", "giou-T5_sizes"}


@pytest.mark.parametrize("paper", ["unheard_of", "not-an-identifier", "..", "", "os.path"])
def test_a_paper_without_a_module_has_the_common_figures(paper: str):
    assert paper_figures(paper) == PaperFigures()
