"""VOC's own files: lists of images with XML annotations, and one text file of detections a class."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from replication.errors import DataError, ResultError
from replication.formats.columns import Detections, GroundTruth, from_xywh

OFFICIAL = re.compile(r"comp\d+_(?:.*?_)?det_[^_]+_(.+)")  # a class may have "_" in its name, a split has none


class _Object(NamedTuple):
    image: int
    name: str
    xywh: list[float]
    difficult: bool


def read_voc_ground_truth(path: Path) -> GroundTruth:
    """Ground truth of an image list, ``<root>/ImageSets/Main/<split>.txt``, with ``<root>/Annotations/<image>.xml``.

    VOC's bounds are 1-based and inclusive: xmin..xmax becomes XYXY (xmin - 1, xmax), whose width has the additional
    pixel of VOC's overlaps. Classes are those that occur, sorted. Raises DataError naming file and object.
    """
    try:
        names = [line.split()[0] for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a list of images: {error}") from error
    if not names:
        raise DataError(f"{path}: the list is empty; there is nothing to evaluate on")
    if len(set(names)) < len(names):
        raise DataError(f"{path}: an image is listed twice; make the list unique")
    if len(path.resolve().parents) < 3:
        raise DataError(
            f"{path}: a VOC image list lies in <root>/ImageSets/Main, with <root>/Annotations beside; move it"
        )
    folder = path.resolve().parents[2] / "Annotations"
    objects: list[_Object] = []
    sizes = np.full((len(names), 2), np.nan)
    for index, name in enumerate(names):
        file = folder / f"{name}.xml"
        try:
            root = ElementTree.parse(file).getroot()
        except (OSError, ElementTree.ParseError) as error:
            raise DataError(f"{file}: cannot be read as a VOC annotation: {error}") from error
        sizes[index] = [_extent(file, root, key) for key in ("height", "width")]
        objects += _objects(file, root, index)
    if all(found.difficult for found in objects):
        raise DataError(f"{path}: no object to find in any image, AP is not defined; check the list")
    classes = sorted({found.name for found in objects})
    boxes, areas = from_xywh(np.array([found.xywh for found in objects]).reshape(-1, 4))
    none = np.zeros(len(objects), np.bool_)
    return GroundTruth(
        image_ids=np.arange(1, len(names) + 1),
        sizes=sizes,
        class_ids=np.arange(1, len(classes) + 1),
        class_names=tuple(classes),
        images=np.array([found.image for found in objects], np.int64),
        labels=np.array([classes.index(found.name) for found in objects], np.int64),
        boxes=boxes,
        box_areas=areas,
        areas=areas,
        crowds=none,
        ignored=none,
        difficult=np.array([found.difficult for found in objects], np.bool_),
        image_names=tuple(names),
    )


def _extent(file: Path, root: ElementTree.Element, key: str) -> float:
    text = root.findtext(f"size/{key}") or "nan"
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{file}: size/{key} is {text!r}, expected a number of pixels") from None


def _objects(file: Path, root: ElementTree.Element, image: int) -> Iterator[_Object]:
    for number, entry in enumerate(root.iterfind("object")):
        name = (entry.findtext("name") or "").strip()
        try:
            x1, y1, x2, y2 = (float(entry.findtext(f"bndbox/{key}") or "") for key in ("xmin", "ymin", "xmax", "ymax"))
        except ValueError:
            raise DataError(f"{file}: object {number} ({name}): bndbox needs numbers xmin, ymin, xmax, ymax") from None
        width, height = x2 - x1 + 1, y2 - y1 + 1
        if not (width > 0 and height > 0 and math.isfinite(width * height)):
            raise DataError(f"{file}: object {number} ({name}): bndbox has no area; correct it or leave it out")
        difficult = (entry.findtext("difficult") or "0").strip() == "1"
        yield _Object(image, name, [x1 - 1, y1 - 1, width, height], difficult)


def read_voc_detections(folder: Path, truth: GroundTruth) -> Detections:
    """Detections of a folder of VOC result files, ``comp4_det_test_<class>.txt`` or ``.txt.gz``.

    A line is image, score, xmin, ymin, xmax, ymax, with bounds as in the annotations; an image is named as its file
    without suffix. Files of classes without ground truth are left out (see ``left_out``). A box of no width or height,
    which published VOC results do have, counts as a false detection. Raises ResultError naming file and line.
    """
    images = {Path(name).stem: index for index, name in enumerate(truth.image_names)}
    rows: list[list[float]] = []
    seen: dict[str, Path] = {}
    for path in _result_files(folder):
        name = _class_of(path, truth.class_names)
        if name is None:
            continue
        if name in seen:
            raise ResultError(f"{path}: class {name!r} is in {seen[name].name} too; keep one of them")
        seen[name] = path
        rows += _lines(path, truth.class_names.index(name), images)
    if not rows:
        raise ResultError(f"{folder}: no detections in files named ..._<class>.txt of a class in the ground truth")
    columns = np.array(rows)
    empty = (columns[:, 5:] <= 0).any(axis=1)
    columns[empty, 5:] = 0.0
    boxes, areas = from_xywh(columns[:, 3:])
    label, image = columns[:, 0].astype(np.int64), columns[:, 1].astype(np.int64)
    return Detections(image, label, boxes, areas, columns[:, 2].copy())


def left_out(folder: Path, truth: GroundTruth) -> str | None:
    """A warning that names the result files of classes which the ground truth lacks; they have no AP."""
    names = [path.name for path in _result_files(folder) if _class_of(path, truth.class_names) is None]
    return f"left out, of no class in the ground truth: {', '.join(names)}" if names else None


def _result_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.endswith((".txt", ".txt.gz")))


def _class_of(path: Path, known: tuple[str, ...]) -> str | None:
    """The known class whose file this is: all that follows the split, else the longest that ends the name."""
    stem = path.name.removesuffix(".gz").removesuffix(".txt")
    if official := OFFICIAL.fullmatch(stem):
        return official[1] if official[1] in known else None
    return max((name for name in known if f"_{stem}".endswith(f"_{name}")), key=len, default=None)


def _lines(path: Path, label: int, images: dict[str, int]) -> Iterator[list[float]]:
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ResultError(f"{path}: cannot be read as text: {error}; write it again") from error
    for number, line in enumerate(text.splitlines(), start=1):
        name, *texts = line.split() or [""]
        try:
            score, x1, y1, x2, y2 = map(float, texts)
        except ValueError:
            raise ResultError(f"{path}, line {number}: expected image, score, xmin, ymin, xmax, ymax") from None
        if name not in images:
            raise ResultError(f"{path}, line {number}: image {name!r} is not in the ground truth")
        if not all(map(math.isfinite, (score, x1, y1, x2, y2))):
            raise ResultError(f"{path}, line {number}: a number is not finite")
        yield [label, images[name], score, x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1]
