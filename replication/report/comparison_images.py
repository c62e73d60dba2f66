"""The images on which two arms differ most, with what a run of each found there."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from replication.errors import DataError
from replication.evaluation.influence import leave_one_out
from replication.evaluation.inputs import as_detections, as_ground_truth
from replication.evaluation.matching import match
from replication.formats.columns import Floats, GroundTruth
from replication.report.shown_images import METRIC, Shown, most_influential, show
from replication.verdicts.arms import Arm, Arms

SHOWN = 3
"""Images in favour of each side."""


def differing_images(arms: Arms, arm: Arm, folder: Path) -> list[Shown]:
    """The images that speak most for an arm and most for the baseline, of those that are in the folder.

    Raises DataError where the folder has none of the images, or the ground truth does not name them.
    """
    truth = as_ground_truth(arms.truth).under(arms.resampling.criterion)
    baseline = arms.arms[0]
    if not any(truth.image_names):
        raise DataError(f"{arms.truth}: images have no file_name, so that --images cannot find them")
    if not any((folder / name).is_file() for name in truth.image_names):
        raise DataError(f"{folder}: none of the images of {arms.truth} is there, such as {truth.image_names[0]}")
    first = [as_detections(Path(side.runs[0].name), truth) for side in (baseline, arm)]
    influence = _influence(arms, arm, truth) - _influence(arms, baseline, truth)
    found = dict(zip((baseline.name, arm.name), first, strict=True))
    chosen = most_influential(truth, influence, folder, SHOWN)
    shown = [show(truth, place, float(influence[place]), found, folder) for place in chosen]
    return [one for one in shown if one is not None]


def _influence(arms: Arms, arm: Arm, truth: GroundTruth) -> Floats:
    """Mean over an arm's runs of what each image adds to AP50."""
    criterion, masks = arms.resampling.criterion, arms.resampling.masks
    found = (as_detections(Path(run.name), truth, polygons=masks) for run in arm.runs)
    values = [leave_one_out(match(truth, one, criterion, masks=masks), METRIC) for one in found]
    mean: Floats = np.mean(values, axis=0)
    return mean
