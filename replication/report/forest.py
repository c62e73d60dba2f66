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


@dataclass(frozen=True)
class Effect:
    """One line, all numbers in the unit of the plot's axis; what is None is not drawn.

    An interval that decides nothing is ``open`` and drawn dotted.
    """

    label: str
    published: float | None
    measured: float | None
    interval: tuple[float, float] | None
    color: str
    open: bool = False


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
        Line2D([], [], color=INK, marker="o", label="measured, with its interval"),
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=2, frameon=False)
    return figure


def _line(panel: Axes, y: float, effect: Effect) -> None:
    if effect.interval is not None:
        style = ":" if effect.open else "-"
        panel.plot(effect.interval, [y, y], color=effect.color, linewidth=2.6, linestyle=style)
    if effect.measured is not None:
        panel.plot([effect.measured], [y], marker="o", color=effect.color, markersize=6.5)
    if effect.published is not None:
        panel.plot([effect.published], [y], marker="D", color=INK, markersize=6, fillstyle="none", markeredgewidth=1.4)
