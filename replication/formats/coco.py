"""Reads COCO-format annotations (2017 layout, 2014 minival, or a user's own) into Detectron2 records, without torch."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from pycocotools import mask as rle

from replication.errors import DataError
from replication.formats.splits import BoxRules, ImageFolder, Problems, Split

HUGE = 1e9  # no pixel lies that far out
logger = logging.getLogger(__name__)


def read_coco(name: str, annotations: Path, images: Path, require_images: bool = True) -> Split:
    """The split in a COCO JSON file; category ids, gaps or not, become contiguous in ascending order.

    Crowds and images without objects stay in the records. Boxes become XYXY. Raises one DataError that names the file
    and the first problems: duplicate or unknown ids, boxes that are empty, not finite or outside their image, missing
    image files (unless ``require_images`` is false), wrong types, no images.
    """
    document = _load(annotations)
    problems = Problems(annotations)
    classes = _categories(document["categories"], problems)
    records = _images(document["images"], images, problems)
    problems.stop()
    _Annotations(annotations, records, {category: index for index, category in enumerate(classes)}, problems).read(
        document["annotations"]
    )
    problems.stop()
    if require_images:
        _check_files(records, images, annotations)
    return Split(name, list(records.values()), tuple(classes.values()), tuple(classes), images)


def _load(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path}: no such annotation file; check the path in the protocol's 'data'") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON, perhaps cut off: {error}; fetch or export it again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    if not isinstance(document, dict):
        raise DataError(f"{path}: expected an object with images, annotations and categories, as COCO has")
    for key in ("images", "annotations", "categories"):
        entries = document.get(key)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise DataError(f"{path}: field '{key}' is missing or no list of objects; this is not a COCO instance file")
    for key in ("images", "categories"):
        if not document[key]:
            raise DataError(f"{path}: field '{key}' is empty; a data set needs at least one")
    return document


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _categories(entries: list[dict[str, Any]], problems: Problems) -> dict[int, str]:
    """Category names by id, ids ascending."""
    classes: dict[int, str] = {}
    for place, entry in enumerate(entries):
        number, name = entry.get("id"), entry.get("name")
        if not _is_int(number) or not isinstance(name, str) or not name:
            problems.add(f"categories[{place}]: needs an integer 'id' and a 'name', found id {number!r}, name {name!r}")
        elif number in classes:
            problems.add(f"categories[{place}]: duplicate category id {number}")
        elif name in classes.values():
            problems.add(f"categories[{place}]: duplicate category name {name!r}")
        else:
            classes[int(str(number))] = name
    return dict(sorted(classes.items()))


def _images(entries: list[dict[str, Any]], folder: Path, problems: Problems) -> dict[int, dict[str, Any]]:
    """Records without annotations by image id, in the file's order."""
    records: dict[int, dict[str, Any]] = {}
    prefix = str(folder)
    for place, entry in enumerate(entries):
        number, name = entry.get("id"), entry.get("file_name")
        height, width = entry.get("height"), entry.get("width")
        if not _is_int(number) or not isinstance(name, str) or not name:
            problems.add(f"images[{place}]: needs an integer 'id' and a 'file_name', found id {number!r}, {name!r}")
        elif not (_is_int(height) and _is_int(width) and height > 0 and width > 0):  # type: ignore[operator]
            problems.add(f"images[{place}] ({name}): 'height' and 'width' must be positive integers")
        elif number in records:
            problems.add(f"images[{place}] ({name}): duplicate image id {number}")
        else:
            records[int(str(number))] = {
                "file_name": f"{prefix}/{name}",
                "height": height,
                "width": width,
                "image_id": number,
                "annotations": [],
            }
    return records


class _Annotations:
    """Appends annotations to the records of their images."""

    def __init__(
        self, source: Path, records: dict[int, dict[str, Any]], index: dict[int, int], problems: Problems
    ) -> None:
        self.source = source
        self.records = records
        self.index = index
        self.problems = problems
        self.rules = BoxRules()
        self.slivers: list[Any] = []

    def read(self, entries: list[dict[str, Any]]) -> None:
        seen: set[int] = set()
        for place, entry in enumerate(entries):
            number = entry.get("id")
            if not _is_int(number):
                self.problems.add(f"annotations[{place}]: needs an integer 'id', found {number!r}")
            elif number in seen:
                self.problems.add(f"annotations[{place}]: duplicate annotation id {number}")
            else:
                seen.add(int(str(number)))
                self._read_one(entry)
        self.rules.report(self.source)
        if self.slivers:
            logger.warning(
                "%s: left out %d annotations whose polygon has no height or no width (COCO train2017 has two): ids %s",
                self.source,
                len(self.slivers),
                self.slivers[:5],
            )

    def _read_one(self, entry: dict[str, Any]) -> None:
        where = f"annotation {entry['id']}"
        image, category = entry.get("image_id"), entry.get("category_id")
        record = self.records.get(image) if _is_int(image) else None  # type: ignore[arg-type]
        index = self.index.get(category) if _is_int(category) else None  # type: ignore[arg-type]
        if record is None:
            self.problems.add(f"{where}: unknown image_id {image!r}")
        if index is None:
            self.problems.add(f"{where}: unknown category_id {category!r}; known: {_some(self.index)}")
        if record is None or index is None:
            return
        found = self._annotation(entry, record, index, where)
        if isinstance(found, str):
            self.problems.add(f"{where} (image {record['file_name']}): {found}")
        elif found is not None:
            record["annotations"].append(found)

    def _annotation(
        self, entry: dict[str, Any], record: dict[str, Any], index: int, where: str
    ) -> dict[str, Any] | str | None:
        """The annotation in Detectron2's form, what is wrong with it, or None for a sliver."""
        bbox, segmentation, crowd = entry.get("bbox"), entry.get("segmentation"), entry.get("iscrowd", 0)
        if (
            not isinstance(bbox, list)
            or len(bbox) != 4
            or not all(isinstance(v, int | float) and not abs(v) > HUGE for v in bbox)
        ):
            return f"'bbox' must be four numbers [x, y, width, height], found {bbox!r}"
        if crowd not in (0, 1):
            return f"'iscrowd' must be 0 or 1, found {crowd!r}"
        # Detectron2 resizes a box of integers in integers, which cuts off the fractions.
        x, y, width, height = map(float, bbox)
        if segmentation and ((width == 0 and height >= 0) or (height == 0 and width >= 0)):
            self.slivers.append(entry["id"])
            return None
        box = self.rules.check((x, y, x + width, y + height), record["height"], record["width"])
        if isinstance(box, str):
            return f"bbox {bbox} {box}"
        area = entry.get("area", width * height)
        if not isinstance(area, int | float) or not 0 <= area <= HUGE**2:
            return f"'area' must be a number of at least 0, found {area!r}"
        result = {"id": entry["id"], "bbox": list(box), "bbox_mode": 0, "category_id": index, "iscrowd": int(crowd)}
        result["area"] = area
        if segmentation:
            mask = _segmentation(segmentation, record["height"], record["width"])
            if isinstance(mask, str):
                return mask
            result["segmentation"] = mask
        for key in ("ignore", "difficult"):
            if entry.get(key):
                result[key] = 1
        return result


def _segmentation(value: Any, height: int, width: int) -> list[list[float]] | dict[str, Any] | str:
    """Polygons as they are, run-length codes compressed with ``counts`` as text; or what is wrong.

    Polygons of fewer than three points carry no area and are left out, as Detectron2 does.
    """
    if isinstance(value, list):
        if not all(isinstance(polygon, list) for polygon in value):
            return "'segmentation' must be a list of polygons or a run-length code"
        if not all(isinstance(v, int | float) and abs(v) <= HUGE for polygon in value for v in polygon):
            return "'segmentation' has a polygon with something else than finite numbers"
        return [polygon for polygon in value if len(polygon) >= 6 and len(polygon) % 2 == 0]
    if not isinstance(value, dict) or value.get("size") != [height, width]:
        return f"'segmentation' must be polygons or a run-length code of size [{height}, {width}]"
    counts = value.get("counts")
    if isinstance(counts, str):
        return {"size": [height, width], "counts": counts}
    if not isinstance(counts, list) or not all(_is_int(c) and c >= 0 for c in counts) or sum(counts) != height * width:
        return f"'segmentation' counts must be text or numbers that sum to {height * width}"
    code = rle.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return {"size": [height, width], "counts": code["counts"].decode("ascii")}


def _check_files(records: dict[int, dict[str, Any]], folder: Path, annotations: Path) -> None:
    listing = ImageFolder(folder)
    prefix = len(str(folder)) + 1
    missing = [name for record in records.values() if not listing.has(name := record["file_name"][prefix:])]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of {len(records)} image files named in {annotations} are missing, "
            f"first {', '.join(missing[:3])}; complete the folder or correct the protocol's 'images'"
        )


def _some(ids: dict[int, int]) -> str:
    shown = ", ".join(str(number) for number in list(ids)[:10])
    return shown + (", ..." if len(ids) > 10 else "")
