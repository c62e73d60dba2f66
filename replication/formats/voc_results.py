"""Detections from VOC's result files: a text file for each class, ``comp4_det_test_<class>.txt`` or ``.txt.gz``."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from replication.errors import ResultError
from replication.formats.columns import Detections, GroundTruth
from replication.formats.image_files import NameIndex
from replication.formats.problems import Problems
from replication.formats.result_columns import checked_detections

OFFICIAL = re.compile(r"comp\d+_(?:.*?_)?det_[^_]+_(.+)")  # a class may have "_" in its name, a split has none
NUMBERS = 5  # score, xmin, ymin, xmax, ymax end a line; an image's name may contain spaces
_MESSAGE = "expected image, score, xmin, ymin, xmax, ymax"


def read_voc_results(folder: Path, truth: GroundTruth) -> Detections:
    """Detections of a folder of result files, those in subfolders included: a class may have a slash in its name.

    A line is image, score, xmin, ymin, xmax, ymax, with bounds as in the annotations; an image is named as its file
    without suffix. Files of classes without ground truth are left out with a warning, classes without a file warned
    of. A box of no width or height, which published VOC results do have, counts as a false detection. Raises
    ResultError naming file and line.
    """
    images = NameIndex(truth.image_names)
    rows: list[list[float]] = []
    read: dict[str, str] = {}
    foreign = []
    for path in result_files(folder):
        file = path.relative_to(folder).as_posix()
        name = class_of(file, truth.class_names)
        if name is None:
            foreign.append(file)
            continue
        if name in read:
            raise ResultError(f"{path}: class {name!r} is in {read[name]} too; keep one of them")
        read[name] = file
        rows += _lines(path, int(truth.class_ids[truth.class_names.index(name)]), images, truth)
    if not read:
        raise ResultError(f"{folder}: no detections in files named ..._<class>.txt of a class in the ground truth")
    return _detections(folder, rows, truth, tuple(_notes(foreign, read, truth)))


def _detections(folder: Path, rows: list[list[float]], truth: GroundTruth, notes: tuple[str, ...]) -> Detections:
    columns = np.array(rows, np.float64).reshape(-1, 3 + 4)
    empty = (columns[:, 5:] <= 0).any(axis=1)
    columns[empty, 5:] = 0.0
    label, image = columns[:, 0].astype(np.int64), truth.image_ids[columns[:, 1].astype(np.int64)]
    problems = Problems(folder, ResultError)
    return checked_detections(problems, image, label, columns[:, 2].copy(), columns[:, 3:], truth, notes=notes)


def _notes(foreign: list[str], read: dict[str, str], truth: GroundTruth) -> Iterator[str]:
    if foreign:
        yield f"left out, of classes not in the ground truth: {', '.join(foreign)}"
    counts = zip(truth.class_names, truth.per_class.tolist(), strict=True)
    absent = [f"{name} ({count} objects)" for name, count in counts if count and name not in read]
    if absent:
        yield f"no result file for {', '.join(absent)}: their AP is 0"


def result_files(folder: Path) -> list[Path]:
    """The text files of a folder and its subfolders, in the order of their names."""
    return sorted(path for path in folder.rglob("*") if path.name.endswith((".txt", ".txt.gz")) and path.is_file())


def class_of(file: str, known: tuple[str, ...]) -> str | None:
    """The known class whose file this is: all that follows the split, else the longest that ends the name."""
    name = file.removesuffix(".gz").removesuffix(".txt")
    if official := OFFICIAL.fullmatch(name):
        return official[1] if official[1] in known else None
    return max((one for one in known if f"_{name}".endswith((f"_{one}", f"/{one}"))), key=len, default=None)


def read_text(path: Path) -> str:
    """The text of a file, unpacked where it ends in .gz. Raises ResultError."""
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ResultError(f"{path}: cannot be read as text: {error}; write it again") from error


def _lines(path: Path, label: int, images: NameIndex, truth: GroundTruth) -> Iterator[list[float]]:
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        name, *texts = line.strip().rsplit(maxsplit=NUMBERS) or [""]
        try:
            score, x1, y1, x2, y2 = map(float, texts)
        except ValueError:
            raise ResultError(f"{path}, line {number}: {_MESSAGE}") from None
        image = images.find(name)
        if image is None:
            raise ResultError(f"{path}, line {number}: image {name!r} is not in the ground truth")
        if not all(map(math.isfinite, (score, x1, y1, x2, y2, (x2 - x1) * (y2 - y1)))):
            raise ResultError(f"{path}, line {number}: a number is not finite")
        yield [label, image, score, x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1]
