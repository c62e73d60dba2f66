"""GIoU's figure 3: localisation accuracy and "class loss" of YOLOv3 in training, beside the paper's own."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from replication.report.cells import Comparison, Line
from replication.report.curves import Points, band, smooth
from replication.report.drawing import COLORS, STYLE, Drawing, grid, svg
from replication.report.papers import PaperFigures
from replication.results.finished import curve

PANELS = {"iou": "localisation accuracy", "class_loss": '"class loss"'}
"""What is drawn, by its key in ``curves.jsonl``, which only YOLOv3's runs have both."""

# DeepPaperStudy/DPS-2nd, GIoU.pdf, slide 14 (a picture of the paper's figure): read off by hand, to 0.002 and 0.2.
ITERATIONS = (25_000, 50_000, 100_000, 150_000, 200_000, 300_000, 395_000)
PUBLISHED: dict[str, dict[str, tuple[float, ...]]] = {
    "iou": {
        "mse": (0.697, 0.712, 0.724, 0.731, 0.732, 0.739, 0.751),
        "iou": (0.704, 0.730, 0.749, 0.755, 0.758, 0.767, 0.775),
        "giou": (0.714, 0.731, 0.743, 0.747, 0.759, 0.770, 0.779),
    },
    "class_loss": {
        "mse": (10.6, 9.5, 8.4, 7.8, 7.8, 7.2, 6.6),
        "iou": (12.7, 11.1, 9.2, 8.8, 8.5, 8.1, 7.7),
        "giou": (17.8, 15.3, 12.2, 10.6, 9.8, 8.1, 7.6),
    },
}
"""The paper's curves at ``ITERATIONS``, by key and row."""

CAPTION = (
    "As the paper's Fig. 3. Above: measured on the training images, the mean of a row's seeds with their range, each a "
    "running mean over a twentieth of the curve. Below: the paper's own, of its training on COCO, read off a picture "
    "of the figure at seven iterations, to 0.002 and 0.2. That the figure shows these two logged quantities is "
    "inferred from their names and sizes. Accuracy is the mean IoU of each object with the prediction that is trained "
    'towards it. The "class loss" is not the classification loss: it is the sum of the squared gradients of '
    "objectness and classes at the outputs, the mean over levels, for four images, as the authors' code logs it. The "
    "first iterations show how a training starts, not its loss: predictions still scatter around their anchors, which "
    "overlap the objects, so accuracy is well above 0 with every loss; the class loss is that of the initial "
    "objectness. Where that is 0.5 everywhere, as in the paper's trainings, it is in the thousands at 608 pixels, far "
    "above the paper's axis; where it is near 0, as in small protocols, the objects make nearly all of it from the "
    "first iteration on. Compare the order of the lines, not their height, which changes with data, input size and "
    "anchors."
)


def draw_training(comparison: Comparison) -> Drawing | None:
    """Figure 3 for one table: measured above, published below. None where no run has logged what it shows.

    The same bytes for the same runs. Raises ResultError naming a broken curve.
    """
    measured = {label: (line, runs) for label, line in comparison.variants.items() if (runs := _curves(line))}
    if not measured:
        return None
    name = f"{comparison.table.id}_training"
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(9.2, 6.2), layout="constrained")
        above, below = figure.subplots(2, len(PANELS))
        for key, top, bottom in zip(PANELS, above, below, strict=True):
            for number, (label, (line, runs)) in enumerate(measured.items()):
                color = COLORS[number % len(COLORS)]
                _plot_measured(top, [runs_of[key] for runs_of in runs], label, color)
                if line.row.id in PUBLISHED[key]:
                    bottom.plot(ITERATIONS, PUBLISHED[key][line.row.id], "--o", color=color, markersize=4)
            _dress(top, f"{PANELS[key]}, measured")
            _dress(bottom, f"{PANELS[key]}, the paper's")
        handles, labels = above[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        document = svg(figure)
    return Drawing(name, document, CAPTION)


def _curves(line: Line) -> list[dict[str, Points]]:
    """Of each run that has logged both: iteration and smoothed value, shape (n, 2), by key."""
    found = []
    for run in line.runs:
        lines = [entry for entry in curve(run) if PANELS.keys() <= entry.keys()]
        if lines:
            found.append({key: _smoothed(lines, key) for key in PANELS})
    return found


def _smoothed(lines: Sequence[dict[str, float]], key: str) -> Points:
    points = np.array([(entry["iteration"], entry[key]) for entry in lines], dtype=np.float64)
    points[:, 1] = smooth(points[:, 1])
    return points


def _plot_measured(axes: Axes, runs: Sequence[Points], label: str, color: str) -> None:
    iterations, low, mean, high = band(runs)
    axes.plot(iterations, mean, color=color, label=label)
    if len(runs) > 1:
        axes.fill_between(iterations, low, high, color=color, alpha=0.18, linewidth=0)


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left")
    axes.set_xlabel("iteration")
    grid(axes)
    axes.margins(x=0.01)


def _training_of(comparison: Comparison) -> list[Drawing]:
    drawing = draw_training(comparison)
    return [] if drawing is None else [drawing]


FIGURES = PaperFigures(of_table=_training_of)
"""Figure 3 for each of the paper's tables whose detectors log it: those of YOLOv3."""
