"""Reading ground truth and detections, with everything checked before anything is computed.

Files are decoded into typed records at once (msgspec). Only where that fails is a file read again record by record, to
name what is wrong with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from replication.errors import DataError, ResultError
from replication.formats.checks import Failure, explain, mapped, whole_numbers
from replication.formats.columns import Detections, GroundTruth, first, from_xywh
from replication.formats.faults import check_ground_truth
from replication.formats.json_results import from_json, from_npz
from replication.formats.voc_files import left_out, read_voc_detections, read_voc_ground_truth

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


def read_ground_truth(path: Path) -> GroundTruth:
    """Read and check a COCO ground-truth file, or VOC's: a list of images, ``ImageSets/Main/<split>.txt``.

    Raises DataError naming file and record.
    """
    if path.suffix == ".txt":
        return read_voc_ground_truth(path)
    content = mapped(path, DataError)
    try:
        document = msgspec.json.decode(content, type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        checked = check_ground_truth(path, explain(path, content, problem, DataError))
        document = msgspec.json.decode(msgspec.json.encode(checked), type=_Document)
    return _ground_truth(path, document)


def _ground_truth(path: Path, document: _Document) -> GroundTruth:
    fail = Failure(path, DataError)
    images, categories, annotations = document.images, document.categories, document.annotations
    if not images:
        raise fail("images", "the list is empty; there is nothing to evaluate on")
    if not categories:
        raise fail("categories", "the list is empty; a data set needs at least one class")
    image_ids = fail.unique(whole_numbers([image.id for image in images], "images", fail), "images", "id")
    class_ids = fail.unique(whole_numbers([entry.id for entry in categories], "categories", fail), "categories", "id")
    fail.unique(np.array([entry.name for entry in categories]), "categories", "name")
    ids = whole_numbers([entry.id for entry in annotations], "annotations", fail)
    if (zero := first(ids == 0)) is not None:
        # pycocotools writes 0 for "unmatched", so an object with id 0 could never be found.
        raise fail(f"annotations[{zero}]", "id is 0, which evaluators cannot tell from 'no match'; number from 1")
    fail.unique(ids, "annotations", "id")
    by_image, by_class = np.argsort(image_ids), np.argsort(class_ids)
    image_ids, class_ids = image_ids[by_image], class_ids[by_class]
    image = whole_numbers([entry.image_id for entry in annotations], "annotations", fail)
    label = whole_numbers([entry.category_id for entry in annotations], "annotations", fail)
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
        return from_npz(path, truth)
    if path.is_dir():
        return read_voc_detections(path, truth)
    return from_json(path, truth)


def doubts(path: Path, detections: Detections, truth: GroundTruth) -> list[str]:
    """Warnings about a file of detections that can be evaluated, but perhaps is not what was meant."""
    texts = exceeding(detections, truth), left_out(path, truth) if path.is_dir() else None
    return [f"{path}: {text}" for text in texts if text]


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


def with_masks(detections: Detections, truth: GroundTruth, paths: tuple[Path, Path], wanted: bool | None) -> bool:
    """Whether masks can and shall be evaluated; ``paths`` are those of detections and ground truth.

    ``wanted`` None means: when both files carry them. True raises ResultError or DataError where one does not. Masks
    of the ground truth that cannot be drawn on their images raise DataError naming the annotation.
    """
    if wanted is False:
        return False
    drawable = truth.masks is not None and not np.isnan(truth.sizes).any()
    if wanted and detections.masks is None:
        raise ResultError(f"{paths[0]}: no segmentation in the records, masks cannot be evaluated")
    if wanted and not drawable:
        raise DataError(f"{paths[1]}: masks asked for, but annotations lack segmentation or images lack their size")
    if detections.masks is None or not drawable:
        return False
    from replication.evaluation.masks import check_masks

    check_masks(truth, paths[1])
    return True
