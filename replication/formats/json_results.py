"""Detections from COCO's result list, a few megabytes of JSON at a time: all that ``scanned`` leaves.

Detectron2 (``coco_instances_results.json``), mmdetection (``*.bbox.json``, ``*.segm.json``) and Ultralytics
(``predictions.json``, whose image ids may be names of files) write it.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from replication.errors import ResultError
from replication.formats.annotations import Box
from replication.formats.columns import Detections, Floats, GroundTruth, Ints, indices
from replication.formats.json_files import box, load_json, mapped, require
from replication.formats.problems import Problems
from replication.formats.result_columns import BY_NAME, ClassIds, ImageIds, checked_detections
from replication.formats.result_masks import run_lengths
from replication.formats.segmentations import uncovered
from replication.formats.values import is_finite, shown

CHUNK = 4 << 20  # bytes that are decoded at once
CUTS = 64  # places tried as the end of a part; a record with more nested ones than that is read with the whole file
REREAD = 1 << 28  # bytes; larger files are not read a second time to explain what is wrong
NO_BOX = "key 'bbox' is missing and there is no 'segmentation' to take it from"


class _Rle(msgspec.Struct, gc=False):
    size: tuple[int, int]
    counts: str


class _Detection(msgspec.Struct, gc=False):
    image_id: int
    category_id: int
    score: float
    bbox: Box | None = None
    segmentation: _Rle | None = None


Content = bytes | mmap.mmap
_JSON = msgspec.json.Decoder(Any)
_RECORDS = msgspec.json.Decoder(list[_Detection])


def read_json(path: Path, truth: GroundTruth, polygons: bool = False) -> Detections:
    """Read and check a COCO result list; ``polygons`` are drawn as masks. Raises ResultError naming file and record."""
    content = mapped(path, ResultError)
    reader = _Reader(path, truth, polygons)
    try:
        for part in _parts(reader, content):
            reader.add(part)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        if len(content) > REREAD:
            message = f"{path}: detections[{reader.count}] or one of the following records: {problem}"
            raise ResultError(message) from problem
        document = load_json(path, content[:], ResultError, reader.count)
        reader = _Reader(path, truth, polygons)
        reader.add(reader.records(document))
    except MemoryError:
        raise ResultError(f"{path}: too large for the memory; write npz, or fewer detections per image") from None
    return reader.detections()


def _parts(reader: _Reader, content: Content) -> Iterator[list[_Detection]]:
    """The records of a JSON list, a few megabytes at a time.

    The text is cut between records, ``}`` and ``,``. A cut inside a record, after a nested one or in a string, leaves
    two parts that are no JSON, so what decodes is what the whole file holds; what does not is tried up to the next cut.
    """
    start, size = 0, len(content)
    if size <= 2 * CHUNK or content[:1] != b"[":
        yield reader.decode(content[:])
        return
    opening = b""
    while size - start > CHUNK:
        part, end = _part(reader, content, opening, start)
        if not end:
            break
        yield part
        start, opening = end + 1, b"["
    yield reader.decode(opening + content[start:])


def _part(reader: _Reader, content: Content, opening: bytes, start: int) -> tuple[list[_Detection], int]:
    """The records from ``start`` to the next cut that is none inside a record, and where that is; 0 without one."""
    end = content.find(b"},", start + CHUNK) + 1
    problem: msgspec.DecodeError | None = None
    for _ in range(CUTS):
        if not end:
            return [], 0
        try:
            return reader.decode(opening + content[start:end] + b"]"), end
        except msgspec.DecodeError as error:
            problem, end = error, content.find(b"},", end) + 1
    assert problem is not None
    raise problem


class _Reader:
    """Detections as they are read, part by part."""

    def __init__(self, path: Path, truth: GroundTruth, polygons: bool) -> None:
        self.truth, self.problems, self.polygons = truth, Problems(path, ResultError), polygons
        self.image_ids, self.class_ids = ImageIds(truth), ClassIds(truth)
        self.plain_ids = not truth.image_keys and not truth.class_keys
        self.parts: list[tuple[Ints, Ints, Floats, Floats]] = []
        self.masks: list[_Rle | None] = []
        self.any_mask = False
        self.other_masks = 0
        self.count = 0

    def decode(self, text: bytes) -> list[_Detection]:
        """The records of a JSON list. Raises DecodeError where it is no JSON, ResultError for a wrong record."""
        if self.plain_ids:
            try:
                return _RECORDS.decode(text)
            except msgspec.ValidationError:
                pass  # JSON of other types: ids as text or 11.0, other masks, or a fault to be named
        return self.records(_JSON.decode(text))

    def records(self, content: Any) -> list[_Detection]:
        """Records that are of other types, one by one. Raises ResultError naming the first that is wrong."""
        if not isinstance(content, list):
            raise self.problems.fail("detections", f"expected a list of records, found {type(content).__name__}")
        read: list[_Detection] = []
        for index, record in enumerate(content, start=self.count):
            try:
                read.append(self._record(record))
            except ValueError as error:
                raise self.problems.fail(f"detections[{index}]", str(error)) from None
        return read

    def _record(self, record: Any) -> _Detection:
        if not isinstance(record, dict):
            raise ValueError(f"expected a record, found {type(record).__name__}")
        require(record, ("image_id", "category_id", "score"))
        image = _named("image_id", self.image_ids.resolve, record["image_id"])
        label = _named("category_id", self.class_ids.resolve, record["category_id"])
        if not is_finite(record["score"]):
            raise ValueError(f"score is {shown(record['score'])}, expected a finite number")
        given, mask = record.get("bbox"), self._mask(record, image)
        if given in (None, []) and mask is None:
            raise ValueError(NO_BOX)
        return _Detection(image, label, float(record["score"]), None if given in (None, []) else box(given), mask)

    def _mask(self, record: dict[str, Any], image: int) -> _Rle | None:
        """The run-length code of a record; None for masks of another form, which boxes do not need.

        Those are drawn where ``polygons`` are asked for.
        """
        mask = record.get("segmentation")
        if mask is None:
            return None
        size = mask.get("size") if isinstance(mask, dict) else None
        if (
            isinstance(size, list)
            and len(size) == 2
            and all(type(number) is int for number in size)
            and isinstance(mask.get("counts"), str)
        ):
            return _Rle((size[0], size[1]), mask["counts"])
        if self.polygons:
            return self._drawn(mask, image)
        if record.get("bbox") in (None, []):
            raise ValueError("segmentation is not a compressed RLE {'size': [height, width], 'counts': text}")
        self.other_masks += 1
        return None

    def _drawn(self, mask: Any, image: int) -> _Rle | None:
        places, unknown = indices(np.array([image], np.int64), self.truth.image_ids)
        if unknown[0]:  # named later
            return None
        height, width = (int(side) for side in self.truth.sizes[places[0]])
        try:
            code = run_lengths(mask, height, width)
        except ValueError as error:
            raise ValueError(f"segmentation {error}") from None
        return _Rle((height, width), code["counts"])

    def add(self, records: list[_Detection]) -> None:
        """Take in a part."""
        try:
            image = np.array([record.image_id for record in records], np.int64)
            label = np.array([record.category_id for record in records], np.int64)
        except OverflowError as error:
            raise msgspec.ValidationError(str(error)) from error
        score = np.array([record.score for record in records], np.float64)
        # What has no box has a mask to take it from: NaN until then.
        boxes = [record.bbox or (np.nan,) * 4 for record in records]
        self.parts.append((image, label, score, np.array(boxes, np.float64).reshape(-1, 4)))
        masks = [record.segmentation for record in records]
        if not self.any_mask and any(mask is not None for mask in masks):
            self.any_mask = True
            self.masks = [None] * self.count
        if self.any_mask:
            self.masks += masks
        self.count += len(records)

    def detections(self) -> Detections:
        """All that was read, checked."""
        image, label, score, xywh = (np.concatenate(column) for column in zip(*self.parts, strict=True))
        masks = None
        if self.any_mask:
            self._check_masks(image)
            if None not in self.masks:
                masks = tuple({"size": list(mask.size), "counts": mask.counts} for mask in self.masks if mask)
        boxless = np.isnan(xywh).all(axis=1)
        if boxless.any():
            xywh[boxless] = self._mask_boxes(np.flatnonzero(boxless))
        return checked_detections(
            self.problems,
            image,
            label,
            score,
            xywh,
            self.truth,
            masks=masks,
            notes=tuple(self._notes()),
            foreign={number: repr(key) for key, number in self.class_ids.foreign.items()},
        )

    def _notes(self) -> Iterator[str]:
        if self.image_ids.by_name is not None:
            yield BY_NAME.format(example=self.image_ids.by_name)
        if self.other_masks:
            yield (
                f"{self.other_masks} of {self.count} records have a segmentation that is not a compressed RLE: boxes "
                "alone are evaluated"
            )
        elif self.any_mask and None in self.masks:
            some = sum(mask is not None for mask in self.masks)
            yield f"only {some} of {self.count} records have a segmentation: boxes alone are evaluated"

    def _check_masks(self, image: Ints) -> None:
        from replication.formats.rle_kernels import pixels

        truth, fail = self.truth, self.problems.fail
        place, unknown = indices(image, truth.image_ids)
        covered = pixels([mask.counts if mask else "" for mask in self.masks]).tolist()
        for index, mask in enumerate(self.masks):
            if mask is None:
                continue
            size = truth.sizes[place[index]]
            if not unknown[index] and not np.isnan(size).any() and tuple(mask.size) != tuple(size):
                expected = size.astype(int).tolist()
                raise fail(f"detections[{index}]", f"segmentation size is {list(mask.size)}, the image is {expected}")
            if problem := uncovered(mask.size, covered[index]):
                raise fail(f"detections[{index}]", f"segmentation {problem}")

    def _mask_boxes(self, rows: Ints) -> Floats:
        from pycocotools import mask as mask_utils

        boxes = np.empty((len(rows), 4))
        for place, index in enumerate(rows):
            mask = self.masks[index] if self.any_mask else None
            if mask is None:
                raise self.problems.fail(f"detections[{index}]", NO_BOX)
            boxes[place] = mask_utils.toBbox({"size": list(mask.size), "counts": mask.counts})
        return boxes


def _named(field: str, resolve: Any, value: Any) -> int:
    try:
        number: int = resolve(value)
    except ValueError as error:
        raise ValueError(f"{field} {error}") from None
    return number
