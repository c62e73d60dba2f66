"""The same numbers by pycocotools as it is installed: the independent check behind ``--verify``."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from replication.errors import ConfigError, ResultError
from replication.evaluation.bootstrap import mean_metric
from replication.evaluation.matching import ALL, AREAS, AreaRanges, Matches
from replication.evaluation.summary import number, precision_cells, recall_cells
from replication.formats.columns import Floats
from replication.formats.values import flag
from replication.results.metrics import AREA_OF, METRICS

TOLERANCE = 1e-12
COUNTS = (1, 10, 100)
CHECKED = ("iou", "giou", "giou_paper")
FLAGS = ("iscrowd", "ignore")
Overlap = Callable[[list[Any], list[Any], list[int]], Any]


class _WithGiou(COCOeval):  # type: ignore[misc]
    """COCOeval with GIoU for the overlap, which pycocotools does not have; all else is its own."""

    def __init__(self, ground_truth: COCO, detections: COCO, overlap: Overlap) -> None:
        super().__init__(ground_truth, detections, "bbox")
        self._overlap = overlap

    def computeIoU(self, imgId: int, catId: int) -> Any:
        objects, found = self._gts[imgId, catId], self._dts[imgId, catId]
        if not objects and not found:
            return []
        order = np.argsort([-one["score"] for one in found], kind="mergesort")[: self.params.maxDets[-1]]
        boxes = [found[index]["bbox"] for index in order]
        return self._overlap(boxes, [one["bbox"] for one in objects], [int(one["iscrowd"]) for one in objects])


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
    paths: tuple[Path, Path], area_ranges: AreaRanges, criterion: str = "iou", masks: bool = False
) -> tuple[Floats, Floats]:
    """Average precision and recall (T, C, A, 3) in 0..1 by pycocotools, which reads detections and ground truth itself.

    -1 where a class has no object; the last axis is that of 1, 10 and 100 detections per image. Whatever pycocotools
    raises is passed on.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(paths[1]))
        records = json.loads(paths[0].read_bytes())
        if masks:  # where records have a box, too, pycocotools takes the box's area for the mask's
            records = [{key: value for key, value in record.items() if key != "bbox"} for record in records]
        found = truth.loadRes(records)
        if criterion == "iou":
            evaluation = COCOeval(truth, found, "segm" if masks else "bbox")
        else:
            evaluation = _WithGiou(truth, found, giou_overlap(criterion == "giou_paper"))
        ranges = (ALL, area_ranges.small, area_ranges.medium, area_ranges.large)
        evaluation.params.areaRng = [list(bounds) for bounds in ranges]
        evaluation.params.areaRngLbl = list(AREAS)
        evaluation.evaluate()
        evaluation.accumulate()
    precision: Floats = evaluation.eval["precision"].mean(axis=1)
    return precision, evaluation.eval["recall"]


def verify(paths: tuple[Path, Path], matches: Matches, area_ranges: AreaRanges, masks: bool = False) -> dict[str, Any]:
    """Compare with pycocotools over all thresholds, classes, area ranges and 1, 10, 100 detections per image.

    Returns ``difference``, the greatest in 0..1 or None where pycocotools cannot read the files; ``evaluator``; where
    not equal within 1e-12, ``reasons`` in words and pycocotools' own ``metrics``, on 0-100. Raises ResultError for a
    difference that has no known reason, ConfigError for a criterion or files that pycocotools does not know.
    """
    if matches.criterion not in CHECKED:
        raise ConfigError(f"--verify: pycocotools has no VOC rules; it checks the criteria {', '.join(CHECKED)}")
    for path in paths:
        if path.suffix.lower() != ".json" or path.is_dir():
            raise ConfigError(
                f"--verify: {path} is not a .json file; pycocotools reads detections and ground truth of COCO"
            )
    evaluator = f"pycocotools {version('pycocotools')}"
    if matches.criterion != "iou":
        evaluator += " with GIoU in place of its overlap"
    reasons: list[str] = []
    try:
        reasons += _reasons(paths, masks)
        expected = reference(paths, area_ranges, matches.criterion, masks)
    except Exception as error:  # whatever pycocotools makes of files that it does not foresee
        text = f"pycocotools cannot evaluate these files: {type(error).__name__}: {error}"
        return {"difference": None, "evaluator": evaluator, "reasons": [text, *reasons]}
    worst, place = _worst(matches, expected)
    if worst <= TOLERANCE:
        return {"difference": worst, "evaluator": evaluator}
    if not reasons:
        raise ResultError(f"--verify: {place}; please report this with both files")
    return {
        "difference": worst,
        "evaluator": evaluator,
        "reasons": reasons,
        "metrics": _metrics(expected[0], matches.thresholds),
    }


def _worst(matches: Matches, expected: tuple[Floats, Floats]) -> tuple[float, str]:
    """The greatest difference of any cell, and that cell in words."""
    worst, words = 0.0, ""
    if expected[0].shape[1] != len(matches.class_ids):
        return np.inf, f"pycocotools has {expected[0].shape[1]} classes, here are {len(matches.class_ids)}"
    for a, area in enumerate(AREAS):
        for m, count in enumerate(COUNTS):
            measured = precision_cells(matches, area, count), recall_cells(matches, area, count)
            for ours, theirs in zip(measured, expected, strict=True):
                difference = np.abs(np.nan_to_num(ours, nan=-1.0) - theirs[:, :, a, m])
                if difference.max() >= worst:
                    worst = float(difference.max())
                    t, c = np.unravel_index(difference.argmax(), difference.shape)
                    words = (
                        f"class {matches.class_names[c]}, overlap {matches.thresholds[t]:.2f}, area {area}, {count} "
                        f"detections per image: {ours[t, c]!r}, pycocotools has {theirs[t, c, a, m]!r}"
                    )
    return worst, words


def _metrics(precision: Floats, thresholds: Floats) -> dict[str, float | None]:
    """AP, AP50, AP75, APs, APm, APl on 0-100 of pycocotools' cells at 100 detections per image."""
    cells = np.where(precision[..., -1] > -1, precision[..., -1], np.nan)[None]
    areas = {name: cells[..., AREAS.index(AREA_OF[name])] for name in METRICS}
    return {name: number(float(mean_metric(own, thresholds, name)[0])) for name, own in areas.items()}


def _reasons(paths: tuple[Path, Path], masks: bool) -> Iterator[str]:
    """Where these files are read in another way here than by pycocotools, and which way."""
    records, document = (json.loads(path.read_bytes()) for path in paths)
    annotations = document["annotations"]
    ignored = sum(flag(entry.get("ignore")) and not flag(entry.get("iscrowd")) for entry in annotations)
    if ignored:
        yield f"'ignore' of {ignored} objects is honoured here; pycocotools overwrites it by 'iscrowd'"
    texts = sum(any(isinstance(entry.get(key), str) for key in FLAGS) for entry in annotations)
    if texts:
        yield f"'iscrowd' or 'ignore' of {texts} objects is text, which is read here; pycocotools takes any text for 1"
    zero = sum(entry["id"] == 0 for entry in annotations)
    if zero:
        yield "an annotation has id 0, which pycocotools takes for 'not matched'; annotations are renumbered here"
    if sum(not isinstance(entry["id"], int) for entry in annotations):
        yield "ids of annotations are not whole numbers; annotations are renumbered here"
    if not masks and any(_boxless(record) for record in records):
        yield "boxes are taken from masks: pycocotools sorts them into sizes by the masks' areas, not the boxes'"
    if len({_boxless(record) for record in records}) > 1:
        yield "only some records have a bbox: pycocotools goes by the first record"


def _boxless(record: Mapping[str, Any]) -> bool:
    return record.get("bbox") in (None, [])
