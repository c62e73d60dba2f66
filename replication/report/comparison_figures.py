"""Figures of a comparison of arms as SVG: forest plot, differences by class, precision-recall curves."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from replication.report.drawing import INK, STYLE, Drawing, grid, svg
from replication.report.precision import PRECISION_BAND, PRECISION_CAPTION, draw_precision
from replication.verdicts.arms import Arms
from replication.verdicts.comparison_records import ArmComparison, Contrast, Effect
from replication.verdicts.comparison_words import MINUS

BETTER, WORSE, OPEN = "#22997a", "#d9534f", "#5f87a0"


def forest(comparison: ArmComparison) -> Drawing:
    """The differences of all arms and metrics with both intervals."""
    lines = [(one, effect, label) for one in comparison.contrasts for effect, label in _lines(comparison, one)]
    with mpl.rc_context({**STYLE, "svg.hashsalt": "comparison-forest"}):
        figure = Figure(figsize=(9.2, 1.6 + 0.36 * len(lines)), layout="constrained")
        panel = figure.subplots()
        for place, (_, effect, _) in enumerate(lines):
            _interval(panel, -place, effect, comparison.options.alpha)
        claimed = comparison.options.claimed
        if claimed is not None:
            panel.axvline(claimed, color=INK, linewidth=1, linestyle="--")
        _axis(panel, [label for _, _, label in lines], "difference in AP points")
        handles = [
            Line2D([], [], color=INK, linewidth=2.6, label="new images"),
            Line2D([], [], color=INK, linewidth=7, alpha=0.3, label="this benchmark"),
        ]
        if claimed is not None:
            handles.append(Line2D([], [], color=INK, linewidth=1, linestyle="--", label="claimed gain"))
        figure.legend(handles=handles, loc="outside upper right", ncols=3, frameon=False)
        drawn = svg(figure)
    level = f"{100 * (1 - comparison.options.alpha):.3g}%"
    caption = (
        f"Differences to {comparison.contrasts[0].baseline} with {level} intervals. Green: above 0 after Holm's "
        "procedure; red: below; blue: neither."
    )
    return Drawing("forest", drawn, caption)


def _lines(comparison: ArmComparison, one: Contrast) -> list[tuple[Effect, str]]:
    name = f"{one.arm}: " if len(comparison.contrasts) > 1 else ""
    effects = [one.effect, *one.metrics[1:]]
    effects += [size for size in one.sizes if size.name not in {effect.name for effect in effects}]
    return [(effect, f"{name}{effect.name}") for effect in effects]


def by_class(comparison: ArmComparison, contrast: Contrast) -> Drawing | None:
    """The differences of one arm by class, greatest first; None without classes."""
    effects = sorted(contrast.classes, key=lambda effect: effect.difference, reverse=True)
    if not effects:
        return None
    name = f"classes-{contrast.arm}"
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(9.2, 1.0 + 0.21 * len(effects)), layout="constrained")
        panel = figure.subplots()
        for place, effect in enumerate(effects):
            _interval(panel, -place, effect, comparison.options.alpha)
        _axis(panel, [f"{effect.name} ({effect.objects})" for effect in effects], "difference in AP points", 8.5)
        drawn = svg(figure)
    caption = (
        f"Difference in AP ({contrast.arm} {MINUS} {contrast.baseline}) by class, for classes with at least ten "
        "objects (their number in parentheses). Line: new images; band: this benchmark. Coloured after Holm's "
        "procedure over all classes."
    )
    return Drawing(name, drawn, caption)


def _interval(panel: Axes, y: float, effect: Effect, alpha: float) -> None:
    color = OPEN
    if effect.p_holm is not None and effect.p_holm <= alpha:
        color = BETTER if effect.difference > 0 else WORSE
    if effect.this_benchmark is not None:
        bounds = effect.this_benchmark
        panel.plot([bounds.low, bounds.high], [y, y], color=color, linewidth=7, alpha=0.3, solid_capstyle="butt")
    if effect.new_images is not None:
        bounds = effect.new_images
        style = ":" if effect.p is None else "-"
        panel.plot([bounds.low, bounds.high], [y, y], color=color, linewidth=2.2, linestyle=style)
    panel.plot([effect.difference], [y], marker="o", color=color, markersize=5)


def _axis(panel: Axes, labels: Sequence[str], title: str, size: float = 11) -> None:
    panel.axvline(0, color=INK, linewidth=1)
    panel.set_yticks([-place for place in range(len(labels))], labels, fontsize=size)
    panel.set_ylim(0.6 - len(labels), 0.6)
    panel.set_xlabel(title)
    panel.spines["left"].set_visible(False)
    panel.tick_params(axis="y", length=0)
    grid(panel)
    panel.grid(visible=False, axis="y")


def curves(arms: Arms) -> Drawing:
    """Precision against recall of all arms."""
    drawn = draw_precision("comparison-curves", {arm.name: [run.curves for run in arm.runs] for arm in arms.arms})
    return Drawing("curves", drawn, f"{PRECISION_CAPTION} A line is the mean over an arm's runs, {PRECISION_BAND}")
