"""The images on which two arms differ most, with what a run of each found there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from replication.errors import DataError
from replication.evaluation.influence import leave_one_out
from replication.evaluation.inputs import as_detections, as_ground_truth
from replication.evaluation.matching import match
from replication.formats.columns import Detections, Floats, GroundTruth
from replication.report.samples import Box, data_uri
from replication.verdicts.arms import Arm, Arms

SHOWN = 3
"""Images in favour of each side."""
MIN_SCORE = 0.3
METRIC = "AP50"


@dataclass(frozen=True)
class Shown:
    """One image as a data URI with its objects and what the first run of each side found.

    ``influence`` is by how much the difference of the arms would be lower without the image, in AP50 points.
    """

    name: str
    uri: str
    width: float
    height: float
    influence: float
    panels: tuple[tuple[str, tuple[Box, ...]], ...]


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
    order = np.argsort(-influence, kind="stable").tolist()
    there = [place for place in order if (folder / truth.image_names[place]).is_file()]
    chosen = [place for place in there if influence[place] > 0][:SHOWN]
    chosen += [place for place in reversed(there) if influence[place] < 0][:SHOWN]
    found = dict(zip((baseline.name, arm.name), first, strict=True))
    shown = [_shown(truth, place, float(influence[place]), found, folder) for place in chosen]
    return [one for one in shown if one is not None]


def _influence(arms: Arms, arm: Arm, truth: GroundTruth) -> Floats:
    """Mean over an arm's runs of what each image adds to AP50."""
    criterion, masks = arms.resampling.criterion, arms.resampling.masks
    found = (as_detections(Path(run.name), truth, polygons=masks) for run in arm.runs)
    values = [leave_one_out(match(truth, one, criterion, masks=masks), METRIC) for one in found]
    mean: Floats = np.mean(values, axis=0)
    return mean


def _shown(
    truth: GroundTruth, place: int, influence: float, found: dict[str, Detections], folder: Path
) -> Shown | None:
    """The image; None where it cannot be read."""
    path = folder / truth.image_names[place]
    uri = _readable(path)
    if uri is None:
        return None
    height, width = truth.sizes[place].tolist()
    if np.isnan(height) or np.isnan(width):
        from PIL import Image

        with Image.open(path) as image:
            width, height = image.size
    objects = tuple(_boxes(truth, truth.boxes, truth.labels, (truth.images == place) & ~truth.crowds))
    panels = [("objects", objects)]
    for name, one in found.items():
        kept = (one.images == place) & (one.scores >= MIN_SCORE)
        panels.append((name, tuple(_boxes(truth, one.boxes, one.labels, kept, one.scores))))
    return Shown(truth.image_names[place], uri, width, height, influence, tuple(panels))


def _readable(path: Path) -> str | None:
    """A data URI, None for a file that is no image or a broken one."""
    try:
        return data_uri(path)
    except OSError:
        return None


def _boxes(
    truth: GroundTruth, boxes: Floats, labels: np.ndarray, kept: np.ndarray, scores: Floats | None = None
) -> Iterator[Box]:
    for row in np.flatnonzero(kept):
        x, y, right, bottom = (round(float(value), 1) for value in boxes[row])
        score = None if scores is None else float(scores[row])
        yield Box(x, y, round(right - x, 1), round(bottom - y, 1), truth.class_names[labels[row]], score)
