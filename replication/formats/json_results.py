"""Detections from COCO's result list, a few megabytes of JSON at a time, and from columns in npz."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from replication.errors import ResultError
from replication.formats.checks import Failure, explain, mapped, uncovered
from replication.formats.columns import (
    Detections,
    Floats,
    GroundTruth,
    Ints,
    first,
    from_xywh,
    indices,
    load_columns,
)
from replication.formats.faults import check_detections

CHUNK = 4 << 20  # bytes that are decoded at once
CUTS = 64  # places tried as the end of a part; a record with more nested ones than that is read with the whole file
AGREEMENT = 1e-9  # relative difference of box_areas to the areas of boxes up to which both are held to be the same
Box = tuple[float, float, float, float]


class _Rle(msgspec.Struct, gc=False):
    size: tuple[int, int]
    counts: str


class _Detection(msgspec.Struct, gc=False):
    image_id: int
    category_id: int
    score: float
    bbox: Box | None = None
    segmentation: _Rle | None = None


def from_json(path: Path, truth: GroundTruth) -> Detections:
    """Read and check a COCO result list. Raises ResultError naming file and record."""
    columns = _Columns()
    content = mapped(path, ResultError)
    try:
        for part in _parts(content):
            columns.add(part)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        checked = check_detections(path, explain(path, content, problem, ResultError, len(columns)))
        columns = _Columns()
        columns.add(msgspec.json.decode(msgspec.json.encode(checked), type=list[_Detection]))
    except MemoryError:
        raise ResultError(f"{path}: too large for the memory; write npz, or fewer detections an image") from None
    return columns.checked(path, truth)


def _parts(content: bytes | mmap.mmap) -> Iterator[list[_Detection]]:
    """The records of a JSON list, a few megabytes at a time.

    The text is cut between records, ``}`` and ``,``. A cut inside a record, after a nested one or in a string, leaves
    two parts that are no JSON, so what decodes is what the whole file holds; what does not is tried up to the next cut.
    """
    decoder = msgspec.json.Decoder(list[_Detection])
    start, size = 0, len(content)
    if size <= 2 * CHUNK or content[:1] != b"[":
        yield decoder.decode(content[:])
        return
    opening = b""
    while size - start > CHUNK:
        part, end = _part(decoder, content, opening, start)
        if not end:
            break
        yield part
        start, opening = end + 1, b"["
    yield decoder.decode(opening + content[start:])


def _part(
    decoder: msgspec.json.Decoder[list[_Detection]], content: bytes | mmap.mmap, opening: bytes, start: int
) -> tuple[list[_Detection], int]:
    """The records from ``start`` to the next cut that is none inside a record, and where that is; 0 without one."""
    end = content.find(b"},", start + CHUNK) + 1
    problem: msgspec.DecodeError | None = None
    for _ in range(CUTS):
        if not end:
            return [], 0
        try:
            return decoder.decode(opening + content[start:end] + b"]"), end
        except msgspec.ValidationError:  # JSON, but a wrong record
            raise
        except msgspec.DecodeError as error:
            problem, end = error, content.find(b"},", end) + 1
    assert problem is not None
    raise problem


class _Columns:
    """Detections as they are read, part by part."""

    def __init__(self) -> None:
        self.parts: list[tuple[Ints, Ints, Floats, Floats]] = []
        self.masks: list[_Rle | None] = []
        self.any_mask = False
        self.count = 0

    def __len__(self) -> int:
        return self.count

    def add(self, records: list[_Detection]) -> None:
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

    def checked(self, path: Path, truth: GroundTruth) -> Detections:
        image, label, score, xywh = (np.concatenate(column) for column in zip(*self.parts, strict=True))
        fail = Failure(path, ResultError)
        masks = None
        if self.any_mask:
            self._check_masks(fail, image, truth)
            if all(mask is not None for mask in self.masks):
                masks = tuple({"size": list(mask.size), "counts": mask.counts} for mask in self.masks if mask)
        boxless = np.isnan(xywh).all(axis=1)
        if boxless.any():
            xywh[boxless] = self._mask_boxes(np.flatnonzero(boxless), fail)
        found = _checked(fail, image, label, score, xywh, truth)
        if self.any_mask and masks is None:
            some = sum(mask is not None for mask in self.masks)
            raise ResultError(f"{path}: only {some} of {len(self)} records have a segmentation")
        return Detections(*found, masks)

    def _check_masks(self, fail: Failure, image: Ints, truth: GroundTruth) -> None:
        from replication.formats.rle_kernels import pixels

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

    def _mask_boxes(self, rows: Ints, fail: Failure) -> Floats:
        from pycocotools import mask as mask_utils

        boxes = np.empty((len(rows), 4))
        for place, index in enumerate(rows):
            mask = self.masks[index] if self.any_mask else None
            if mask is None:
                raise fail(
                    f"detections[{index}]", "key 'bbox' is missing and there is no 'segmentation' to take it from"
                )
            boxes[place] = mask_utils.toBbox({"size": list(mask.size), "counts": mask.counts})
        return boxes


def from_npz(path: Path, truth: GroundTruth) -> Detections:
    """Read and check columns in npz. Raises ResultError naming file and record."""
    columns = load_columns(path, ("image_ids", "class_ids", "boxes", "scores"), ResultError)
    fail = Failure(path, ResultError)
    boxes = _numbers(columns, "boxes", fail)
    image, label = (_ids(columns, name, fail) for name in ("image_ids", "class_ids"))
    xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    images, labels, _, areas, scores = _checked(fail, image, label, _numbers(columns, "scores", fail), xywh, truth)
    if "box_areas" in columns:
        given = _numbers(columns, "box_areas", fail)
        # The corners hold an extent to their own last bit only.
        rounding = np.finfo(np.float64).eps * (np.abs(boxes[:, 2]) * xywh[:, 3] + np.abs(boxes[:, 3]) * xywh[:, 2])
        if (bad := first(~(np.abs(given - areas) <= AGREEMENT * areas + rounding))) is not None:
            message = f"is {float(given[bad])!r}, the box has {float(areas[bad])!r}; correct it or leave box_areas out"
            raise fail(f"box_areas[{bad}]", message)
        areas = given
    return Detections(images, labels, boxes, areas, scores)


def _numbers(columns: dict[str, Any], name: str, fail: Failure) -> Floats:
    """A column of numbers as the kernels need it: of its full shape, 64 bits, one after the other."""
    column = _shaped(columns, name, fail)
    if column.dtype.kind not in "iuf":
        raise fail(name, f"is of type {column.dtype}, expected numbers")
    return np.ascontiguousarray(column, np.float64)


def _ids(columns: dict[str, Any], name: str, fail: Failure) -> Ints:
    column = _shaped(columns, name, fail)
    if column.dtype.kind not in "iu":
        raise fail(name, f"is of type {column.dtype}, expected whole numbers")
    if (bad := first(column > np.iinfo(np.int64).max)) is not None:
        raise fail(f"{name}[{bad}]", f"{column[bad]} does not fit into 64 bits with a sign")
    return np.ascontiguousarray(column, np.int64)


def _shaped(columns: dict[str, Any], name: str, fail: Failure) -> NDArray[Any]:
    column: NDArray[Any] = columns[name]
    wanted = (column.shape[:1] or (0,)) + ((4,) if name == "boxes" else ())
    if column.shape != wanted:
        expected = "(N, 4), XYXY in pixels" if name == "boxes" else "(N,), one number a detection"
        raise fail(name, f"has shape {column.shape}, expected {expected}")
    if len(column) != (count := columns["boxes"].size // 4):
        raise fail(name, f"has {len(column)} entries, boxes has {count}; they must not differ in length")
    return column


def _checked(
    fail: Failure, image: Ints, label: Ints, score: Floats, xywh: Floats, truth: GroundTruth
) -> tuple[Ints, Ints, Floats, Floats, Floats]:
    """Columns of ``Detections`` from ids and XYWH boxes."""
    images = fail.known(image, truth.image_ids, "image_id", "detections")
    labels = fail.known(label, truth.class_ids, "category_id", "detections")
    if (bad := first(~np.isfinite(score))) is not None:
        raise fail(f"detections[{bad}]", f"score is {float(score[bad])!r}, expected a finite number")
    fail.boxes(xywh, "detections")
    boxes, areas = from_xywh(xywh)
    return images, labels, boxes, areas, score
