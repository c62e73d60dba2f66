"""Reading ground truth and detections in COCO format, with every record checked before anything is computed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replication.errors import DataError, ReplicationError, ResultError


@dataclass(frozen=True)
class GroundTruth:
    """A checked COCO ground truth; annotations carry ``iscrowd``, ``ignore`` and ``area`` whatever the file had."""

    images: dict[int, dict[str, Any]]
    classes: dict[int, str]
    annotations: list[dict[str, Any]]

    @property
    def objects(self) -> int:
        """Number of objects that a detector has to find: neither crowd nor ignored."""
        return sum(not annotation["ignore"] for annotation in self.annotations)

    @property
    def has_masks(self) -> bool:
        """Whether every annotation has a segmentation."""
        return all(annotation.get("segmentation") for annotation in self.annotations)


class _Reader:
    """One file and the error its problems raise: DataError for ground truth, ResultError for detections."""

    def __init__(self, path: Path, error: type[ReplicationError]) -> None:
        self.path = path
        self.error = error

    def fail(self, where: str, problem: str) -> ReplicationError:
        return self.error(f"{self.path}: {where}: {problem}")

    def load(self) -> Any:
        try:
            return json.loads(self.path.read_bytes())
        except FileNotFoundError:
            raise self.error(f"{self.path}: no such file") from None
        except OSError as error:
            raise self.error(f"{self.path}: cannot be read: {error.strerror or error}") from error
        except ValueError as error:
            raise self.error(f"{self.path}: not valid JSON, perhaps truncated ({error}); write it again") from error

    def records(self, content: Any, where: str) -> list[dict[str, Any]]:
        if not isinstance(content, list):
            raise self.fail(where, f"expected a list of records, found {type(content).__name__}")
        for index, record in enumerate(content):
            if not isinstance(record, dict):
                raise self.fail(f"{where}[{index}]", f"expected a record, found {type(record).__name__}")
        return content

    def require(self, record: dict[str, Any], keys: Iterable[str], where: str) -> None:
        missing = [key for key in keys if key not in record]
        if missing:
            raise self.fail(where, f"key {missing[0]!r} is missing; a record needs {', '.join(keys)}")

    def identifier(self, record: dict[str, Any], key: str, where: str) -> int:
        value = record[key]
        if type(value) is not int:
            raise self.fail(where, f"{key} is {value!r}, expected a whole number")
        return value

    def reference(self, record: dict[str, Any], key: str, known: Iterable[int], where: str) -> None:
        value = self.identifier(record, key, where)
        if value not in known:
            raise self.fail(where, f"{key} {value} is not in the ground truth; are the two files of one data set?")

    def box(self, value: Any, where: str) -> None:
        """Checks a box in XYWH absolute pixels."""
        if not isinstance(value, list) or len(value) != 4 or not all(_finite(number) for number in value):
            raise self.fail(where, f"bbox is {value!r}, expected four finite numbers [x, y, width, height]")
        if value[2] < 0 or value[3] < 0:
            raise self.fail(where, f"bbox {value!r} has negative width or height; boxes are [x, y, width, height]")

    def unique(self, records: list[dict[str, Any]], key: str, where: str) -> None:
        seen: set[Any] = set()
        for index, record in enumerate(records):
            if record[key] in seen:
                raise self.fail(f"{where}[{index}]", f"{key} {record[key]!r} occurs twice; make it unique")
            seen.add(record[key])


def _finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def read_ground_truth(path: Path) -> GroundTruth:
    """Read and check a COCO ground-truth file. Raises DataError naming file and record."""
    reader = _Reader(path, DataError)
    content = reader.load()
    if not isinstance(content, dict):
        raise reader.fail("whole file", f"expected a COCO mapping, found {type(content).__name__}")
    reader.require(content, ("images", "categories", "annotations"), "whole file")
    images = _images(reader, content["images"])
    classes = _classes(reader, content["categories"])
    annotations = _annotations(reader, content["annotations"], images, classes)
    ground_truth = GroundTruth(images, classes, annotations)
    if ground_truth.objects == 0:
        raise reader.fail("annotations", "no object to find in any image, AP is not defined; check the split")
    return ground_truth


def _images(reader: _Reader, content: Any) -> dict[int, dict[str, Any]]:
    images = reader.records(content, "images")
    if not images:
        raise reader.fail("images", "the list is empty; there is nothing to evaluate on")
    for index, image in enumerate(images):
        reader.require(image, ("id",), f"images[{index}]")
        reader.identifier(image, "id", f"images[{index}]")
    reader.unique(images, "id", "images")
    return {image["id"]: image for image in images}


def _classes(reader: _Reader, content: Any) -> dict[int, str]:
    categories = reader.records(content, "categories")
    if not categories:
        raise reader.fail("categories", "the list is empty; a data set needs at least one class")
    for index, category in enumerate(categories):
        reader.require(category, ("id", "name"), f"categories[{index}]")
        reader.identifier(category, "id", f"categories[{index}]")
    reader.unique(categories, "id", "categories")
    reader.unique(categories, "name", "categories")
    return {category["id"]: str(category["name"]) for category in categories}


def _annotations(
    reader: _Reader, content: Any, images: dict[int, dict[str, Any]], classes: dict[int, str]
) -> list[dict[str, Any]]:
    """Checked copies. ``ignore`` becomes true for crowds too; a missing ``area`` is the box's."""
    annotations = []
    for index, annotation in enumerate(reader.records(content, "annotations")):
        where = f"annotations[{index}]"
        reader.require(annotation, ("id", "image_id", "category_id", "bbox"), where)
        if reader.identifier(annotation, "id", where) == 0:
            # pycocotools writes 0 for "unmatched", so an object with id 0 could never be found.
            raise reader.fail(where, "id is 0, which the evaluator cannot tell from 'no match'; number from 1")
        reader.reference(annotation, "image_id", images, where)
        reader.reference(annotation, "category_id", classes, where)
        reader.box(annotation["bbox"], where)
        area = annotation.get("area", annotation["bbox"][2] * annotation["bbox"][3])
        if not _finite(area) or area < 0:
            raise reader.fail(where, f"area is {area!r}, expected a finite number of square pixels")
        crowd = int(bool(annotation.get("iscrowd", 0)))
        ignore = bool(annotation.get("ignore", 0)) or bool(crowd)
        annotations.append({**annotation, "area": area, "iscrowd": crowd, "ignore": ignore})
    reader.unique(annotations, "id", "annotations")
    return annotations


def read_detections(path: Path, ground_truth: GroundTruth) -> list[dict[str, Any]]:
    """Read and check a COCO result list. An empty list is valid. Raises ResultError naming file and record.

    A record has image_id, category_id, score, and ``bbox`` (XYWH, pixels) or ``segmentation`` (RLE) or both.
    """
    reader = _Reader(path, ResultError)
    detections = reader.records(reader.load(), "detections")
    for index, detection in enumerate(detections):
        where = f"detections[{index}]"
        reader.require(detection, ("image_id", "category_id", "score"), where)
        reader.reference(detection, "image_id", ground_truth.images, where)
        reader.reference(detection, "category_id", ground_truth.classes, where)
        if not _finite(detection["score"]):
            raise reader.fail(where, f"score is {detection['score']!r}, expected a finite number")
        if "bbox" not in detection and "segmentation" not in detection:
            raise reader.fail(where, "key 'bbox' is missing and there is no 'segmentation' to take it from")
        if "bbox" in detection:
            reader.box(detection["bbox"], where)
        if "segmentation" in detection:
            _check_rle(reader, detection["segmentation"], ground_truth.images[detection["image_id"]], where)
    return detections


def _check_rle(reader: _Reader, segmentation: Any, image: dict[str, Any], where: str) -> None:
    if not isinstance(segmentation, dict) or not isinstance(segmentation.get("counts"), str):
        raise reader.fail(where, "segmentation is not a compressed RLE {'size': [height, width], 'counts': text}")
    size = [image.get("height"), image.get("width")]
    if None not in size and segmentation.get("size") != size:
        raise reader.fail(where, f"segmentation size is {segmentation.get('size')!r}, the image is {size}")


def with_masks(
    detections: list[dict[str, Any]], ground_truth: GroundTruth, paths: tuple[Path, Path], wanted: bool | None
) -> bool:
    """Whether masks can and shall be evaluated; ``paths`` are those of detections and ground truth.

    ``wanted`` None means: when both files carry them. True raises ResultError or DataError where one does not.
    """
    if wanted is False:
        return False
    with_segmentation = sum("segmentation" in detection for detection in detections)
    if 0 < with_segmentation < len(detections):
        raise ResultError(f"{paths[0]}: only {with_segmentation} of {len(detections)} records have a segmentation")
    if wanted and with_segmentation < len(detections):
        raise ResultError(f"{paths[0]}: no segmentation in the records, masks cannot be evaluated")
    drawable = all("height" in image and "width" in image for image in ground_truth.images.values())
    if wanted and not (ground_truth.has_masks and drawable):
        raise DataError(f"{paths[1]}: masks asked for, but annotations lack segmentation or images lack their size")
    return bool(wanted) or (with_segmentation > 0 and ground_truth.has_masks and drawable)
