"""What is wrong with a file that does not decode: one record after the other, slowly, with the first fault named."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from replication.errors import DataError, ReplicationError, ResultError


class _Checker:
    """One file and the error its problems raise."""

    def __init__(self, path: Path, error: type[ReplicationError]) -> None:
        self.path = path
        self.error = error

    def fail(self, where: str, problem: str) -> ReplicationError:
        return self.error(f"{self.path}: {where}: {problem}")

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

    def identifiers(self, record: dict[str, Any], keys: Iterable[str], where: str) -> None:
        for key in keys:
            if type(record[key]) is not int or not -(2**63) <= record[key] < 2**63:
                raise self.fail(where, f"{key} is {record[key]!r}, expected a whole number")

    def box(self, value: Any, where: str) -> None:
        if not isinstance(value, list) or len(value) != 4 or not all(_finite(number) for number in value):
            raise self.fail(where, f"bbox is {value!r}, expected four finite numbers [x, y, width, height]")

    def flag(self, record: dict[str, Any], key: str) -> None:
        record[key] = int(bool(record.get(key, 0)))


def _finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def check_ground_truth(path: Path, content: Any) -> dict[str, Any]:
    """A COCO document whose records have the fields and types that are needed. Raises DataError."""
    checker = _Checker(path, DataError)
    if not isinstance(content, dict):
        raise checker.fail("whole file", f"expected a COCO mapping, found {type(content).__name__}")
    checker.require(content, ("images", "categories", "annotations"), "whole file")
    for index, image in enumerate(checker.records(content["images"], "images")):
        where = f"images[{index}]"
        checker.require(image, ("id",), where)
        checker.identifiers(image, ("id",), where)
        for key in ("height", "width"):
            if image.get(key) is not None and not _finite(image[key]):
                raise checker.fail(where, f"{key} is {image[key]!r}, expected a number of pixels")
        image["file_name"] = str(image.get("file_name", ""))
    for index, category in enumerate(checker.records(content["categories"], "categories")):
        checker.require(category, ("id", "name"), f"categories[{index}]")
        checker.identifiers(category, ("id",), f"categories[{index}]")
        category["name"] = str(category["name"])
    for index, annotation in enumerate(checker.records(content["annotations"], "annotations")):
        where = f"annotations[{index}]"
        checker.require(annotation, ("id", "image_id", "category_id", "bbox"), where)
        checker.identifiers(annotation, ("id", "image_id", "category_id"), where)
        checker.box(annotation["bbox"], where)
        area = annotation.get("area")
        if area is not None and not _finite(area):
            raise checker.fail(where, f"area is {area!r}, expected a finite number of square pixels")
        checker.flag(annotation, "iscrowd")
        checker.flag(annotation, "ignore")
        checker.flag(annotation, "difficult")
    return content


def check_detections(path: Path, content: Any) -> list[dict[str, Any]]:
    """A result list whose records have the fields and types that are needed. Raises ResultError."""
    checker = _Checker(path, ResultError)
    detections = checker.records(content, "detections")
    for index, detection in enumerate(detections):
        where = f"detections[{index}]"
        checker.require(detection, ("image_id", "category_id", "score"), where)
        checker.identifiers(detection, ("image_id", "category_id"), where)
        if not _finite(detection["score"]):
            raise checker.fail(where, f"score is {detection['score']!r}, expected a finite number")
        if detection.get("bbox") is None and detection.get("segmentation") is None:
            raise checker.fail(where, "key 'bbox' is missing and there is no 'segmentation' to take it from")
        if detection.get("bbox") is not None:
            checker.box(detection["bbox"], where)
        if detection.get("segmentation") is not None:
            _check_rle(checker, detection["segmentation"], where)
    return detections


def _check_rle(checker: _Checker, rle: Any, where: str) -> None:
    size = rle.get("size") if isinstance(rle, dict) else None
    whole = isinstance(size, list) and len(size) == 2 and all(type(number) is int for number in size)
    if not whole or not isinstance(rle.get("counts"), str):
        raise checker.fail(where, "segmentation is not a compressed RLE {'size': [height, width], 'counts': text}")
