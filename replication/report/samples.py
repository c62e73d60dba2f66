"""Detections and ground truth drawn on validation images, where the image files are there."""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from replication.datasets.roots import data_root
from replication.formats.columns import Detections, Flags, Floats, GroundTruth
from replication.formats.detections import read_detections
from replication.formats.truth import read_ground_truth
from replication.report.cells import Comparison, Line
from replication.results.layout import Layout
from replication.results.schemas import Data, read

IMAGES = 4
VARIANTS = 3
MIN_SCORE = 0.5
FEW = 8  # objects; images with more come last and without labels, which would cover them
_SIDE = 420  # pixels of the longer side in the page
_QUALITY = 80


@dataclass(frozen=True)
class Box:
    """XYWH in pixels of the original image; ``score`` is None for ground truth."""

    x: float
    y: float
    width: float
    height: float
    label: str
    score: float | None = None


@dataclass(frozen=True)
class Photo:
    """One image as a data URI with its true boxes and the detections of each row."""

    key: str
    uri: str
    width: int
    height: int
    truth: tuple[Box, ...]
    detections: tuple[tuple[str, tuple[Box, ...]], ...]


def samples(comparison: Comparison, results: Path) -> list[Photo]:
    """The first images that have a few objects, with detections of the first rows that were measured, lowest seed.

    Proposals, which have no class, are not shown. Empty when the manifest, the ground truth, the detections or the
    images are not there: a folder of numbers alone can be rendered as well.
    """
    layout = Layout(results, comparison.protocol.name)
    measured = [line for line in comparison.lines if line.runs and not line.runs[0].class_agnostic]
    lines = [line for line in measured if line.runs[0].files.detections.exists()]
    if not lines or not layout.data.exists() or not layout.ground_truth.exists():
        return []
    images = data_root() / read(layout.data, Data).splits["val"].folder
    return _photos(_distinct(lines)[:VARIANTS], read_ground_truth(layout.ground_truth), images)


def _distinct(lines: Sequence[Line]) -> list[Line]:
    return list({line.runs[0].variant: line for line in reversed(lines)}.values())[::-1]


def _photos(lines: Sequence[Line], truth: GroundTruth, images: Path) -> list[Photo]:
    counts = np.bincount(truth.images[~truth.crowds], minlength=len(truth.image_ids))
    order = sorted(np.flatnonzero(counts).tolist(), key=lambda place: counts[place] > FEW)
    uris: dict[int, str] = {}
    for place in order:
        uri = data_uri(images / truth.image_names[place])
        if uri is not None:
            uris[place] = uri
        if len(uris) == IMAGES:
            break
    detections = [(line.row.label, read_detections(line.runs[0].files.detections, truth)) for line in lines if uris]
    return [
        Photo(
            key=f"photo-{number}",
            uri=uri,
            width=int(truth.sizes[place, 1]),
            height=int(truth.sizes[place, 0]),
            truth=drawn_boxes(truth, (truth.images == place) & ~truth.crowds, truth.class_names),
            detections=tuple(
                (
                    label,
                    drawn_boxes(own, (own.images == place) & (own.scores >= MIN_SCORE), truth.class_names, own.scores),
                )
                for label, own in detections
            ),
        )
        for number, (place, uri) in enumerate(uris.items())
    ]


def drawn_boxes(
    columns: GroundTruth | Detections, chosen: Flags, class_names: Sequence[str], scores: Floats | None = None
) -> tuple[Box, ...]:
    """The chosen rows of ground truth or detections, to a tenth of a pixel."""
    boxes = []
    for row in np.flatnonzero(chosen):
        x1, y1, x2, y2 = columns.boxes[row].tolist()
        x, y, width, height = (round(value, 1) for value in (x1, y1, x2 - x1, y2 - y1))
        score = None if scores is None else float(scores[row])
        boxes.append(Box(x, y, width, height, class_names[columns.labels[row]], score))
    return tuple(boxes)


def data_uri(path: Path) -> str | None:
    """An image file as a small JPEG data URI; None where it is missing or cannot be read."""
    buffer = io.BytesIO()
    try:
        with Image.open(path) as image:
            small = ImageOps.exif_transpose(image).convert("RGB")
            small.thumbnail((_SIDE, _SIDE))
            small.save(buffer, "JPEG", quality=_QUALITY)
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError):
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
