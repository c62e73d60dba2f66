"""What kinds of mistakes cost a table's detectors how much AP, as SVG: one panel per kind, one bar per row."""

from __future__ import annotations

import statistics

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from replication.report.cells import Comparison, Line
from replication.report.drawing import COLORS, INK, STYLE, svg

KINDS = {
    "localisation": "a detection overlaps an object of its class, but with an IoU of only 0.1 to 0.5",
    "classification": "it finds an object (IoU 0.5 or more) and names another class",
    "both": "it overlaps an object of another class with an IoU of only 0.1 to 0.5",
    "duplicate": "it matches an object that a detection with a higher score matches already",
    "background": "it overlaps no object (IoU below 0.1)",
    "missed": "an object that no detection finds, and that none of the first two kinds overlaps",
}
"""The kinds of ``replication.evaluation.mistakes`` in words, in the order of its result."""

MISTAKES_CAPTION = (
    "What mistakes cost: box AP50 (on 0-100) that repairing all mistakes of a kind would gain, mean over a row's "
    "seeds. Each kind is repaired alone, so the gains do not add up. The end of the page says what the kinds are."
)


def repair_gains(line: Line) -> dict[str, float]:
    """AP50 that repairing each kind gains, mean over a row's runs; without kinds for which a run has no number."""
    gains = {kind: [run.mistakes.get(kind) for run in line.runs] for kind in KINDS}
    complete = {kind: [value for value in values if value is not None] for kind, values in gains.items()}
    return {
        kind: statistics.fmean(values) for kind, values in complete.items() if values and len(values) == len(line.runs)
    }


def draw_mistakes(comparison: Comparison) -> str | None:
    """The figure of one table as an SVG document, the same bytes for the same runs; None when no run has mistakes."""
    rows = {label: costs for label, line in comparison.variants.items() if (costs := repair_gains(line))}
    if not rows:
        return None
    with mpl.rc_context({**STYLE, "svg.hashsalt": f"{comparison.table.id}-mistakes"}):
        figure = Figure(figsize=(9.2, 0.8 + 0.3 * len(rows)), layout="constrained")
        panels = figure.subplots(1, len(KINDS), sharex=True, sharey=True)
        for panel, kind in zip(panels, KINDS, strict=True):
            _panel(panel, kind, [costs.get(kind) for costs in rows.values()])
        panels[0].set_yticks(range(len(rows)), list(rows))
        panels[0].set_ylim(len(rows) - 0.4, -0.6)
        longest = max(max(costs.values()) for costs in rows.values())
        panels[0].set_xlim(0, 1.45 * max(longest, 1.0))  # room for the numbers
        return svg(figure)


def _panel(panel: Axes, kind: str, costs: list[float | None]) -> None:
    for place, cost in enumerate(costs):
        if cost is None:
            continue
        panel.barh(place, cost, height=0.62, color=COLORS[place % len(COLORS)])
        panel.annotate(
            f"{cost:.1f}", (max(cost, 0.0), place), xytext=(3, 0), textcoords="offset points", va="center", fontsize=9
        )
    panel.set_title(kind, loc="left", fontsize=10)
    panel.xaxis.set_visible(False)
    panel.spines["bottom"].set_visible(False)
    panel.axvline(0, color=INK, linewidth=1)
    panel.spines["left"].set_visible(False)
    panel.tick_params(axis="y", length=0)
