"""Reads COCO JSON: annotations (2014, 2017, or a user's own) and image info, which has no annotations.

The file is decoded into typed records at once. Only where that fails is it read again record by record, to name what
is wrong with it.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from replication.errors import DataError
from replication.formats.annotations import Annotations, Box, Category, Image, Object, told_apart
from replication.formats.json_files import box, load_json, mapped, require
from replication.formats.problems import Problems
from replication.formats.values import Identifier, flag, identifier, is_finite, shown, size

T = TypeVar("T")
Loose = int | float | str | bool | None
_NAMED = 10  # known ids that a message lists


class _Image(msgspec.Struct, gc=False):
    id: Loose
    file_name: str | None = None
    height: Loose = None
    width: Loose = None


class _Category(msgspec.Struct, gc=False):
    id: Loose
    name: Loose = None


class _Annotation(msgspec.Struct, gc=False):
    id: Loose
    image_id: Loose
    category_id: Loose
    bbox: Box
    area: float | None = None
    iscrowd: Loose = None
    ignore: Loose = None
    difficult: Loose = None
    segmentation: msgspec.Raw = msgspec.Raw()


class _Document(msgspec.Struct, gc=False):
    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Annotation]


class _ImageInfo(msgspec.Struct, gc=False):
    images: list[_Image]
    categories: list[_Category]


def read_coco(path: Path) -> Annotations:
    """The annotations of a COCO file.

    Ids may be whole numbers, also as 11.0, or all text; flags as ``values.flag`` takes them; sizes of 0 or less are
    unknown. Raises DataError naming file and record: duplicate or unknown ids, boxes that are not finite or of
    negative size, wrong types, no images, no categories.
    """
    content = mapped(path, DataError)
    try:
        document = msgspec.json.decode(content, type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError):
        document = _explained(path, content)
    return _annotations(path, document.images, document.categories, document.annotations)


def read_image_info(path: Path) -> Annotations:
    """The images and categories of a file like ``image_info_test-dev2017.json``; annotations are not read.

    Raises DataError naming file and field.
    """
    content = mapped(path, DataError)
    try:
        document = msgspec.json.decode(content, type=_ImageInfo)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: not readable as COCO's image info: {error}; give a file with images (id, file_name, height, "
            "width) and categories (id, name), as image_info_test-dev2017.json is"
        ) from error
    return _annotations(path, document.images, document.categories, [])


def _annotations(
    path: Path, images: list[_Image], categories: list[_Category], annotations: list[_Annotation]
) -> Annotations:
    problems = Problems(path)
    read_images = _images(images, problems)
    read_categories, notes = _categories(categories, problems)
    problems.stop()
    image_ids = _Ids("image_id", "images", {_key(image): image.id for image in read_images})
    category_ids = _Ids("category_id", "categories", {_key(category): category.id for category in read_categories})
    objects = _objects(annotations, image_ids, category_ids, problems)
    problems.stop()
    return Annotations(path, tuple(read_images), tuple(read_categories), tuple(objects), tuple(notes))


def _key(record: Image | Category) -> Identifier:
    return record.id if record.key is None else record.key


def _identifiers(values: Sequence[Any], field: str, problems: Problems) -> list[Identifier] | None:
    """The ids of all records of a list; None, with the problems told, where one is wrong or occurs twice."""
    before, ids = len(problems.found), []
    seen: set[Identifier] = set()
    for place, value in enumerate(values):
        where = f"{field}[{place}]"
        try:
            number = identifier(value)
        except ValueError as error:
            problems.add(where, f"id {error}")
            continue
        if number in seen:
            problems.add(where, f"id {number!r} occurs twice; make it unique")
        seen.add(number)
        ids.append(number)
    kinds = {type(number) for number in ids}
    if len(kinds) > 1:
        problems.add(field, "ids are whole numbers in some records and text in others; use one of them")
    return ids if len(problems.found) == before else None


def _numbered(ids: Sequence[Identifier]) -> list[tuple[int, str | None]]:
    """Ids as (number, text): text ids are numbered from 1 in their order, which is the order of pycocotools."""
    rank = {key: place for place, key in enumerate(sorted(map(str, ids)), start=1)}
    return [(number, None) if isinstance(number, int) else (rank[number], number) for number in ids]


def _images(entries: list[_Image], problems: Problems) -> list[Image]:
    if not entries:
        problems.add("images", "the list is empty; a data set needs at least one image")
    ids = _identifiers([entry.id for entry in entries], "images", problems)
    images: list[Image] = []
    for (number, key), (place, entry) in zip(_numbered(ids or []), enumerate(entries), strict=False):
        name, height, width = entry.file_name or "", entry.height, entry.width
        if not (type(height) is int and type(width) is int and height > 0 and width > 0):
            height, width = (
                _size(entry, side, f"images[{place}] ({name or number})", problems) for side in ("height", "width")
            )
        images.append(Image(number, name, height, width, key))
    return images


def _size(entry: _Image, side: str, where: str, problems: Problems) -> int | None:
    try:
        return size(getattr(entry, side))
    except ValueError as error:
        problems.add(where, f"{side} {error}")
        return None


def _categories(entries: list[_Category], problems: Problems) -> tuple[list[Category], list[str]]:
    if not entries:
        problems.add("categories", "the list is empty; a data set needs at least one class")
    ids = _identifiers([entry.id for entry in entries], "categories", problems)
    for place, entry in enumerate(entries):
        if entry.name is None or isinstance(entry.name, bool) or not str(entry.name).strip():
            problems.add(f"categories[{place}]", f"name is {entry.name!r}, expected a text; name the class")
    if ids is None or problems.found:
        return [], []
    pairs = sorted(zip(_numbered(ids), entries, strict=True), key=lambda pair: pair[0][0])
    names, notes = told_apart((number, str(entry.name)) for (number, _), entry in pairs)
    categories = [Category(number, name, key) for ((number, key), _), name in zip(pairs, names, strict=True)]
    return categories, notes


class _Ids:
    """What an annotation's reference may be."""

    def __init__(self, field: str, of: str, known: dict[Identifier, int]) -> None:
        self.field, self.of, self.known = field, of, known

    def resolve(self, value: Any) -> int:
        """The number of what is referred to. Raises ValueError."""
        if type(value) is int and (found := self.known.get(value)) is not None:
            return found
        key = identifier(value)
        if (found := self.known.get(key)) is not None:
            return found
        known = list(self.known)
        if isinstance(key, str) and isinstance(known[0], int):
            raise ValueError(f"is {key!r}, which is text; ids of {self.of} are whole numbers: write it without quotes")
        if isinstance(key, int) and isinstance(known[0], str):
            raise ValueError(f"is {key!r}, a whole number, but ids of {self.of} are text; write it in quotes")
        named = ", ".join(map(str, known[:_NAMED])) + (", ..." if len(known) > _NAMED else "")
        raise ValueError(f"{key} is not among the {self.of} {named}")


def _objects(entries: list[_Annotation], images: _Ids, categories: _Ids, problems: Problems) -> Iterable[Object]:
    ids = _identifiers([entry.id for entry in entries], "annotations", problems)
    if ids is None:
        return []
    objects: list[Object] = []
    for (number, _), (place, entry) in zip(_numbered(ids), enumerate(entries), strict=True):
        where = f"annotations[{place}]"
        faults: list[str] = []
        image = _tried(images.resolve, entry.image_id, "image_id", faults)
        category = _tried(categories.resolve, entry.category_id, "category_id", faults)
        crowd = _tried(flag, entry.iscrowd, "iscrowd", faults)
        ignore = _tried(flag, entry.ignore, "ignore", faults)
        difficult = _tried(flag, entry.difficult, "difficult", faults)
        x, y, width, height = entry.bbox
        if not (is_finite(x + width) and is_finite(y + height) and is_finite(width * height)):
            faults.append(f"bbox is {list(entry.bbox)}, expected four finite numbers [x, y, width, height]")
        elif width < 0 or height < 0:
            faults.append(f"bbox {list(entry.bbox)} has negative width or height; boxes are [x, y, width, height]")
        if entry.area is not None and not (is_finite(entry.area) and entry.area >= 0):
            faults.append(f"area is {entry.area!r}, expected a finite number of square pixels, 0 or more")
        for fault in faults:
            problems.add(where, fault)
        if faults or image is None or category is None:
            continue
        mask = bytes(entry.segmentation)
        given = mask if mask not in (b"", b"null", b"[]", b"{}", b'""') else None
        objects.append(
            Object(number, image, category, entry.bbox, entry.area, bool(crowd), bool(ignore), bool(difficult), given)
        )
    return objects


def _tried(parse: Callable[[Any], T], value: Any, field: str, faults: list[str]) -> T | None:
    try:
        return parse(value)
    except ValueError as error:
        faults.append(f"{field} {error}")
        return None


def _explained(path: Path, content: bytes | mmap.mmap) -> _Document:
    """The document read leniently; raises DataError that names the records whose fields have another type."""
    problems = Problems(path)
    document = load_json(path, content[:], DataError)
    if not isinstance(document, dict):
        raise problems.fail("whole file", f"expected a COCO mapping, found {type(document).__name__}")
    parts: dict[str, list[dict[str, Any]]] = {}
    for field in ("images", "categories", "annotations"):
        if field not in document:
            raise problems.fail("whole file", f"key {field!r} is missing; this is no COCO annotation file")
        entries = document[field]
        if not isinstance(entries, list):
            raise problems.fail(field, f"expected a list of records, found {type(entries).__name__}")
        wrong = [place for place, entry in enumerate(entries) if not isinstance(entry, dict)]
        for place in wrong:
            problems.add(f"{field}[{place}]", f"expected a record, found {type(entries[place]).__name__}")
        parts[field] = [] if wrong else entries
    problems.stop()
    images = _lenient(parts["images"], "images", _image, problems)
    categories = _lenient(parts["categories"], "categories", _category, problems)
    annotations = _lenient(parts["annotations"], "annotations", _annotation, problems)
    problems.stop()
    return _Document(images, categories, annotations)


def _lenient(
    entries: list[dict[str, Any]], field: str, parse: Callable[[dict[str, Any]], T], problems: Problems
) -> list[T]:
    read: list[T] = []
    for place, entry in enumerate(entries):
        try:
            read.append(parse(entry))
        except ValueError as error:
            problems.add(f"{field}[{place}]", str(error))
    return read


def _image(entry: dict[str, Any]) -> _Image:
    require(entry, ("id",))
    name = entry.get("file_name")
    if isinstance(name, list | dict | bool):
        raise ValueError(f"file_name is {shown(name)}, expected a text")
    return _Image(entry["id"], None if name is None else str(name), entry.get("height"), entry.get("width"))


def _category(entry: dict[str, Any]) -> _Category:
    require(entry, ("id", "name"))
    if isinstance(entry["name"], list | dict):
        raise ValueError(f"name is {shown(entry['name'])}, expected a text")
    return _Category(entry["id"], entry["name"])


def _annotation(entry: dict[str, Any]) -> _Annotation:
    require(entry, ("id", "image_id", "category_id", "bbox"))
    area = entry.get("area")
    if area is not None and not is_finite(area):
        raise ValueError(f"area is {shown(area)}, expected a finite number of square pixels")
    return _Annotation(
        entry["id"],
        entry["image_id"],
        entry["category_id"],
        box(entry["bbox"]),
        area,
        entry.get("iscrowd"),
        entry.get("ignore"),
        entry.get("difficult"),
        msgspec.Raw(json.dumps(entry["segmentation"]).encode()) if entry.get("segmentation") else msgspec.Raw(),
    )
