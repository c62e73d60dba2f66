"""Detections and ground truth drawn on validation images, where the image files are there."""

from __future__ import annotations

import base64
import io
import struct
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from replication.datasets.roots import data_root
from replication.errors import DataError
from replication.report.cells import Comparison, Line
from replication.results.files import load_json, reading
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
    with reading(layout.ground_truth, "prepare"):
        return _photos(_distinct(lines)[:VARIANTS], load_json(layout.ground_truth), images)


def _distinct(lines: Sequence[Line]) -> list[Line]:
    return list({line.runs[0].variant: line for line in reversed(lines)}.values())[::-1]


def _photos(lines: Sequence[Line], truth: dict[str, Any], images: Path) -> list[Photo]:
    names = {category["id"]: str(category["name"]) for category in truth["categories"]}
    objects: dict[int, list[Box]] = defaultdict(list)
    for annotation in truth["annotations"]:
        if not annotation.get("iscrowd"):
            objects[annotation["image_id"]].append(_box(annotation, names))
    shown = [image for image in truth["images"] if image["id"] in objects]
    shown.sort(key=lambda image: (len(objects[image["id"]]) > FEW, image["id"]))
    shown = [image for image in shown if (images / image["file_name"]).is_file()][:IMAGES]
    wanted = {image["id"] for image in shown}
    detections = [(line.row.label, _detections(line, wanted, names)) for line in lines if wanted]
    return [
        Photo(
            key=f"photo-{number}",
            uri=data_uri(images / image["file_name"]),
            width=image["width"],
            height=image["height"],
            truth=tuple(objects[image["id"]]),
            detections=tuple((label, tuple(boxes[image["id"]])) for label, boxes in detections),
        )
        for number, image in enumerate(shown)
    ]


def _detections(line: Line, wanted: set[int], names: dict[int, str]) -> dict[int, list[Box]]:
    boxes: dict[int, list[Box]] = defaultdict(list)
    path = line.runs[0].files.detections
    with reading(path, "detect"):
        for detection in load_json(path, "run `replication detect` again"):
            if detection["image_id"] in wanted and detection["score"] >= MIN_SCORE:
                boxes[detection["image_id"]].append(_box(detection, names))
    return boxes


def _box(record: dict[str, Any], names: dict[int, str]) -> Box:
    x, y, width, height = (round(float(value), 1) for value in record["bbox"])
    return Box(x, y, width, height, names[record["category_id"]], record.get("score"))


def data_uri(path: Path) -> str:
    """An image file as a small JPEG data URI; DataError for one that cannot be read."""
    buffer = io.BytesIO()
    try:
        with Image.open(path) as image:
            small = ImageOps.exif_transpose(image).convert("RGB")
            small.thumbnail((_SIDE, _SIDE))
            small.save(buffer, "JPEG", quality=_QUALITY)
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path}: not readable as an image ({error}); restore it, or move it away: the page then shows another"
        ) from error
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
