"""How the detections of a table's rows turned out, as SVG: precision and recall, classes, sizes, confusions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from replication.report.cells import Comparison, Line
from replication.report.confusions import confusion_caption, draw_confusions
from replication.report.drawing import COLORS, STYLE, Drawing, grid, shared_legend, svg
from replication.report.precision import PRECISION_BAND, PRECISION_CAPTION, draw_precision
from replication.results.finished import FinishedRun
from replication.results.schemas import Outcomes

SIZES = {"APs": "small", "APm": "medium", "APl": "large"}
SPREAD = "A mark is the mean over a row's seeds, its line reaches from the lowest to the highest."

Values = Mapping[str, Sequence[Sequence[float | None]]]
"""Of each row by label, the numbers of each run."""


def outcome_drawings(comparison: Comparison) -> list[Drawing]:
    """What there is to draw of a table: rows whose runs were all evaluated by a version that keeps such numbers."""
    lines, table = _detecting(comparison), comparison.table.id
    drawn = []
    if outcomes := {label: runs for label, line in lines.items() if (runs := _outcomes(line))}:
        curves = {label: [np.array(run.precision) for run in runs] for label, runs in outcomes.items()}
        caption = f"{PRECISION_CAPTION} A line is the mean over a row's seeds, {PRECISION_BAND}"
        drawn.append(Drawing(f"{table}_precision", draw_precision(f"{table}-precision", curves), caption))
    if names := _classes(lines):
        values = {
            label: [[_class_ap(run, name) for name in names] for run in line.runs] for label, line in lines.items()
        }
        caption = f"AP by class, with the number of objects of each. {SPREAD}"
        drawn.append(Drawing(f"{table}_classes", _draw_classes(table, list(names.values()), values), caption))
    sizes = {label: [[run.metrics.get(name) for name in SIZES] for run in line.runs] for label, line in lines.items()}
    if any(value is not None for runs in sizes.values() for run in runs for value in run):
        drawn.append(
            Drawing(
                f"{table}_sizes", _draw_sizes(table, _size_titles(lines), sizes), f"AP by size of the objects. {SPREAD}"
            )
        )
    if outcomes:
        named = {label: list(lines[label].runs[0].measured.per_class or {}) for label in outcomes}
        drawn.append(
            Drawing(f"{table}_confusion", draw_confusions(table, named, outcomes), confusion_caption(outcomes))
        )
    return drawn


def _detecting(comparison: Comparison) -> dict[str, Line]:
    """The measured rows by label, without proposals, which have no class."""
    return {label: line for label, line in comparison.variants.items() if not line.runs[0].class_agnostic}


def _outcomes(line: Line) -> list[Outcomes]:
    """Of all runs of a row; none where one of them has none."""
    found = [run.measured.outcomes for run in line.runs]
    kept = [one for one in found if one is not None]
    return kept if len(kept) == len(found) else []


def _classes(lines: Mapping[str, Line]) -> dict[str, str]:
    """The classes with objects, and what they are called in a picture."""
    first = next((line.runs[0].measured.per_class for line in lines.values()), None) or {}
    return {
        name: f"{name} ({one.objects})" if one.objects else name for name, one in first.items() if one.AP is not None
    }


def _class_ap(run: FinishedRun, name: str) -> float | None:
    one = (run.measured.per_class or {}).get(name)
    return one.AP if one is not None else None


def _size_titles(lines: Mapping[str, Line]) -> list[str]:
    """Name of each size with the sides in pixels that it is for."""
    ranges = next((line.runs[0].area_ranges for line in lines.values()), {})
    low, high = (round(ranges.get("medium", (0.0, 0.0))[end] ** 0.5) for end in (0, 1))
    sides = (f"below {low} px", f"{low} to {high} px", f"above {high} px") if low and high else ("", "", "")
    return [f"{name} {side}".strip() for name, side in zip(SIZES.values(), sides, strict=True)]


def _draw_classes(table: str, names: Sequence[str], values: Values) -> str:
    """A line a class, on it a mark a row."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": f"{table}-classes"}):
        height = max(0.3, 0.09 * (len(values) + 1))
        figure = Figure(figsize=(9.2, 1.2 + height * len(names)), layout="constrained")
        panel = figure.subplots()
        for place, (label, runs) in enumerate(values.items()):
            shift = 0.7 * ((place + 0.5) / len(values) - 0.5)
            for number, (row, span) in enumerate(_spans(runs)):
                _mark(panel, row + shift, span, place, label if number == 0 else "_")
        panel.set_yticks(range(len(names)), names)
        panel.set_ylim(len(names) - 0.4, -0.6)
        panel.set_xlabel("AP")
        grid(panel)
        shared_legend(figure, panel)
        return svg(figure)


def _draw_sizes(table: str, titles: Sequence[str], values: Values) -> str:
    """A panel a size, in it a line a row."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": f"{table}-sizes"}):
        figure = Figure(figsize=(9.2, 1.2 + 0.3 * len(values)), layout="constrained")
        panels = figure.subplots(1, len(SIZES), sharey=True)
        for row, runs in enumerate(values.values()):
            for column, span in _spans(runs):
                _mark(panels[column], row, span, row)
        for panel, title in zip(panels, titles, strict=True):
            panel.set_title(title, loc="left", fontsize=10)
            panel.set_xlabel("AP")
            panel.margins(x=0.12)
            grid(panel)
        panels[0].set_yticks(range(len(values)), list(values))
        panels[0].set_ylim(len(values) - 0.4, -0.6)
        return svg(figure)


def _spans(runs: Sequence[Sequence[float | None]]) -> Iterator[tuple[int, tuple[float, float, float]]]:
    """Place, and lowest, mean and highest of the runs there, where all have a number."""
    for place, column in enumerate(zip(*runs, strict=True)):
        there = [value for value in column if value is not None]
        if there and len(there) == len(column):
            yield place, (min(there), sum(there) / len(there), max(there))


def _mark(panel: Axes, y: float, span: tuple[float, float, float], place: int, label: str = "_") -> None:
    """Mean and range of the row at a place of the legend, which names labels that do not begin with an underscore."""
    low, mean, high = span
    color, marker = COLORS[place % len(COLORS)], "osD"[place // len(COLORS) % 3]
    panel.plot([low, high], [y, y], color=color, linewidth=2, alpha=0.6)
    panel.plot([mean], [y], color=color, marker=marker, markersize=4.5, linestyle="", label=label)
