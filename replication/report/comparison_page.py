"""A comparison of arms as one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from replication import __version__
from replication.report.comparison import blocks, facts
from replication.report.comparison_figures import by_class, curves, forest
from replication.report.comparison_images import differing_images
from replication.report.html import html_environment
from replication.report.shown_images import METRIC, MIN_SCORE
from replication.verdicts.arms import Arms
from replication.verdicts.comparison_records import ArmComparison
from replication.verdicts.comparison_words import signed

TONES = {"better": "good", "worse": "bad", "no gain of practical size": "bad"}


def comparison_page(comparison: ArmComparison, arms: Arms, images: Path | None = None) -> str:
    """The page as text; ``images`` is the folder of the images, which adds those on which arms differ most.

    Raises DataError where that folder does not have them.
    """
    environment = html_environment()
    environment.filters["signed"] = signed
    classes = [by_class(comparison, contrast) for contrast in comparison.contrasts]
    drawings = [forest(comparison), curves(arms), *(one for one in classes if one is not None)]
    return environment.get_template("comparison.html.jinja").render(
        comparison=comparison,
        sentences=comparison.sentence.split("\n"),
        facts=list(facts(comparison)),
        drawings=drawings,
        blocks=list(blocks(comparison)),
        tones=TONES,
        photos=_photos(arms, images),
        metric=METRIC,
        min_score=MIN_SCORE,
        version=__version__,
    )


def _photos(arms: Arms, images: Path | None) -> list[tuple[str, list[Any]]]:
    """Of each arm but the baseline, the images on which they differ most."""
    if images is None:
        return []
    return [(arm.name, differing_images(arms, arm, images)) for arm in arms.arms[1:]]
