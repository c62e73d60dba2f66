"""Forest plots: a line an effect, the published one as an open diamond, the measured one as a dot with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from replication.report.drawing import INK, STYLE, grid, svg

RELATIVE = "gain in percent of the respective baseline"
"""The axis where the two sides are of different scales."""

THIN, THICK, FAINT = 2.2, 8.0, 0.3
"""Line widths in points of an interval by itself and of the family's, and the opacity of the latter."""


@dataclass(frozen=True)
class Effect:
    """One line, all numbers in the unit of the plot's axis; what is None is not drawn.

    ``interval`` is of the effect by itself, ``family`` the wider one at the level that Holm's procedure leaves it among
    all effects. ``cut`` is what the effect is judged against where that is not 0. An interval that decides nothing is
    ``open`` and drawn dotted.
    """

    label: str
    published: float | None
    measured: float | None
    interval: tuple[float, float] | None
    color: str
    open: bool = False
    family: tuple[float, float] | None = None
    cut: float | None = None


def draw_forest(name: str, effects: Sequence[Effect], axis: str) -> str:
    """An SVG document, the same bytes for the same effects; ``axis`` says what is measured in which unit."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        return svg(forest(effects, axis))


def forest(effects: Sequence[Effect], axis: str) -> Figure:
    """The figure of ``draw_forest``, effects from top to bottom."""
    figure = Figure(figsize=(9.2, 1.6 + 0.42 * len(effects)), layout="constrained")
    panel = figure.subplots()
    for line, effect in enumerate(effects):
        _line(panel, -line, effect)
    panel.axvline(0, color=INK, linewidth=1)
    panel.set_yticks([-line for line in range(len(effects))], [effect.label for effect in effects])
    panel.set_ylim(0.6 - len(effects), 0.6)
    panel.set_xlabel(axis)
    panel.spines["left"].set_visible(False)
    panel.tick_params(axis="y", length=0)
    grid(panel)
    panel.grid(visible=False, axis="y")
    handles = [
        Line2D([], [], color=INK, marker="D", fillstyle="none", linestyle="", label="published"),
        Line2D([], [], color=INK, marker="o", linewidth=THIN, label="measured, 95% interval by itself"),
        Line2D([], [], color=INK, linewidth=THICK, alpha=FAINT, label="among all claims (Holm)"),
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=3, frameon=False)
    return figure


def _line(panel: Axes, y: float, effect: Effect) -> None:
    if effect.family is not None:
        panel.hlines(y, *effect.family, color=effect.color, linewidth=THICK, alpha=FAINT)
    if effect.cut is not None:
        panel.vlines(effect.cut, y - 0.32, y + 0.32, color=INK, linewidth=1)
    if effect.interval is not None:
        style = ":" if effect.open else "-"
        panel.plot(effect.interval, [y, y], color=effect.color, linewidth=THIN, linestyle=style)
    if effect.measured is not None:
        panel.plot([effect.measured], [y], marker="o", color=effect.color, markersize=6.5)
    if effect.published is not None:
        panel.plot([effect.published], [y], marker="D", color=INK, markersize=6, fillstyle="none", markeredgewidth=1.4)
