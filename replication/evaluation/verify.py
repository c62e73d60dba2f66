"""The same numbers by pycocotools: the independent check behind ``--verify``."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from replication.catalog.protocols import AreaRanges
from replication.errors import ConfigError, ResultError
from replication.evaluation.matching import ALL, AREAS, Matches
from replication.evaluation.summary import precision_cells, recall_cells
from replication.formats.columns import Floats

TOLERANCE = 1e-12
COUNTS = (1, 10, 100)
CHECKED = ("iou", "giou", "giou_paper")
Overlap = Callable[[list[Any], list[Any], list[int]], Any]


class _Evaluation(COCOeval):  # type: ignore[misc]
    """COCOeval that heeds ``ignore``, which upstream overwrites by ``iscrowd``, and takes another overlap.

    An ignored object (VOC's "difficult") is neither counted nor, when found, held against the detector. Unlike a
    crowd it takes one detection only.
    """

    def __init__(self, ground_truth: COCO, detections: COCO, kind: str, overlap: Overlap | None) -> None:
        super().__init__(ground_truth, detections, kind)
        self._ignored = {key for key, annotation in ground_truth.anns.items() if annotation["ignore"]}
        self._overlap = overlap

    def _prepare(self) -> None:
        super()._prepare()
        for objects in self._gts.values():
            for annotation in objects:
                annotation["ignore"] = annotation["id"] in self._ignored

    def computeIoU(self, imgId: int, catId: int) -> Any:
        if self._overlap is None:
            return super().computeIoU(imgId, catId)
        objects, found = self._gts[imgId, catId], self._dts[imgId, catId]
        if not objects and not found:
            return []
        order = np.argsort([-one["score"] for one in found], kind="mergesort")[: self.params.maxDets[-1]]
        boxes = [found[index]["bbox"] for index in order]
        return self._overlap(boxes, [one["bbox"] for one in objects], [one["iscrowd"] for one in objects])


def giou_overlap(paper: bool) -> Overlap:
    """GIoU of XYWH boxes, for ``computeIoU``; ``paper`` takes the authors' rule for crowds."""

    def overlap(found: list[Any], objects: list[Any], crowds: list[int]) -> Any:
        if not found or not objects:
            return []
        one, other = (np.asarray(boxes, np.float64) for boxes in (found, objects))
        one, other = one[:, None, :], other[None, :, :]
        low, high = one[..., :2], one[..., :2] + one[..., 2:]
        other_low, other_high = other[..., :2], other[..., :2] + other[..., 2:]
        common = (np.minimum(high, other_high) - np.maximum(low, other_low)).clip(0).prod(axis=-1)
        hull = (np.maximum(high, other_high) - np.minimum(low, other_low)).prod(axis=-1)
        areas, others = one[..., 2:].prod(axis=-1), other[..., 2:].prod(axis=-1)
        crowd = np.asarray(crowds, np.bool_)[None, :]
        union = np.where(crowd, areas, areas + others - common)
        value = common / union - (hull - union) / hull
        return value if paper else np.where(crowd, common / areas, value)

    return overlap


def reference(
    document: dict[str, Any],
    records: list[dict[str, Any]],
    area_ranges: AreaRanges,
    criterion: str = "iou",
    masks: bool = False,
    counts: tuple[int, ...] = COUNTS,
) -> tuple[Floats, Floats]:
    """Average precision and recall (T, C, A, counts) in 0..1 by pycocotools; -1 where a class has no object.

    ``document`` and ``records`` are the two COCO files as the standard library reads them.
    """
    overlap = None if criterion == "iou" else giou_overlap(criterion == "giou_paper")
    with contextlib.redirect_stdout(io.StringIO()):
        truth = _index(document, [_object(annotation) for annotation in document["annotations"]])
        found = _index(document, [_found(record, number, masks) for number, record in enumerate(records, start=1)])
        evaluation = _Evaluation(truth, found, "segm" if masks else "bbox", overlap)
        evaluation.params.maxDets = list(counts)
        ranges = (ALL, area_ranges.small, area_ranges.medium, area_ranges.large)
        evaluation.params.areaRng = [list(bounds) for bounds in ranges]
        evaluation.params.areaRngLbl = list(AREAS)
        evaluation.evaluate()
        evaluation.accumulate()
    precision: Floats = evaluation.eval["precision"].mean(axis=1)
    return precision, evaluation.eval["recall"]


def verify(paths: tuple[Path, Path], matches: Matches, area_ranges: AreaRanges, masks: bool = False) -> float:
    """Greatest difference to pycocotools over all thresholds, classes, area ranges and 1, 10, 100 detections an image.

    ``paths`` are those of detections and ground truth, which are read again. Raises ResultError when it is above
    1e-12, ConfigError for a criterion that pycocotools cannot be given.
    """
    if matches.criterion not in CHECKED:
        raise ConfigError(f"--verify: pycocotools has no VOC rules; it checks the criteria {', '.join(CHECKED)}")
    for path in paths:
        if path.suffix.lower() != ".json" or path.is_dir():
            raise ConfigError(
                f"--verify: {path} is no .json file; pycocotools reads detections and ground truth of COCO"
            )
    records, document = (json.loads(path.read_bytes()) for path in paths)
    expected = reference(document, records, area_ranges, matches.criterion, masks)
    worst = 0.0
    for a, area in enumerate(AREAS):
        for m, count in enumerate(COUNTS):
            measured = precision_cells(matches, area, count), recall_cells(matches, area, count)
            for ours, theirs in zip(measured, expected, strict=True):
                difference = np.abs(np.nan_to_num(ours, nan=-1.0) - theirs[:, :, a, m])
                worst = max(worst, float(difference.max()))
                if worst > TOLERANCE:
                    t, c = np.unravel_index(difference.argmax(), difference.shape)
                    raise ResultError(
                        f"--verify: class {matches.class_names[c]}, overlap {matches.thresholds[t]:.2f}, area {area}, "
                        f"{count} detections an image: {ours[t, c]!r}, pycocotools has {theirs[t, c, a, m]!r}; "
                        "please report this with both files"
                    )
    return worst


def _object(annotation: dict[str, Any]) -> dict[str, Any]:
    area = annotation.get("area")
    crowd = bool(annotation.get("iscrowd"))
    return {
        **annotation,
        "area": annotation["bbox"][2] * annotation["bbox"][3] if area is None else area,
        "iscrowd": int(crowd),
        "ignore": crowd or bool(annotation.get("ignore")),
    }


def _found(record: dict[str, Any], number: int, masks: bool) -> dict[str, Any]:
    """What ``COCO.loadRes`` makes, which fails on an empty list and measures masks by the area of their boxes."""
    found = {**record, "id": number, "iscrowd": 0}
    if masks or found.get("bbox") is None:
        found["bbox"] = mask_utils.toBbox(record["segmentation"]).tolist()
    found["area"] = found["bbox"][2] * found["bbox"][3]
    if masks:
        found["area"] = float(mask_utils.area(record["segmentation"]))
    return found


def _index(document: dict[str, Any], annotations: list[dict[str, Any]]) -> COCO:
    index = COCO()
    index.dataset = {**document, "annotations": annotations}
    index.createIndex()
    return index
