"""Precision-recall curves as SVG, of the arms of a comparison or the rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from replication.evaluation.curves import CURVES, POINTS
from replication.formats.columns import Floats
from replication.report.drawing import STYLE, grid, shared_legend, stroke, svg

PRECISION_CAPTION = "Precision at a recall or any higher one, mean over classes."
PRECISION_BAND = "its band reaches from the lowest to the highest run."


def draw_precision(name: str, series: Mapping[str, Sequence[Floats]]) -> str:
    """The figure as an SVG document; ``series`` are the curves (2, 101) of each run by label."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(9.2, 4.2 + 0.22 * ((len(series) + 2) // 3)), layout="constrained")
        panels = figure.subplots(1, len(CURVES), sharey=True)
        for row, (panel, overlap) in enumerate(zip(panels, CURVES, strict=True)):
            for place, (label, runs) in enumerate(series.items()):
                values, (color, dash) = np.stack([run[row] for run in runs]), stroke(place)
                panel.plot(POINTS, values.mean(axis=0), color=color, linestyle=dash, label=label)
                if len(runs) > 1:
                    low, high = values.min(axis=0), values.max(axis=0)
                    panel.fill_between(POINTS, low, high, color=color, alpha=0.2, linewidth=0)
            panel.set_title(f"overlap {overlap:g}", loc="left")
            panel.set_xlabel("recall")
            panel.set_xlim(0, 1)
            panel.set_ylim(0, 1)
            grid(panel)
        panels[0].set_ylabel("precision")
        shared_legend(figure, panels[0])
        return svg(figure)
