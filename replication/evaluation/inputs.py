"""Reading ground truth and detections, with everything checked before anything is computed.

Files are decoded into typed records at once (msgspec). Only where that fails is a file read again record by record, to
name what is wrong with it.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from replication.errors import DataError, ReplicationError, ResultError
from replication.evaluation.columns import (
    Detections,
    Floats,
    GroundTruth,
    Ints,
    first,
    from_xywh,
    indices,
    load_columns,
)  # fmt: skip
from replication.evaluation.records import check_detections, check_ground_truth
from replication.evaluation.voc_files import read_voc_detections, read_voc_ground_truth

CHUNK = 4 << 20  # bytes of a detection file that are decoded at once
REREAD = 1 << 28  # files above this are not read a second time to explain what is wrong
EXCEED = 0.5  # share of boxes beyond their image above which the boxes are taken for XYXY
Box = tuple[float, float, float, float]


class _Image(msgspec.Struct, gc=False):
    id: int
    height: float | None = None
    width: float | None = None
    file_name: str = ""


class _Category(msgspec.Struct, gc=False):
    id: int
    name: str


class _Annotation(msgspec.Struct, gc=False):
    id: int
    image_id: int
    category_id: int
    bbox: Box
    area: float | None = None
    iscrowd: int | bool | None = 0
    ignore: int | bool | None = 0
    difficult: int | bool | None = 0
    segmentation: msgspec.Raw = msgspec.Raw()


class _Document(msgspec.Struct, gc=False):
    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Annotation]


class _Rle(msgspec.Struct, gc=False):
    size: tuple[int, int]
    counts: str


class _Detection(msgspec.Struct, gc=False):
    image_id: int
    category_id: int
    score: float
    bbox: Box | None = None
    segmentation: _Rle | None = None


def read_ground_truth(path: Path) -> GroundTruth:
    """Read and check a COCO ground-truth file, or VOC's: a list of images, ``ImageSets/Main/<split>.txt``.

    Raises DataError naming file and record.
    """
    if path.suffix == ".txt":
        return read_voc_ground_truth(path)
    content = _bytes(path, DataError)
    try:
        document = msgspec.json.decode(content, type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        checked = check_ground_truth(path, _explain(path, content, problem, DataError))
        document = msgspec.json.decode(msgspec.json.encode(checked), type=_Document)
    return _ground_truth(path, document)


def _ground_truth(path: Path, document: _Document) -> GroundTruth:
    fail = _Failure(path, DataError)
    images, categories, annotations = document.images, document.categories, document.annotations
    if not images:
        raise fail("images", "the list is empty; there is nothing to evaluate on")
    if not categories:
        raise fail("categories", "the list is empty; a data set needs at least one class")
    image_ids = fail.unique(_ids([image.id for image in images], "images", fail), "images", "id")
    class_ids = fail.unique(_ids([entry.id for entry in categories], "categories", fail), "categories", "id")
    fail.unique(np.array([entry.name for entry in categories]), "categories", "name")
    ids = _ids([entry.id for entry in annotations], "annotations", fail)
    if (zero := first(ids == 0)) is not None:
        # pycocotools writes 0 for "unmatched", so an object with id 0 could never be found.
        raise fail(f"annotations[{zero}]", "id is 0, which evaluators cannot tell from 'no match'; number from 1")
    fail.unique(ids, "annotations", "id")
    by_image, by_class = np.argsort(image_ids), np.argsort(class_ids)
    image_ids, class_ids = image_ids[by_image], class_ids[by_class]
    image = _ids([entry.image_id for entry in annotations], "annotations", fail)
    label = _ids([entry.category_id for entry in annotations], "annotations", fail)
    references = [fail.known(image, image_ids, "image_id", "annotations")]
    references += [fail.known(label, class_ids, "category_id", "annotations")]
    xywh = np.array([entry.bbox for entry in annotations], np.float64).reshape(-1, 4)
    fail.boxes(xywh, "annotations")
    boxes, box_areas = from_xywh(xywh)
    areas = np.array([np.nan if entry.area is None else entry.area for entry in annotations], np.float64)
    given = np.array([entry.area is not None for entry in annotations], np.bool_)
    areas[~given] = box_areas[~given]
    if (bad := first(~np.isfinite(areas) | (areas < 0))) is not None:
        message = f"area is {float(areas[bad])!r}, expected a finite number of square pixels, 0 or more"
        raise fail(f"annotations[{bad}]", message)
    crowds = np.array([bool(entry.iscrowd) for entry in annotations], np.bool_)
    ignored = np.array([bool(entry.ignore) for entry in annotations], np.bool_) | crowds
    if ignored.all():
        raise fail("annotations", "no object to find in any image, AP is not defined; check the split")
    sizes = np.array([(image.height or np.nan, image.width or np.nan) for image in images], np.float64)
    return GroundTruth(
        image_ids=image_ids,
        sizes=sizes[by_image],
        class_ids=class_ids,
        class_names=tuple(categories[index].name for index in by_class),
        images=references[0],
        labels=references[1],
        boxes=boxes,
        box_areas=box_areas,
        areas=areas,
        crowds=crowds,
        ignored=ignored,
        difficult=np.array([bool(entry.difficult) for entry in annotations], np.bool_),
        image_names=tuple(images[index].file_name for index in by_image),
        masks=_segmentations(annotations),
    )


def _segmentations(annotations: list[_Annotation]) -> tuple[Any, ...] | None:
    """The masks as written, to be decoded when they are needed; None unless every object has one."""
    texts = [bytes(entry.segmentation) for entry in annotations]
    return None if any(text in (b"", b"null", b"[]", b"{}") for text in texts) else tuple(texts)


def read_detections(path: Path, truth: GroundTruth) -> Detections:
    """Read and check a COCO result list, columns in npz, or a folder of VOC's result files. An empty list is valid.

    A record has image_id, category_id, score, and ``bbox`` (XYWH, pixels) or ``segmentation`` (RLE) or both. An npz
    file has ``image_ids``, ``class_ids``, ``boxes`` (XYXY, pixels) and ``scores``. Raises ResultError naming file and
    record.
    """
    if path.suffix == ".npz":
        return _from_npz(path, truth)
    if path.is_dir():
        return read_voc_detections(path, truth)
    columns = _Columns()
    content = _bytes(path, ResultError)
    try:
        for part in _parts(content):
            columns.add(part)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        checked = check_detections(path, _explain(path, content, problem, ResultError, len(columns)))
        columns = _Columns()
        columns.add(msgspec.json.decode(msgspec.json.encode(checked), type=list[_Detection]))
    except MemoryError:
        raise ResultError(f"{path}: too large for the memory; write npz, or fewer detections an image") from None
    return columns.checked(path, truth)


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
        fail = _Failure(path, ResultError)
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

    def _check_masks(self, fail: _Failure, image: Ints, truth: GroundTruth) -> None:
        place, unknown = indices(image, truth.image_ids)
        for index, mask in enumerate(self.masks):
            size = truth.sizes[place[index]]
            if mask is None or unknown[index] or np.isnan(size).any():
                continue
            if tuple(mask.size) != tuple(size):
                expected = [int(size[0]), int(size[1])]
                raise fail(f"detections[{index}]", f"segmentation size is {list(mask.size)}, the image is {expected}")

    def _mask_boxes(self, rows: Ints, fail: _Failure) -> Floats:
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


def _from_npz(path: Path, truth: GroundTruth) -> Detections:
    needed = ("image_ids", "class_ids", "boxes", "scores")
    columns = load_columns(path, needed, ResultError)
    boxes = columns["boxes"]
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ResultError(f"{path}: boxes has shape {boxes.shape}, expected (N, 4), XYXY in pixels")
    for name in ("image_ids", "class_ids"):
        if not np.issubdtype(columns[name].dtype, np.integer):
            raise ResultError(f"{path}: {name} is of type {columns[name].dtype}, expected whole numbers")
    boxes = boxes.astype(np.float64)
    xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    image, label = (columns[name].astype(np.int64) for name in needed[:2])
    found = _checked(_Failure(path, ResultError), image, label, columns["scores"].astype(np.float64), xywh, truth)
    areas = columns.get("box_areas", found[3])
    return Detections(found[0], found[1], boxes, areas, found[4])


def _checked(
    fail: _Failure, image: Ints, label: Ints, score: Floats, xywh: Floats, truth: GroundTruth
) -> tuple[Ints, Ints, Floats, Floats, Floats]:
    """Columns of ``Detections`` from ids and XYWH boxes."""
    images = fail.known(image, truth.image_ids, "image_id", "detections")
    labels = fail.known(label, truth.class_ids, "category_id", "detections")
    if (bad := first(~np.isfinite(score))) is not None:
        raise fail(f"detections[{bad}]", f"score is {float(score[bad])!r}, expected a finite number")
    fail.boxes(xywh, "detections")
    boxes, areas = from_xywh(xywh)
    return images, labels, boxes, areas, score


def exceeding(detections: Detections, truth: GroundTruth) -> str | None:
    """A warning when most boxes end more than a pixel beyond their image, as XYXY boxes read as XYWH do."""
    limits = truth.sizes[detections.images][:, ::-1]
    known = ~np.isnan(limits).any(axis=1)
    beyond = (detections.boxes[known, 2:] > limits[known] + 1).any(axis=1)
    if not known.any() or beyond.mean() <= EXCEED:
        return None
    return (
        f"{100 * beyond.mean():.0f}% of the boxes end beyond their image; boxes must be [x, y, width, height], "
        "these look like [x1, y1, x2, y2]"
    )


class _Failure:
    """Makes the error of one file, and checks columns of its records."""

    def __init__(self, path: Path, error: type[ReplicationError]) -> None:
        self.path = path
        self.error = error

    def __call__(self, where: str, problem: str) -> ReplicationError:
        return self.error(f"{self.path}: {where}: {problem}")

    def unique(self, values: Any, where: str, key: str) -> Any:
        """``values`` unless one occurs twice; the error names the second place."""
        _, firsts = np.unique(values, return_index=True)
        if len(firsts) < len(values):
            again = first(~np.isin(np.arange(len(values)), firsts))
            assert again is not None
            value = values[again].item()
            raise self(f"{where}[{again}]", f"{key} {value!r} occurs twice; make it unique")
        return values

    def known(self, values: Ints, ids: Ints, key: str, where: str) -> Ints:
        """Places of ``values`` in ``ids``."""
        places, unknown = indices(values, ids)
        if (bad := first(unknown)) is not None:
            message = f"{key} {values[bad]} is not in the ground truth; are the two files of one data set?"
            raise self(f"{where}[{bad}]", message)
        return places

    def boxes(self, xywh: Floats, where: str) -> None:
        """Refuse boxes with numbers that are not finite, and boxes without area."""
        if (bad := first(~np.all(np.isfinite(xywh), axis=1))) is not None:
            message = f"bbox is {xywh[bad].tolist()}, expected four finite numbers [x, y, width, height]"
            raise self(f"{where}[{bad}]", message)
        if (bad := first(xywh[:, 2:].min(axis=1) <= 0)) is not None:
            message = (
                f"bbox {xywh[bad].tolist()} has zero or negative width or height; boxes are [x, y, width, height] with "
                "an area, leave others out"
            )
            raise self(f"{where}[{bad}]", message)


def _ids(values: list[int], where: str, fail: _Failure) -> Ints:
    try:
        return np.array(values, np.int64)
    except OverflowError:
        bad = next(index for index, value in enumerate(values) if not -(2**63) <= value < 2**63)
        raise fail(f"{where}[{bad}]", f"{values[bad]} does not fit into 64 bits") from None


def _bytes(path: Path, error: type[ReplicationError]) -> bytes | mmap.mmap:
    try:
        with open(path, "rb") as file:
            if not file.seek(0, 2):
                raise error(f"{path}: the file is empty; write it again")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise error(f"{path}: no such file") from None
    except OSError as problem:
        raise error(f"{path}: cannot be read: {problem.strerror or problem}") from problem


def _parts(content: bytes | mmap.mmap) -> Iterator[list[_Detection]]:
    """The records of a JSON list, a few megabytes at a time.

    The text is cut between records, ``}`` and ``,``. A cut inside a string or a nested list would leave two parts that
    are no JSON, so what decodes is what the whole file holds.
    """
    decoder = msgspec.json.Decoder(list[_Detection])
    start, size = 0, len(content)
    if size <= 2 * CHUNK or content[:1] != b"[":
        yield decoder.decode(content[:])
        return
    opening = b""
    while size - start > CHUNK:
        end = content.find(b"},", start + CHUNK) + 1
        if not end:
            break
        yield decoder.decode(opening + content[start:end] + b"]")
        start, opening = end + 1, b"["
    yield decoder.decode(opening + content[start:])


def _explain(
    path: Path, content: bytes | mmap.mmap, problem: Exception, error: type[ReplicationError], good: int = 0
) -> Any:
    """What the standard library reads, for the check record by record; raises ``error`` where it is no JSON."""
    if len(content) > REREAD:
        raise error(f"{path}: detections[{good}] or one of the following records: {problem}") from problem
    try:
        return json.loads(content[:])
    except (ValueError, RecursionError) as invalid:
        where = f"after record {good}, " if good else ""
        raise error(f"{path}: {where}not valid JSON, perhaps truncated ({invalid}); write it again") from invalid


def with_masks(detections: Detections, truth: GroundTruth, paths: tuple[Path, Path], wanted: bool | None) -> bool:
    """Whether masks can and shall be evaluated; ``paths`` are those of detections and ground truth.

    ``wanted`` None means: when both files carry them. True raises ResultError or DataError where one does not.
    """
    if wanted is False:
        return False
    drawable = truth.masks is not None and not np.isnan(truth.sizes).any()
    if wanted and detections.masks is None:
        raise ResultError(f"{paths[0]}: no segmentation in the records, masks cannot be evaluated")
    if wanted and not drawable:
        raise DataError(f"{paths[1]}: masks asked for, but annotations lack segmentation or images lack their size")
    return detections.masks is not None and drawable
