"""Level-selection figure as SVG: the level each object selects online against its size, and the heuristic's line."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter

from replication.report.cells import Comparison
from replication.report.curves import Points
from replication.report.drawing import COLORS, INK, STYLE, Drawing, svg
from replication.report.papers import PaperFigures
from replication.results.schemas import Levels, read

CAPTION = (
    "The level that each object of the first validation images selects by its loss, first seed, against its size in "
    "the input image. The line is the level that the heuristic gives."
)
_GOLDEN = 0.6180339887498949  # spreads the dots of a level evenly over its height, the same way each time


def draw_levels(comparison: Comparison) -> str | None:
    """One panel per variant that selects levels online, its lowest seed's run; None when no run has ``levels.json``.

    The same bytes for the same runs. Raises ResultError naming a broken file.
    """
    drawn = _selections(comparison)
    if not drawn:
        return None
    with mpl.rc_context({**STYLE, "savefig.dpi": 200, "svg.hashsalt": f"{comparison.table.id}-levels"}):
        figure = Figure(figsize=(9.2, 3.6), layout="constrained")
        panels = figure.subplots(1, len(drawn), sharey=True, squeeze=False)[0]
        for position, (panel, (label, content)) in enumerate(zip(panels, drawn.items(), strict=True)):
            _panel(panel, label, content, COLORS[position % len(COLORS)])
        panels[0].set_ylabel("level")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
        return svg(figure)


def heuristic_level(sides: Points, content: Levels) -> Points:
    """Level by size: floor(l0 + log2(side / 224)), within the levels there are (FSAF, section 3.3)."""
    number = np.floor(content.heuristic_level + np.log2(sides / content.heuristic_size))
    level: Points = np.clip(number, content.levels[0], content.levels[-1])
    return level


def _selections(comparison: Comparison) -> dict[str, Levels]:
    """Content of ``levels.json`` by label."""
    selections: dict[str, Levels] = {}
    for label, line in comparison.variants.items():
        path = line.runs[0].files.levels
        if path.exists():
            content = read(path, Levels)
            if content.objects:
                selections[label] = content
    return selections


def _panel(panel: Axes, label: str, content: Levels, color: str) -> None:
    pairs = np.array([pair for pair in content.objects if pair[0] > 0], dtype=np.float64).reshape(-1, 2)
    sides, levels = pairs[:, 0], pairs[:, 1]
    spread = (np.arange(len(levels)) * _GOLDEN % 1 - 0.5) * 0.6
    panel.scatter(
        sides, levels + spread, s=7, color=color, alpha=0.5, linewidths=0, label="selected online", rasterized=True
    )
    low, high = max(1.0, sides.min() / 1.2), sides.max() * 1.2
    grid = np.geomspace(low, high, 2000)
    panel.plot(grid, heuristic_level(grid, content), color=INK, label="heuristic", linewidth=1.4)
    same = float((heuristic_level(sides, content) == levels).mean())
    panel.set_title(f"{label}: {same:.0%} as the heuristic", loc="left")
    panel.set_xscale("log", base=2)
    panel.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    panel.set_xlim(low, high)
    panel.set_xlabel("side of the object, pixels (square root of its area)")
    panel.set_yticks(content.levels, [f"P{number}" for number in content.levels])
    panel.set_ylim(content.levels[0] - 0.5, content.levels[-1] + 0.5)
    panel.grid(color=INK, alpha=0.18, linewidth=0.7, axis="x")
    panel.set_axisbelow(True)


def _levels_of(comparison: Comparison) -> list[Drawing]:
    document = draw_levels(comparison)
    return [Drawing(f"{comparison.table.id}_levels", document, CAPTION)] if document is not None else []


FIGURES = PaperFigures(of_table=_levels_of)
"""The levels selected online by the detectors of each of the paper's tables."""
