"""Training curves as SVG: classification loss and mean IoU against iterations, a line a variant (GIoU, Fig. 3)."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from replication.finished import curve
from replication.report.cells import Comparison

COLORS = ("#3f7fd8", "#e07b1a", "#22997a", "#c2488f", "#8a63d2", "#a8892b", "#5f87a0", "#d9534f")
"""Told apart on white and on near-black, and in the commonest colour blindnesses by lightness order."""

INK = "#68707c"
"""Colour of axes and text; ``adaptive`` turns it into the page's own text colour."""

PANELS = (("loss_cls", "classification loss"), ("iou", "average IoU of matched predictions"))
SMOOTHING = 20  # a line is the running mean over 1/20 of its points

STYLE = {
    "svg.fonttype": "none",
    "font.size": 11,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "lines.linewidth": 1.8,
}

Points = NDArray[np.float64]


def draw_curves(comparison: Comparison) -> str | None:
    """The figure of one table as an SVG document, the same bytes for the same runs; None when no run has a curve."""
    drawn = _series(comparison)
    if not drawn:
        return None
    with mpl.rc_context({**STYLE, "svg.hashsalt": comparison.table.id}):
        figure = Figure(figsize=(9.2, 3.4 + 0.22 * ((len(drawn) + 2) // 3)), layout="constrained")
        for panel, (key, title) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
            _panel(panel, key, title, drawn)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(3, len(labels)), frameon=False)
        return svg(figure)


def svg(figure: Figure) -> str:
    """A figure as an SVG document without dates, to be called inside of the figure's ``rc_context``."""
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
    )
    return buffer.getvalue()


def curves_path(comparison: Comparison, results: Path) -> Path:
    """``results/<protocol>/figures/<table>_curves.svg``."""
    return results / comparison.protocol.name / "figures" / f"{comparison.table.id}_curves.svg"


def adaptive(document: str) -> str:
    """The ``<svg>`` element alone, to stand in an HTML page: text and axes in the page's colour and font."""
    element = document[document.index("<svg ") :]
    element = re.sub(r'(<svg [^>]*?) width="[^"]*"', r"\1", element.replace('height="', 'data-height="', 1), count=1)
    element = re.sub(r"font: ([^;\"]*?px) [^;\"]*", r"font-size: \1", element)
    return element.replace(INK, "currentColor").strip()


def _series(comparison: Comparison) -> dict[str, list[list[dict[str, float]]]]:
    """Curves by label: one list of lines a run. A variant that stands in two rows is drawn once."""
    series: dict[str, list[list[dict[str, float]]]] = {}
    seen: set[str] = set()
    several = len({line.row.backbone for line in comparison.lines if line.runs}) > 1
    for line in comparison.lines:
        if not line.runs or line.runs[0].variant in seen:
            continue
        seen.add(line.runs[0].variant)
        curves = [lines for lines in map(curve, line.runs) if lines]
        if curves:
            series[f"{line.row.label}, {line.row.backbone}" if several else line.row.label] = curves
    return series


def _panel(panel: Axes, key: str, title: str, drawn: dict[str, list[list[dict[str, float]]]]) -> None:
    for position, (label, curves) in enumerate(drawn.items()):
        color, dash = COLORS[position % len(COLORS)], ("-", "--", ":")[position // len(COLORS) % 3]
        runs = [points for points in (_points(lines, key) for lines in curves) if len(points)]
        if not runs:
            continue
        iterations, low, mean, high = band(runs)
        panel.plot(iterations, mean, color=color, linestyle=dash, label=label)
        if len(runs) > 1:
            panel.fill_between(iterations, low, high, color=color, alpha=0.18, linewidth=0)
    panel.set_title(title, loc="left")
    panel.set_xlabel("iteration")
    grid(panel)
    panel.margins(x=0.01)


def grid(panel: Axes) -> None:
    """Faint lines behind what is drawn."""
    panel.grid(color=INK, alpha=0.18, linewidth=0.7)
    panel.set_axisbelow(True)


def _points(lines: Sequence[dict[str, float]], key: str) -> Points:
    """Iteration and smoothed value, shape (n, 2)."""
    raw = np.array([(line["iteration"], line[key]) for line in lines if key in line], dtype=np.float64).reshape(-1, 2)
    if len(raw):
        raw[:, 1] = smooth(raw[:, 1])
    return raw


def smooth(values: Points) -> Points:
    """Centred running mean; the window shrinks at the ends so that nothing is invented there."""
    half = max(1, round(len(values) / SMOOTHING / 2))
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    # The same reach on both sides, or a falling curve would be lifted at its start.
    reach = np.minimum(half, np.minimum(index, len(values) - 1 - index))
    mean: Points = (total[index + reach + 1] - total[index - reach]) / (2 * reach + 1)
    return mean


def band(runs: Sequence[Points]) -> tuple[Points, Points, Points, Points]:
    """Iterations of the shortest run, and lowest, mean and highest value of the runs there."""
    iterations = min((points[:, 0] for points in runs), key=len)
    values = np.stack([np.interp(iterations, points[:, 0], points[:, 1]) for points in runs])
    return iterations, values.min(axis=0), values.mean(axis=0), values.max(axis=0)
