"""Training curves as SVG: classification loss and mean IoU against iterations, one line per variant (GIoU, Fig. 3)."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from replication.report.cells import Comparison
from replication.report.drawing import STYLE, grid, stroke, svg
from replication.results.finished import curve

PANELS = (
    (("loss_cls", "loss_rpn_cls"), "classification loss"),  # an RPN alone has the second only
    (("iou",), "average IoU of matched predictions"),
)
SMOOTHING = 20  # a line is the running mean over 1/20 of its points

Points = NDArray[np.float64]


def draw_curves(comparison: Comparison) -> str | None:
    """The figure of one table as an SVG document, the same bytes for the same runs; None when no run has a curve."""
    drawn = _series(comparison)
    if not drawn:
        return None
    panels = [
        panel for panel in PANELS if any(_points(lines, panel[0]).size for runs in drawn.values() for lines in runs)
    ]
    if not panels:
        return None
    with mpl.rc_context({**STYLE, "svg.hashsalt": comparison.table.id}):
        figure = Figure(figsize=(9.2, 3.4 + 0.22 * ((len(drawn) + 2) // 3)), layout="constrained")
        for axis, (keys, title) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            _panel(axis, keys, title, drawn)
        # A detector may have one of the curves only.
        lines = {line.get_label(): line for axis in reversed(figure.axes) for line in axis.get_lines()}
        labels = [label for label in drawn if label in lines]
        handles = [lines[label] for label in labels]
        figure.legend(handles, labels, loc="outside lower center", ncols=min(3, len(labels)), frameon=False)
        return svg(figure)


def _series(comparison: Comparison) -> dict[str, list[list[dict[str, float]]]]:
    """Curves by label: one list of lines per run."""
    series = {label: [lines for lines in map(curve, line.runs) if lines] for label, line in comparison.variants.items()}
    return {label: curves for label, curves in series.items() if curves}


def _panel(panel: Axes, keys: Sequence[str], title: str, drawn: dict[str, list[list[dict[str, float]]]]) -> None:
    for position, (label, curves) in enumerate(drawn.items()):
        color, dash = stroke(position)
        runs = [points for points in (_points(lines, keys) for lines in curves) if len(points)]
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


def _points(lines: Sequence[dict[str, float]], keys: Sequence[str]) -> Points:
    """Iteration and smoothed value of the first of the keys that a line has, shape (n, 2)."""
    pairs = [
        (line["iteration"], next(line[key] for key in keys if key in line)) for line in lines if line.keys() & set(keys)
    ]
    raw = np.array(pairs, dtype=np.float64).reshape(-1, 2)
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
