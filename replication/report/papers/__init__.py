"""What only one paper's part of the page shows: one module per paper, named by the paper's id, may draw more figures.

A module has ``FIGURES``, a ``PaperFigures``. A paper without a module has the figures that every table has.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from replication.catalog import Paper, Protocol
from replication.report.cells import Comparison
from replication.report.drawing import Drawing
from replication.results.files import read_json
from replication.results.layout import Layout
from replication.results.schemas import FIGURE_SCHEMA


@dataclass(frozen=True)
class PaperFigures:
    """What a paper draws besides. All names of drawings begin with ``<table>_`` or ``<paper>_``.

    ``of_table`` gives the drawings of one of the paper's tables, none where there is nothing to draw. ``of_data`` draws
    the paper's ``figure_data`` by name, where their files are there.
    """

    of_table: Callable[[Comparison], Sequence[Drawing]] = lambda comparison: ()
    of_data: Mapping[str, Callable[[dict[str, Any]], Drawing]] = field(default_factory=dict)


def paper_figures(paper: str) -> PaperFigures:
    """What the module of exactly that paper id draws; nothing where there is no such module."""
    module = f"{__name__}.{paper}"
    if not paper.isidentifier() or importlib.util.find_spec(module) is None:
        return PaperFigures()
    figures: PaperFigures = importlib.import_module(module).FIGURES
    return figures


def paper_drawings(
    paper: Paper, comparisons: Sequence[Comparison], protocol: Protocol, results: Path
) -> dict[str, list[Drawing]]:
    """A paper's own figures by table; those of its data stand with the first of its tables that are shown.

    Raises ResultError for a file of figure data that is broken.
    """
    figures = paper_figures(paper.id)
    own = [comparison for comparison in comparisons if comparison.paper.id == paper.id]
    drawn = {comparison.table.id: list(figures.of_table(comparison)) for comparison in own}
    if own:
        drawn[own[0].table.id] += _of_data(figures, paper, protocol, results)
    return drawn


def _of_data(figures: PaperFigures, paper: Paper, protocol: Protocol, results: Path) -> list[Drawing]:
    layout = Layout(results, protocol.name)
    paths = {data.name: layout.figure_data(paper.id, data.name) for data in paper.figure_data}
    return [
        figures.of_data[name](read_json(path, FIGURE_SCHEMA))
        for name, path in paths.items()
        if name in figures.of_data and path.exists()
    ]
