"""AP against ms per image as SVG, one panel published, one measured (FSAF, table 2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import stats

from replication.catalog import Column
from replication.report.cells import Cell, Comparison
from replication.report.drawing import COLORS, INK, STYLE, grid, svg

MARKERS = ("o", "s", "D", "^", "v")
LEVEL = 0.95

Interval = tuple[float, float]


@dataclass(frozen=True)
class Point:
    """One row: ``ms`` per image and ``ap`` in the table's unit, measured ones with their 95% intervals, if any."""

    method: str
    backbone: str
    ms: float
    ap: float
    ms_interval: Interval | None = None
    ap_interval: Interval | None = None


@dataclass(frozen=True)
class Picture:
    """The points of both panels, in row order."""

    published: tuple[Point, ...]
    measured: tuple[Point, ...]
    unit: str


def picture(comparison: Comparison) -> Picture | None:
    """What is drawn; None for a table without AP or latency, and before any row has both measured."""
    columns = comparison.table.columns
    accuracy = next((column for column in columns if column.metric == "AP"), None)
    latency = next((column for column in columns if column.lower_is_better), None)
    if accuracy is None or latency is None:
        return None
    measured = _points(comparison, accuracy, latency, "measured")
    if not measured:
        return None
    return Picture(_points(comparison, accuracy, latency, "published"), measured, accuracy.unit)


def _points(comparison: Comparison, accuracy: Column, latency: Column, side: str) -> tuple[Point, ...]:
    drawn = []
    for line in comparison.lines:
        cells: tuple[Cell, Cell] = (line.cells[latency.id], line.cells[accuracy.id])
        ms, ap = (getattr(cell, side) for cell in cells)
        if ms is not None and ap is not None:
            intervals = (_of_median(cells[0]), _of_mean(cells[1], len(line.runs))) if side == "measured" else ()
            drawn.append(Point(line.row.label, line.row.backbone, ms, ap, *intervals))
    return tuple(drawn)


def _of_median(cell: Cell) -> Interval | None:
    """That of the time, over rounds; None for too few rounds."""
    found = cell.interval
    return None if found is None or found.low is None or found.high is None else (found.low, found.high)


def _of_mean(cell: Cell, runs: int) -> Interval | None:
    """The t interval of the mean over the row's own runs; None for a single run."""
    if cell.measured is None or cell.sd is None:
        return None
    half = float(stats.t.ppf((1 + LEVEL) / 2, runs - 1)) * cell.sd / math.sqrt(runs)
    return cell.measured - half, cell.measured + half


def draw_picture(comparison: Comparison) -> str | None:
    """The picture of one table as an SVG document, the same bytes for the same results; None without one."""
    points = picture(comparison)
    if points is None:
        return None
    with mpl.rc_context({**STYLE, "svg.hashsalt": f"{comparison.table.id}-latency"}):
        return svg(make_figure(points))


def make_figure(points: Picture) -> Figure:
    """One colour and line per method, through its backbones; one marker per backbone."""
    shown = (*points.published, *points.measured)
    colors = _assigned([point.method for point in shown], COLORS)
    markers = _assigned([point.backbone for point in shown], MARKERS)
    figure = Figure(figsize=(9.2, 4.1), layout="constrained")
    panels = figure.subplots(1, 2)
    for panel, (title, side) in zip(
        panels, (("published", points.published), ("measured", points.measured)), strict=True
    ):
        _panel(panel, title, side, colors, markers, points.unit)
    handles = [Line2D([], [], color=color, label=method) for method, color in colors.items()]
    handles += [Line2D([], [], color=INK, linestyle="", marker=marker, label=name) for name, marker in markers.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)), frameon=False)
    return figure


def _assigned(names: list[str], values: tuple[str, ...]) -> dict[str, str]:
    return {name: values[index % len(values)] for index, name in enumerate(dict.fromkeys(names))}


def _panel(
    panel: Axes, title: str, points: tuple[Point, ...], colors: dict[str, str], markers: dict[str, str], unit: str
) -> None:
    for method, color in colors.items():
        own = [point for point in points if point.method == method]
        panel.plot([point.ms for point in own], [point.ap for point in own], color=color, alpha=0.5, linewidth=1.2)
        for point in own:
            _bars(panel, point, color)
            panel.plot(point.ms, point.ap, color=color, marker=markers[point.backbone], linestyle="", markersize=7)
    panel.set_title(title, loc="left")
    panel.set_xlabel("ms per image")
    panel.set_ylabel(f"AP ({unit})")
    grid(panel)
    panel.margins(0.12)


def _bars(panel: Axes, point: Point, color: str) -> None:
    if point.ms_interval is not None:
        panel.hlines(point.ap, *point.ms_interval, color=color, linewidth=1.4)
    if point.ap_interval is not None:
        panel.vlines(point.ms, *point.ap_interval, color=color, linewidth=1.4)
