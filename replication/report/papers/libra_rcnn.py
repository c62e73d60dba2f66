"""Figures of Libra R-CNN: negatives by IoU (Fig. 3), balanced L1 (Fig. 5)."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from replication.report.drawing import COLORS, INK, STYLE, Drawing, svg
from replication.report.papers import PaperFigures

PAPER = "libra_rcnn"
SAMPLED = (
    ("hard", "hard negatives (highest loss)"),
    ("random", "random sampling"),
    ("iou_balanced", "IoU-balanced sampling"),
)
EASY = 0.05  # the IoU that the paper's proportions are about (section 3.1)


def draw_sampling(data: dict[str, Any]) -> Drawing:
    """Histograms of the data ``sampling``, each in percent of its own samples."""
    edges, counts = data["edges"], data["counts"]
    with mpl.rc_context({**STYLE, "svg.hashsalt": f"{PAPER}_sampling"}):
        figure = Figure(figsize=(9.2, 3.2), layout="constrained")
        axes = figure.subplots(1, len(SAMPLED), sharey=True)
        for axis, (name, title), color in zip(axes, SAMPLED, COLORS, strict=False):
            share = 100 * np.array(counts[name]) / max(1, sum(counts[name]))
            axis.bar(edges[:-1], share, width=np.diff(edges) * 0.94, align="edge", color=color)
            axis.set_title(f"{title}\n{_above(data, name):.0f}% above IoU {EASY}", loc="left")
            axis.set_xlabel("IoU with the nearest object")
            axis.grid(axis="y", color=INK, alpha=0.18, linewidth=0.7)
            axis.set_axisbelow(True)
        axes[0].set_ylabel("percent of negatives")
        document = svg(figure)
    caption = (
        f"IoU of negatives among the proposals of the trained {data['variant']} on {data['images']} of its training "
        f"images, as in the paper's Fig. 3. There, more than 60% of the hard negatives are above IoU {EASY}, but about "
        f"30% of a random sample; here {_above(data, 'hard'):.0f}% and {_above(data, 'random'):.0f}%."
    )
    return Drawing(f"{PAPER}_sampling", document, caption)


def _above(data: dict[str, Any], name: str) -> float:
    """Percent of the negatives in bins from EASY on."""
    counts = np.array(data["counts"][name])
    first = np.array(data["edges"][:-1]) >= EASY - 1e-9
    return float(100 * counts[first].sum() / max(1, counts.sum()))


def draw_balanced_l1(data: dict[str, Any]) -> Drawing:
    """Gradient and loss over the regression error, one line per setting, as in the paper's Fig. 5."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": f"{PAPER}_balanced_l1"}):
        figure = Figure(figsize=(9.2, 3.6), layout="constrained")
        axes = figure.subplots(1, 2)
        for axis, key in zip(axes, ("gradient", "loss"), strict=True):
            for number, line in enumerate(data["lines"]):
                style = {"color": INK, "linestyle": "--"} if number == 0 else {"color": COLORS[number - 1]}
                axis.plot(data["error"], line[key], label=line["label"], **style)
            _dress(axis, key, "regression error |x|")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        document = svg(figure)
    caption = "Gradient and value of balanced L1 against smooth L1, computed by the code that trains, as in Fig. 5."
    return Drawing(f"{PAPER}_balanced_l1", document, caption)


def _dress(axis: Axes, title: str, label: str) -> None:
    axis.set_title(title, loc="left")
    axis.set_xlabel(label)
    axis.grid(color=INK, alpha=0.18, linewidth=0.7)
    axis.set_axisbelow(True)
    axis.margins(x=0.01)


FIGURES = PaperFigures(of_data={"sampling": draw_sampling, "balanced_l1": draw_balanced_l1})
"""Its figures 3 and 5 from their data."""
