"""Confusion matrices as SVG: what the objects of each class are detected as, one matrix a row of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from replication.formats.columns import Floats
from replication.report.drawing import COLORS, INK, STYLE, svg
from replication.results.schemas import Outcomes

NAMED = 20  # classes; a matrix of more has neither names nor numbers, which would cover it
SHOWN_PERCENT = 5  # least number that is written into a matrix
BACKGROUND = "none"


def _percent(runs: Sequence[Outcomes]) -> Floats:
    """Percent (C + 1, C + 1) of the objects of a class, mean over runs; of the background's row, of the false ones."""
    counts = [np.array(run.confusion, np.float64) for run in runs]
    shares: Floats = 100 * np.mean([one / np.maximum(one.sum(axis=1, keepdims=True), 1) for one in counts], axis=0)
    return shares


def draw_confusions(table: str, names: Mapping[str, Sequence[str]], outcomes: Mapping[str, Sequence[Outcomes]]) -> str:
    """A matrix a row, two beside each other."""
    high = -(-len(outcomes) // 2)
    with mpl.rc_context({**STYLE, "svg.hashsalt": f"{table}-confusion"}):
        figure = Figure(figsize=(9.2, 0.2 + 4.5 * high), layout="constrained")
        panels = figure.subplots(high, 2, squeeze=False).ravel()
        for panel in panels[len(outcomes) :]:
            panel.set_visible(False)
        for panel, (label, runs) in zip(panels, outcomes.items(), strict=False):
            _matrix(panel, label, [*names[label], BACKGROUND], _percent(runs))
        return svg(figure)


def _matrix(panel: Axes, label: str, names: Sequence[str], percent: Floats) -> None:
    tint = np.zeros((*percent.shape, 4))
    tint[..., :3] = mpl.colors.to_rgb(COLORS[0])
    tint[..., 3] = 0.7 * percent / 100  # text stays readable on it
    panel.imshow(tint, interpolation="nearest")
    panel.set_title(label, loc="left")
    panel.set_xlabel("detected as")
    panel.set_ylabel("object")
    if len(names) > NAMED:
        return
    panel.set_xticks(range(len(names)), names, rotation=90, fontsize=9)
    panel.set_yticks(range(len(names)), names, fontsize=9)
    for row, column in np.argwhere(percent.round() >= SHOWN_PERCENT):
        panel.text(column, row, f"{percent[row, column]:.0f}", ha="center", va="center", fontsize=7.5, color=INK)


def confusion_caption(outcomes: Mapping[str, Sequence[Outcomes]]) -> str:
    """What is drawn, at which scores, and how far seeds differ."""
    scores = [run.confusion_score for runs in outcomes.values() for run in runs]
    several = {label: [_diagonal(run) for run in runs] for label, runs in outcomes.items() if len(runs) > 1}
    spread = {label: max(shares) - min(shares) for label, shares in several.items()}
    text = (
        "What the objects of a class are detected as: percent, mean over a row's seeds. Detections are paired with "
        "objects by falling score and greatest IoU, at least 0.5, whatever the classes. The last column is objects "
        "without a detection, the last row what detections without an object are taken for. Only detections count "
        "that reach the score at which a run's F1 over all classes is greatest: "
        f"{min(scores):.2f} to {max(scores):.2f}. Numbers below {SHOWN_PERCENT} are not written."
    )
    if spread:
        most = max(spread.values())
        text += f" The share of objects detected as what they are differs by at most {most:.1f} points between seeds."
    return text


def _diagonal(run: Outcomes) -> float:
    """Percent of all objects that are detected as what they are."""
    counts = np.array(run.confusion, np.float64)[:-1]
    return 100 * float(np.trace(counts)) / max(1.0, float(counts.sum()))
