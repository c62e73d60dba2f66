"""Images on which two detectors differ most, with what each found there: which they are, and what is shown of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from replication.catalog.units import MINUS
from replication.formats.columns import Detections, Floats, GroundTruth
from replication.report.samples import Box, data_uri, drawn_boxes

MIN_SCORE = 0.3
METRIC = "AP50"


@dataclass(frozen=True)
class Shown:
    """One image as a data URI with its objects and what the first run of each side found.

    ``influence`` is by how much the difference of the two would be lower without the image, in points of ``METRIC``.
    """

    name: str
    uri: str
    width: float
    height: float
    influence: float
    panels: tuple[tuple[str, tuple[Box, ...]], ...]

    @property
    def added(self) -> str:
        """The influence with its sign."""
        return f"{self.influence:+.3f}".replace("-", MINUS)


def most_influential(truth: GroundTruth, influence: Floats, folder: Path, each: int) -> list[int]:
    """Places of the images that speak most for a positive difference, then of those that speak most against it: up to
    ``each`` on either side, of those that are in the folder.
    """
    order = np.argsort(-influence, kind="stable").tolist()
    there = [place for place in order if (folder / truth.image_names[place]).is_file()]
    chosen = [place for place in there if influence[place] > 0][:each]
    return chosen + [place for place in reversed(there) if influence[place] < 0][:each]


def show(
    truth: GroundTruth, place: int, influence: float, found: Mapping[str, Detections], folder: Path
) -> Shown | None:
    """The image with the detections of at least ``MIN_SCORE``; None where it cannot be read."""
    path = folder / truth.image_names[place]
    uri = data_uri(path)
    if uri is None:
        return None
    height, width = truth.sizes[place].tolist()
    if np.isnan(height) or np.isnan(width):
        with Image.open(path) as image:
            width, height = image.size
    objects = drawn_boxes(truth, (truth.images == place) & ~truth.crowds, truth.class_names)
    panels = [("objects", objects)]
    for name, one in found.items():
        kept = (one.images == place) & (one.scores >= MIN_SCORE)
        panels.append((name, drawn_boxes(one, kept, truth.class_names, one.scores)))
    return Shown(truth.image_names[place], uri, width, height, influence, tuple(panels))
