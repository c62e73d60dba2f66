"""Reads PASCAL VOC annotations (VOC2007, VOC2012, 07+12, or a user's own folder) into Detectron2 records."""

from __future__ import annotations

import logging
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from replication.catalog.protocols import VocSplit
from replication.errors import DataError
from replication.formats.splits import Box, BoxRules, Problems, Split, file_names

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Object:
    name: str
    box: Box
    difficult: bool


@dataclass(frozen=True)
class _Listed:
    """An image of a list: its annotation file and its image file."""

    annotation: Path
    image: Path


def read_voc(
    name: str,
    root: Path,
    parts: Sequence[VocSplit],
    classes: Sequence[str],
    difficult: bool,
) -> Split:
    """The images of several VOC lists as one split; image ids count from 1 in the order of the lists.

    VOC boxes are 1-based with inclusive bounds: (xmin, ymin, xmax, ymax) becomes XYXY (xmin-1, ymin-1, xmax, ymax).
    ``difficult`` false leaves difficult objects out, as the label files of Darknet do, with which the GIoU authors
    trained (Detectron2's own VOC reader keeps them); true keeps them with ``difficult`` and ``ignore`` set.
    Raises one DataError with the first problems, each naming its file.
    """
    problems, rules = Problems(root), BoxRules()
    index = {class_name: place for place, class_name in enumerate(classes)}
    records: list[dict[str, Any]] = []
    identifier = 0
    for listed in _listed(root, parts, problems):
        tree = _parse(listed.annotation, problems)
        size = _size(tree, listed, problems) if tree is not None else None
        if tree is None or size is None:
            continue
        record: dict[str, Any] = {"file_name": str(listed.image), "height": size[0], "width": size[1]}
        record |= {"image_id": len(records) + 1, "annotations": []}
        for found in _objects(tree, listed.annotation, problems):
            box = rules.check(found.box, *size)
            if isinstance(box, str):
                problems.add(f"{listed.annotation}: object {found.name!r}: bndbox {box}")
            elif found.name not in index:
                problems.add(f"{listed.annotation}: class {found.name!r} is not among {', '.join(classes)}")
            elif difficult or not found.difficult:
                identifier += 1
                record["annotations"].append(_annotation(identifier, box, index[found.name], found.difficult))
        records.append(record)
    problems.stop("correct the files, or the protocol's 'classes'; then run again")
    rules.report(root)
    return Split(name, records, tuple(classes), tuple(range(1, len(classes) + 1)), root)


def voc_classes(root: Path, parts: Sequence[VocSplit]) -> tuple[str, ...]:
    """The class names that occur in the annotations of these lists, sorted."""
    problems = Problems(root)
    found: set[str] = set()
    for listed in _listed(root, parts, problems):
        tree = _parse(listed.annotation, problems)
        if tree is not None:
            found.update(entry.name for entry in _objects(tree, listed.annotation, problems))
    problems.stop("correct the files, then run again")
    if not found:
        raise DataError(f"{root}: the training lists name no object; a data set needs at least one")
    return tuple(sorted(found))


def image_list(root: Path, part: VocSplit) -> Path:
    """The file that lists the images of a split."""
    return root / part.folder / "ImageSets" / "Main" / f"{part.split}.txt"


def annotation_files(root: Path, part: VocSplit) -> list[Path]:
    """The annotation files of a list, in its order. Raises DataError when one, or its image, is missing."""
    problems = Problems(root)
    files = [listed.annotation for listed in _listed(root, [part], problems)]
    problems.stop("complete the folder, then run again")
    return files


def _annotation(identifier: int, box: Box, index: int, difficult: bool) -> dict[str, Any]:
    x1, y1, x2, y2 = map(float, box)  # integers would be resized in integers
    result = {"id": identifier, "bbox": [x1, y1, x2, y2], "bbox_mode": 0, "category_id": index, "iscrowd": 0}
    result["area"] = (x2 - x1) * (y2 - y1)
    return result | ({"difficult": 1, "ignore": 1} if difficult else {})


def _listed(root: Path, parts: Sequence[VocSplit], problems: Problems) -> Iterator[_Listed]:
    for part in parts:
        folder = root / part.folder
        annotations = set(file_names(folder / "Annotations"))
        images = {Path(name).stem: name for name in file_names(folder / "JPEGImages") if _is_image(name)}
        for stem in _stems(image_list(root, part), annotations):
            annotation, image = folder / "Annotations" / f"{stem}.xml", folder / "JPEGImages" / f"{stem}.jpg"
            if annotation.name not in annotations:
                problems.add(f"{annotation}: missing, but {stem} is listed in {image_list(root, part)}")
            elif stem not in images:
                problems.add(f"{image}: missing image (no .png either), but listed in {image_list(root, part)}")
            else:
                yield _Listed(annotation, folder / "JPEGImages" / images[stem])


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)


def _stems(path: Path, annotations: set[str]) -> list[str]:
    """Image names of a list. The class lists of VOC carry a column -1, 0 or 1 after the name; it is not used."""
    try:
        lines = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    except FileNotFoundError:
        raise DataError(f"{path}: no such image list; check root, folder and split in the protocol's 'data'") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text: {error}") from None
    if not lines:
        raise DataError(f"{path}: empty; a data set needs at least one image")
    stems = [line if f"{line}.xml" in annotations else re.sub(r"\s+(-1|0|1)$", "", line) for line in lines]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1}) if len(set(stems)) < len(stems) else []
    if twice:
        raise DataError(f"{path}: {len(twice)} images are listed twice, first {twice[0]}; list each once")
    return stems


def _parse(path: Path, problems: Problems) -> ElementTree.Element | None:
    try:
        return ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError, ValueError) as error:
        problems.add(f"{path}: not readable as XML, perhaps cut off: {error}")
        return None


def _size(tree: ElementTree.Element, listed: _Listed, problems: Problems) -> tuple[int, int] | None:
    """Height and width as the annotation tells them, or the image where it does not."""
    try:
        height, width = (int(float(tree.findtext(f"size/{key}", "0"))) for key in ("height", "width"))
    except (ValueError, OverflowError):
        problems.add(f"{listed.annotation}: size: width and height must be numbers")
        return None
    if height > 0 and width > 0:
        return height, width
    try:
        with Image.open(listed.image) as image:
            return image.height, image.width
    except (OSError, Image.DecompressionBombError) as error:
        problems.add(f"{listed.image}: cannot be opened to learn its size, which {listed.annotation} lacks: {error}")
        return None


def _objects(tree: ElementTree.Element, path: Path, problems: Problems) -> Iterator[_Object]:
    for entry in tree.findall("object"):
        name = (entry.findtext("name") or "").strip()
        if not name:
            problems.add(f"{path}: an object has no <name>")
            continue
        texts = [entry.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
        try:
            x1, y1, x2, y2 = (float(text) for text in texts if text is not None)
        except ValueError:
            problems.add(
                f"{path}: object {name!r}: bndbox must have four numbers xmin, ymin, xmax, ymax, found {texts}"
            )
            continue
        flag = (entry.findtext("difficult") or "0").strip()
        if flag not in ("0", "1"):
            problems.add(f"{path}: object {name!r}: difficult must be 0 or 1, found {flag!r}")
            continue
        yield _Object(name, (x1 - 1, y1 - 1, x2, y2), flag == "1")
