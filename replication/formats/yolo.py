"""Reads YOLO's data sets: images with a text file each, a line an object: class, centre and size as shares of 0..1.

The classes are in ``data.yaml`` (Ultralytics, Roboflow) or ``classes.txt`` (LabelImg, Label Studio). Labels lie beside
their images, or in a folder ``labels`` where the images' is ``images``. Segments, a line of class and polygon, are
read as boxes with a mask. An image without a file of labels has no object.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replication.catalog.records import read_yaml
from replication.errors import DataError
from replication.formats.annotations import Annotations, Box, Category, Image, Object, told_apart
from replication.formats.image_files import ImageFolder, file_names, is_image, read_size
from replication.formats.problems import Problems

YAML = "data.yaml"
CLASSES = "classes.txt"
OVER = 1e-3  # share of the image by which rounding may exceed 1


@dataclass(frozen=True)
class YoloFolder:
    """Where a data set lies: ``base`` its folder, ``classes`` its names, ``splits`` what data.yaml calls train, val."""

    base: Path
    classes: tuple[str, ...]
    splits: dict[str, tuple[str, ...]]


def is_yolo(path: Path) -> bool:
    """Whether a path is YOLO's ``data.yaml`` or a folder with it, with classes.txt, or with images and labels."""
    if path.suffix.lower() in (".yaml", ".yml"):
        return True
    return path.is_dir() and ((path / YAML).is_file() or (path / CLASSES).is_file() or (path / "labels").is_dir())


def read_yolo_path(path: Path) -> Annotations:
    """Ground truth for evaluation: the validation images of ``data.yaml``, else every image of the folder."""
    folder = yolo_folder(path)
    if folder.splits and "val" not in folder.splits:
        raise DataError(f"{path}: val: is missing; name the folder of the validation images")
    return read_yolo(path, "val", folder.splits.get("val", (".",)))


def read_yolo(
    path: Path, split: str, sources: Sequence[str] | None = None, classes: Sequence[str] | None = None
) -> Annotations:
    """The images of a split; ids count from 1 in the order of names, categories from 1 in the order of the classes.

    ``path`` is the ``.yaml`` file or the folder; ``sources`` are folders of images, or lists of them, and default to
    what data.yaml has for the split. Raises DataError with the first problems, each naming file and line.
    """
    folder = yolo_folder(path, classes)
    problems = Problems(path)
    images: list[Image] = []
    objects: list[Object] = []
    for file in split_images(path, split, sources, classes):
        try:
            height, width = read_size(file)
        except ValueError as error:
            problems.add(str(file), str(error))
            continue
        name = str(file.relative_to(folder.base)) if file.is_relative_to(folder.base) else str(file)
        images.append(Image(len(images) + 1, name, height, width))
        for label, box, polygon in _labels(file, len(folder.classes), problems):
            x, y, w, h = box
            mask = None if polygon is None else json.dumps([_scaled(polygon, height, width)]).encode()
            pixels = (x - w / 2) * width, (y - h / 2) * height, w * width, h * height
            objects.append(Object(len(objects) + 1, len(images), label + 1, pixels, segmentation=mask))
    problems.stop("correct the files, then run again")
    names, notes = told_apart(enumerate(folder.classes, start=1))
    categories = tuple(Category(number, name) for number, name in enumerate(names, start=1))
    return Annotations(path, tuple(images), categories, tuple(objects), tuple(notes))


def yolo_folder(path: Path, classes: Sequence[str] | None = None) -> YoloFolder:
    """A data set's folder, classes and splits. Raises DataError where the classes are not named."""
    config = path / YAML if path.is_dir() else path
    if config.is_file():
        return _from_yaml(config, classes)
    if not path.is_dir():
        raise DataError(f"{path}: no such file or folder")
    names = tuple(classes or ()) or _class_list(path / CLASSES)
    return YoloFolder(path, names, {})


def label_file(image: Path) -> Path:
    """Where the labels of an image lie."""
    parts = list(image.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def split_images(
    path: Path, split: str, sources: Sequence[str] | None = None, classes: Sequence[str] | None = None
) -> list[Path]:
    """The image files of a split, in the order of their names. Raises DataError when there are none."""
    folder = yolo_folder(path, classes)
    named = sources if sources is not None else folder.splits.get(split)
    if named is None:
        raise DataError(f"{path}: {split}: is missing; name a folder of images, or give it in the protocol's 'data'")
    files = [file for source in named for file in _images(folder.base, source)]
    if not files:
        raise DataError(f"{folder.base}: {split}: no image in {', '.join(named)}; a data set needs at least one")
    return files


def _from_yaml(config: Path, classes: Sequence[str] | None) -> YoloFolder:
    content = read_yaml(config)
    base = config.parent / str(content.get("path") or ".")
    if not base.is_dir():  # written on another machine
        base = config.parent
    names = tuple(classes or ()) or _class_names(config, content.get("names"), content.get("nc"))
    splits = {key: _sources(config, key, content[key]) for key in ("train", "val", "test") if content.get(key)}
    return YoloFolder(base, names, splits)


def _class_names(config: Path, names: Any, count: Any) -> tuple[str, ...]:
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):
            raise DataError(f"{config}: names: keys must be 0, 1, ... without a gap, found {list(names)[:10]}")
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list) or not names or any(isinstance(name, list | dict) or name is None for name in names):
        raise DataError(f"{config}: names: is {names!r}, expected the classes' names, as a list or by number")
    if count is not None and count != len(names):
        raise DataError(f"{config}: nc: is {count!r}, but names has {len(names)}; correct one of them")
    return tuple(str(name) for name in names)


def _sources(config: Path, key: str, value: Any) -> tuple[str, ...]:
    entries = value if isinstance(value, list) else [value]
    if not all(isinstance(entry, str) and entry for entry in entries):
        raise DataError(f"{config}: {key}: is {value!r}, expected a folder of images, a list of them, or several")
    return tuple(entries)


def _class_list(path: Path) -> tuple[str, ...]:
    names = [line.strip() for line in _text(path).splitlines()]
    while names and not names[-1]:
        names.pop()
    if not names or "" in names:
        raise DataError(f"{path}: expected a class name in each line; the n-th names class n - 1")
    return tuple(names)


def _images(base: Path, source: str) -> Iterator[Path]:
    place = base / source
    if not place.exists():  # Roboflow's exports name ../train/images, from a folder that they do not have
        trimmed = base / source.removeprefix("../")
        place = trimmed if trimmed.exists() else place
    if place.is_dir():
        yield from sorted(_walk(place))
    elif place.is_file():
        folder = ImageFolder(base)
        for line in filter(None, map(str.strip, _text(place).splitlines())):
            found = ImageFolder(place.parent).path(line) if line.startswith("./") else folder.path(line)
            if found is None:
                raise DataError(f"{place}: image {line} is missing; complete the folder or correct the list")
            yield found
    else:
        raise DataError(f"{place}: no such folder of images; check data.yaml and where the data lie")


def _walk(folder: Path) -> Iterator[Path]:
    for name in file_names(folder):
        path = folder / name
        if is_image(name):
            yield path
        elif path.is_dir():
            yield from _walk(path)


def _labels(image: Path, classes: int, problems: Problems) -> Iterator[tuple[int, Box, list[float] | None]]:
    """Class, box (centre and size) and, of a segment, polygon of each line; fractions of the image."""
    path = label_file(image)
    if not path.is_file():
        return
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            yield _label(line.split(), classes)
        except ValueError as error:
            problems.add(f"{path}, line {number}", str(error))


def _label(texts: list[str], classes: int) -> tuple[int, Box, list[float] | None]:
    label, values = parse_line(texts, classes)
    if len(values) == 5:
        raise ValueError("has 6 numbers, as detections with a confidence; ground truth has 5")
    if len(values) == 4:
        return label, (values[0], values[1], values[2], values[3]), None
    if len(values) < 6 or len(values) % 2:
        raise ValueError(f"has {len(texts)} numbers, expected class, x, y, width, height, or class and a polygon")
    xs, ys = values[::2], values[1::2]
    low_x, high_x, low_y, high_y = min(xs), max(xs), min(ys), max(ys)
    return label, ((low_x + high_x) / 2, (low_y + high_y) / 2, high_x - low_x, high_y - low_y), values


def parse_line(texts: Sequence[str], classes: int) -> tuple[int, list[float]]:
    """The class and the other numbers, each from 0 to 1, of a line. Raises ValueError."""
    try:
        numbers = [float(text) for text in texts]
    except ValueError as error:
        raise ValueError(f"{error}; expected class, x, y, width, height") from None
    label = numbers[0]
    if not (label.is_integer() and 0 <= label < classes):
        raise ValueError(f"class {texts[0]} is not among the {classes} classes, numbered from 0")
    for text, value in zip(texts[1:], numbers[1:], strict=True):
        if not (math.isfinite(value) and -OVER <= value <= 1 + OVER):
            raise ValueError(f"{text} is not from 0 to 1; YOLO's coordinates are fractions of the image")
    if len(numbers) in (5, 6) and min(numbers[3:5]) < 0:
        raise ValueError(f"width {texts[3]} or height {texts[4]} is negative")
    return int(label), numbers[1:]


def _scaled(polygon: Sequence[float], height: int, width: int) -> list[float]:
    return [value * (height if place % 2 else width) for place, value in enumerate(polygon)]


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; classes are named in {YAML} or {CLASSES}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as text: {error}") from None
