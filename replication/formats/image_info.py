"""Reads COCO's image info, images without annotations such as those of test-dev, into Detectron2 records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from replication.errors import DataError
from replication.formats.splits import ImageFolder, Problems, Split

Positive = Annotated[int, msgspec.Meta(gt=0)]
Name = Annotated[str, msgspec.Meta(min_length=1)]


class _Image(msgspec.Struct):
    id: int
    file_name: Name
    height: Positive
    width: Positive


class _Category(msgspec.Struct):
    id: int
    name: Name


class _Document(msgspec.Struct):
    images: Annotated[list[_Image], msgspec.Meta(min_length=1)]
    categories: Annotated[list[_Category], msgspec.Meta(min_length=1)]


def read_image_info(path: Path, folder: Path) -> Split:
    """The images of a file in the form of ``image_info_test-dev2017.json``, in its order; annotations are not read.

    Categories are in ascending order of their ids. Raises DataError naming file and field, duplicate ids, or images
    that ``folder`` lacks.
    """
    try:
        document = msgspec.json.decode(path.read_bytes(), type=_Document)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise DataError(
            f"{path}: not readable as COCO's image info: {error}; give a file with images (id, file_name, height, "
            "width) and categories (id, name), as image_info_test-dev2017.json is"
        ) from error
    problems = Problems(path)
    _unique("images", [one.id for one in document.images], problems)
    _unique("categories", [one.id for one in document.categories], problems)
    problems.stop()
    listing = ImageFolder(folder)
    missing = [image.file_name for image in document.images if not listing.has(image.file_name)]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of {len(document.images)} image files named in {path} are missing, "
            f"first {', '.join(missing[:3])}; complete the folder or choose another"
        )
    records = [
        {
            "file_name": f"{folder}/{one.file_name}",
            "height": one.height,
            "width": one.width,
            "image_id": one.id,
            "annotations": [],
        }
        for one in document.images
    ]
    categories = sorted(document.categories, key=lambda one: one.id)
    names, ids = tuple(one.name for one in categories), tuple(one.id for one in categories)
    return Split(path.stem, records, names, ids, folder)


def _unique(field: str, ids: Sequence[int], problems: Problems) -> None:
    seen: set[int] = set()
    for place, number in enumerate(ids):
        if number in seen:
            problems.add(f"{field}[{place}]: duplicate id {number}")
        seen.add(number)
