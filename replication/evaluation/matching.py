"""Matching of detections with objects: once for all thresholds and area ranges; everything else reads its result."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from replication.errors import ConfigError
from replication.formats.columns import Detections, Floats, GroundTruth, Ints
from replication.results.files import write_bytes

Criterion = Literal["iou", "giou", "giou_paper", "voc07", "voc", "voc07_giou", "voc_giou"]
CRITERIA: tuple[Criterion, ...] = get_args(Criterion)
KINDS: Mapping[str, int] = {
    "iou": 0, "giou": 1, "giou_paper": 2, "voc07": 0, "voc": 0, "voc07_giou": 3, "voc_giou": 3
}  # fmt: skip
AREAS = ("all", "small", "medium", "large")
MASKS = 4  # the kind whose overlaps are given
Bounds = tuple[float, float]


class AreaRanges(Protocol):
    """Areas in square pixels, bounds inclusive, for APs, APm and APl, such as a protocol's."""

    @property
    def small(self) -> Bounds:
        """Least and greatest area of small objects."""

    @property
    def medium(self) -> Bounds:
        """Least and greatest area of medium objects."""

    @property
    def large(self) -> Bounds:
        """Least and greatest area of large objects."""


@dataclass(frozen=True)
class CocoAreas:
    """COCO's: a protocol's defaults, here without the library that checks protocols."""

    small: Bounds = (0.0, 32.0**2)
    medium: Bounds = (32.0**2, 96.0**2)
    large: Bounds = (96.0**2, 1e5**2)


def bounds(ranges: AreaRanges) -> dict[str, list[float]]:
    """Area ranges in types of JSON."""
    return {name: [float(bound) for bound in getattr(ranges, name)] for name in AREAS[1:]}


THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""COCO's overlap thresholds, as numpy's float64 ``linspace`` has them: pycocotools' values to the last bit."""
COCO_AREAS = CocoAreas()
ALL = (0.0, 1e10)  # square pixels; pycocotools' own bounds for "all"
UNLIMITED = 2**31 - 1


@dataclass(frozen=True)
class Matches:
    """Detections of each class in the order of scores, with what they found.

    ``starts`` (C + 1,) delimits the classes in all arrays over detections (N,): ``detection`` is the index in the
    columns, ``image`` the image's index, ``rank`` the place by score among its image's detections of the class,
    ``found`` the object that it is given at the first threshold in the range "all", or -1. ``true`` and ``ignored``
    (A, N) have a bit a threshold for each area range: matched with an object to find; not to be counted. The objects to
    find are ``truth_image`` (M,), of the classes that ``truth_starts`` delimits; bit a of ``truth_areas`` says that an
    object counts in area range a.
    """

    criterion: str
    thresholds: Floats
    image_ids: Ints
    class_ids: Ints
    class_names: tuple[str, ...]
    starts: Ints
    detection: NDArray[np.int32]
    image: NDArray[np.int32]
    rank: NDArray[np.int32]
    found: NDArray[np.int32]
    true: NDArray[np.uint16]
    ignored: NDArray[np.uint16]
    truth_starts: Ints
    truth_image: NDArray[np.int32]
    truth_areas: NDArray[np.uint8]

    def save(self, path: Path) -> None:
        """Write the matches as npz."""
        arrays: dict[str, Any] = {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        write_bytes(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> Matches:
        """Read what ``save`` wrote."""
        with np.load(path, allow_pickle=False) as content:
            arrays: dict[str, Any] = {field.name: content[field.name] for field in fields(cls)}
        arrays["criterion"] = str(arrays["criterion"])
        arrays["class_names"] = tuple(map(str, arrays["class_names"]))
        return cls(**arrays)


def match(
    truth: GroundTruth,
    detections: Detections,
    criterion: Criterion = "iou",
    area_ranges: AreaRanges = COCO_AREAS,
    max_detections: int = 100,
    thresholds: Floats = THRESHOLDS,
    masks: bool = False,
    threads: int | None = None,
) -> Matches:
    """Match the detections of every image and class with its objects, under every threshold and area range.

    COCO criteria (``iou``, ``giou``, ``giou_paper``): by falling score, each of the ``max_detections`` best takes the
    object of the greatest overlap not below the threshold that is still free. A crowd is overlapped by intersection
    over detection area; under ``giou_paper`` its GIoU penalty has the detection's area for the union, as in the
    authors' code. VOC criteria: each detection claims its best object, overlapped by more than the threshold, and the
    first claim counts; no limit of detections. Boxes of VOC files are read such that the rule's additional pixel is
    part of them; the penalty of VOC's GIoU is not below 0. With ``masks`` the overlap is that of the RLE masks, and
    areas are the masks'. At most 16 thresholds.
    """
    if criterion not in CRITERIA:
        raise ConfigError(f"criterion {criterion!r} is not known; choose one of {', '.join(CRITERIA)}")
    if not 1 <= len(thresholds) <= 16:
        raise ConfigError(f"{len(thresholds)} thresholds: from 1 to 16 can be matched at once")
    if masks and criterion != "iou":
        raise ConfigError(f"criterion {criterion!r} is for boxes; masks are matched by iou")
    return _match(truth, detections, criterion, area_ranges, max_detections, thresholds, masks, threads)


def _match(
    truth: GroundTruth,
    detections: Detections,
    criterion: Criterion,
    area_ranges: AreaRanges,
    max_detections: int,
    thresholds: Floats,
    masks: bool,
    threads: int | None,
) -> Matches:
    from replication.evaluation import kernels
    from replication.formats.compiled import in_threads

    voc = criterion.startswith("voc")
    truth = truth.under(criterion)
    limit = UNLIMITED if voc else max_detections
    ranges = np.array([ALL, *bounds(area_ranges).values()])
    classes, images = len(truth.class_ids), len(truth.image_ids)
    order, starts = kernels.by_class_and_image(detections.labels, detections.images, classes, images)
    gt_order, gt_starts = kernels.by_class_and_image(truth.labels, truth.images, classes, images)
    kept = kernels.kept_per_class(order, starts, detections.images, limit)
    given, given_starts, areas = np.empty(0), np.zeros(classes, np.int64), detections.box_areas
    if masks:
        from replication.evaluation.masks import mask_areas, mask_overlaps

        areas = mask_areas(detections)
        given, given_starts = mask_overlaps(truth, detections, order, starts, gt_order, gt_starts, limit)
    kind = MASKS if masks else KINDS[criterion]
    rule = kernels.Rule(kind, voc, limit, np.ascontiguousarray(thresholds, np.float64), ranges)
    found, objects = found_columns(detections, areas), object_columns(truth)
    size = int(kept[-1])
    one = [np.empty(size, np.int32) for _ in range(4)]
    bits = [np.empty((len(ranges), size), np.uint16) for _ in range(2)]

    def work(c: int) -> None:
        own = slice(int(kept[c]), int(kept[c + 1]))
        out = kernels.Result(*(column[own] for column in one), *(column[:, own] for column in bits))
        rows, columns = order[starts[c] : starts[c + 1]], gt_order[gt_starts[c] : gt_starts[c + 1]]
        kernels.match_class(rule, rows, found, columns, objects, given[given_starts[c] :], out)

    in_threads(work, np.argsort(-np.diff(starts), kind="stable").tolist(), threads)
    wanted = gt_order[~truth.ignored[gt_order]]
    inside = (truth.areas[wanted, None] >= ranges[:, 0]) & (truth.areas[wanted, None] <= ranges[:, 1])
    return Matches(
        criterion=criterion,
        thresholds=np.asarray(thresholds, np.float64),
        image_ids=truth.image_ids,
        class_ids=truth.class_ids,
        class_names=truth.class_names,
        starts=kept,
        detection=one[0],
        image=one[1],
        rank=one[2],
        found=one[3],
        true=bits[0],
        ignored=bits[1],
        truth_starts=np.concatenate([[0], np.cumsum(truth.per_class)]),
        truth_image=truth.images[wanted].astype(np.int32),
        truth_areas=(inside << np.arange(len(ranges))).sum(axis=1).astype(np.uint8),
    )


def found_columns(detections: Detections, areas: Floats) -> Any:
    """The detections as the kernels take them."""
    from replication.evaluation.kernels import Found

    return Found(detections.images, detections.scores, detections.boxes, detections.box_areas, areas)


def object_columns(truth: GroundTruth) -> Any:
    """The ground truth as the kernels take it."""
    from replication.evaluation.kernels import Objects

    return Objects(truth.images, truth.boxes, truth.box_areas, truth.areas, truth.crowds, truth.ignored)


def cached_match(folder: Path, truth: GroundTruth, detections: Detections, **options: Any) -> Matches:
    """``match``, kept in ``folder`` under a hash of both files' content, the options and the code of the matching.

    One file a criterion is kept: the latest. An unreadable one is made again.
    """
    from replication.results.fingerprint import MATCHING, fingerprint

    areas = repr(bounds(options.get("area_ranges", COCO_AREAS)))
    parts = [truth.content_hash, detections.content_hash, fingerprint(MATCHING), areas]
    parts += [f"{key}={np.asarray(value).tolist()}" for key, value in sorted(options.items()) if key != "area_ranges"]
    name = f"{options.get('criterion', 'iou')}{'-masks' if options.get('masks') else ''}"
    path = folder / f"{name}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:16]}.npz"
    try:
        return Matches.load(path)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        matches = match(truth, detections, **options)
    for outdated in folder.glob(f"{name}-{'[0-9a-f]' * 16}.npz"):
        outdated.unlink()
    matches.save(path)
    return matches
