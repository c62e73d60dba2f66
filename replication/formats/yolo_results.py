"""Detections from YOLO's text files: one for each image, a line class, centre, size (shares of 0..1), confidence."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from replication.errors import ResultError
from replication.formats.columns import Detections, GroundTruth
from replication.formats.image_files import NameIndex
from replication.formats.problems import Problems
from replication.formats.result_columns import checked_detections
from replication.formats.voc_results import class_of, read_text, result_files
from replication.formats.yolo import CLASSES, parse_line


def is_yolo_results(folder: Path, truth: GroundTruth) -> bool:
    """Whether the text files of a folder are named as images, not as VOC's are by classes."""
    files = _files(folder)
    images = NameIndex(truth.image_names)
    named = [images.find(path.stem) is not None and class_of(path.name, truth.class_names) is None for path in files]
    return (folder / "labels").is_dir() or (bool(files) and all(named))


def read_yolo_results(folder: Path, truth: GroundTruth) -> Detections:
    """Detections of ``<image>.txt`` files, in the folder or its ``labels``.

    Class n is the n-th name of a ``classes.txt`` beside them, without one the n-th class of the ground truth, from 0.
    Images without a file have no detections. The ground truth has to tell the images' sizes. Raises ResultError naming
    file and line.
    """
    images = NameIndex(truth.image_names)
    names = _class_names(folder) or truth.class_names
    ids = dict(zip(truth.class_names, truth.class_ids.tolist(), strict=True))
    numbers = [ids.get(name, -1 - place) for place, name in enumerate(names)]  # below 0: not in the ground truth
    image_ids: list[int] = []
    rows: list[list[float]] = []
    for path in _files(folder):
        place = images.find(path.stem)
        if place is None:
            raise ResultError(f"{path}: image {path.stem!r} is not in the ground truth")
        height, width = truth.sizes[place].tolist()
        if np.isnan(height) or np.isnan(width):
            raise ResultError(f"{path}: the ground truth has no size of image {path.stem!r}, which YOLO boxes need")
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            if not line.strip():
                continue
            try:
                row = _row(line.split(), len(names))
            except ValueError as error:
                raise ResultError(f"{path}, line {number}: {error}") from None
            image_ids.append(int(truth.image_ids[place]))
            index, x, y, w, h, score = row
            rows.append([numbers[int(index)], score, (x - w / 2) * width, (y - h / 2) * height, w * width, h * height])
    columns = np.array(rows, np.float64).reshape(-1, 6)
    label = columns[:, 0].astype(np.int64)
    foreign = {number: repr(name) for number, name in zip(numbers, names, strict=True) if number < 0}
    problems = Problems(folder, ResultError)
    image = np.array(image_ids, np.int64)
    return checked_detections(problems, image, label, columns[:, 1].copy(), columns[:, 2:], truth, foreign=foreign)


def _files(folder: Path) -> list[Path]:
    place = folder / "labels" if (folder / "labels").is_dir() else folder
    return [path for path in result_files(place) if path.suffix == ".txt" and path.name != CLASSES]


def _class_names(folder: Path) -> tuple[str, ...]:
    """The names of a ``classes.txt`` in the folder or its ``labels``; none without one."""
    for path in (folder / CLASSES, folder / "labels" / CLASSES):
        if path.is_file():
            return tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
    return ()


def _row(texts: list[str], classes: int) -> list[float]:
    if len(texts) == 5:
        raise ValueError("has 5 numbers and no confidence; write the confidence, too (Ultralytics: save_conf=True)")
    if len(texts) != 6:
        raise ValueError(f"has {len(texts)} fields, expected class, x, y, width, height, confidence")
    label, values = parse_line(texts, classes)
    return [label, *values]
