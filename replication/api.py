"""The public functions: ``evaluate``, ``compare`` and ``Evaluator``, for programs and notebooks.

Ground truth is a path, a document of COCO (dict), a ``pycocotools.coco.COCO``, or a ``GroundTruth``. Detections are a
path, a list of COCO's result records, a dict of arrays or tensors ``image_ids`` (N,), ``class_ids`` (N,), ``boxes``
(N, 4) XYXY in pixels and ``scores`` (N,), a COCO object of ``loadRes``, or ``Detections``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from replication.errors import ConfigError, ResultError
from replication.evaluation.inputs import COLUMNS, as_array, as_detections, as_ground_truth
from replication.evaluation.matching import COCO_AREAS, AreaRanges, Criterion, match
from replication.evaluation.pair import describe, resampled
from replication.formats.columns import GroundTruth
from replication.verdicts.arm_cache import Cache
from replication.verdicts.arm_reading import read_arms
from replication.verdicts.arms import Progress, Resampling
from replication.verdicts.comparison import compare_arms
from replication.verdicts.comparison_records import ArmComparison, Options
from replication.verdicts.intervals import Estimand

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Evaluation:
    """The numbers of one run, on 0-100; None where the ground truth has nothing to find.

    ``metrics`` are AP, AP50, AP75, APs, APm, APl and recalls; ``mask_metrics`` the same of masks, where asked for;
    ``per_class`` AP and AP50 of each class; ``mistakes`` count and cost in AP50 of each kind; ``intervals`` of the
    metrics by the image bootstrap, where asked for.
    """

    criterion: str
    images: int
    objects: int
    metrics: Mapping[str, float | None]
    mask_metrics: Mapping[str, float | None] | None
    per_class: Mapping[str, Mapping[str, float | None]]
    mistakes: Mapping[str, Mapping[str, float | int | None]]
    intervals: Mapping[str, Mapping[str, float] | None] | None

    def __getitem__(self, metric: str) -> float | None:
        """A metric by its name."""
        return self.metrics[metric]

    def to_dict(self) -> dict[str, Any]:
        """The record in types of JSON."""
        return asdict(self)

    def to_dataframe(self) -> pandas.DataFrame:
        """AP and AP50 of each class, one line per class. Needs pandas."""
        import pandas

        return pandas.DataFrame.from_dict(self.per_class, orient="index").rename_axis("class")


def evaluate(
    truth: Any,
    detections: Any,
    criterion: Criterion = "iou",
    *,
    masks: bool = False,
    bootstrap: int = 0,
    seed: int = 0,
    area_ranges: AreaRanges = COCO_AREAS,
) -> Evaluation:
    """Average precision of detections.

    ``criterion`` is one of iou, giou, giou_paper, voc07, voc, voc07_giou, voc_giou; ``masks`` evaluates them too;
    ``bootstrap`` resamplings of the images give intervals. Raises DataError or ResultError naming file and record.

    >>> truth = {
    ...     "images": [{"id": 1, "height": 100, "width": 100}],
    ...     "categories": [{"id": 1, "name": "digit"}],
    ...     "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 40]}],
    ... }
    >>> found = {"image_ids": [1], "class_ids": [1], "boxes": [[10.0, 10.0, 50.0, 46.0]], "scores": [0.9]}
    >>> result = evaluate(truth, found)
    >>> round(result["AP"], 6), round(result["AP50"], 6)  # an overlap of 0.9 meets nine thresholds of ten
    (90.0, 100.0)
    """
    columns = as_ground_truth(truth).under(criterion)
    found = as_detections(detections, columns)
    by_mask = None
    if masks:
        if columns.masks is None or found.masks is None:
            raise ResultError("masks: objects or detections have no segmentation; leave masks out")
        by_mask = match(columns, found, "iou", area_ranges, masks=True)
    matches = match(columns, found, criterion, area_ranges)
    numbers = describe(columns, found, matches, by_mask, area_ranges)
    if bootstrap:
        numbers |= resampled(matches, bootstrap, seed)
    known = ("criterion", "images", "objects", "metrics", "mask_metrics", "per_class", "mistakes")
    return Evaluation(**{name: numbers[name] for name in known}, intervals=numbers.get("intervals"))


def compare(
    truth: Any,
    arms: Mapping[str, Sequence[Any]],
    *,
    metrics: Sequence[str] = ("AP",),
    criterion: Criterion = "iou",
    claimed: float | None = None,
    practical: float | None = None,
    alpha: float = 0.05,
    estimand: Estimand = "new images",
    paired: bool = False,
    bootstrap: int = 2000,
    seed: int = 0,
    masks: bool = False,
    cache: Cache | None = None,
    progress: Progress | None = None,
) -> ArmComparison:
    """Say which arm is better: runs of several detectors on one ground truth, the first arm being the baseline.

    ``arms`` are lists of detections by name. The first of ``metrics`` is judged; ``masks`` compares them instead of
    boxes, see ``Options`` for the rest. Numbers
    of files are kept in ``cache``, and ``progress`` is called with runs done and all. Raises ReplicationError for
    arms that cannot be compared: a run in two arms, copies of a run, other images.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> truth = {
    ...     "images": [{"id": i, "height": 100, "width": 100} for i in range(1, 41)],
    ...     "categories": [{"id": 1, "name": "digit"}],
    ...     "annotations": [{"id": i, "image_id": i, "category_id": 1, "bbox": [10, 10, 40, 40]} for i in range(1, 41)],
    ... }
    >>> def run(noise):
    ...     boxes = [10, 10, 50, 50] + noise * rng.normal(size=(40, 4))
    ...     return {"image_ids": range(1, 41), "class_ids": [1] * 40, "boxes": boxes, "scores": rng.random(40)}
    >>> result = compare(truth, {"A": [run(4) for _ in range(3)], "B": [run(1) for _ in range(3)]}, bootstrap=200)
    >>> result.contrasts[0].verdict
    'better'
    >>> print(result.sentence.split(" by ")[0])
    B is better than A
    """
    options = Options(tuple(metrics), claimed, practical, alpha, estimand, paired)
    resampling = Resampling(criterion, bootstrap, seed, masks)
    return compare_arms(read_arms(truth, arms, resampling, cache, progress), options)


@dataclass
class Evaluator:
    """Collects detections batch by batch, and evaluates them at the end.

    >>> truth = {
    ...     "images": [{"id": 1, "height": 100, "width": 100}],
    ...     "categories": [{"id": 7, "name": "digit"}],
    ...     "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "bbox": [10, 10, 40, 40]}],
    ... }
    >>> evaluator = Evaluator(truth)
    >>> for image in (1,):
    ...     evaluator.update(image, boxes=np.array([[10.0, 10.0, 50.0, 50.0]]), scores=[0.8], class_ids=[7])
    >>> round(evaluator.compute()["AP"], 6)
    100.0
    """

    truth: Any
    criterion: Criterion = "iou"
    _parts: list[dict[str, Any]] = field(default_factory=list, init=False, repr=False)
    _columns: GroundTruth = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._columns = as_ground_truth(self.truth)

    def update(self, image_id: int, boxes: Any, scores: Any, class_ids: Any) -> None:
        """Add the detections of an image: ``boxes`` (N, 4) XYXY in pixels, ``scores`` (N,), ``class_ids`` (N,).

        Arrays, lists or tensors on any device, copied to the memory of the processor. N may be 0. Raises ConfigError
        where lengths differ.
        """
        boxes, scores, labels = as_array(boxes).reshape(-1, 4), as_array(scores), as_array(class_ids)
        if not len(boxes) == len(scores) == len(labels):
            raise ConfigError(
                f"update: image {image_id}: {len(boxes)} boxes, {len(scores)} scores and {len(labels)} class_ids; "
                "expected one of each per detection"
            )
        self._parts.append(
            {
                "image_ids": np.full(len(boxes), image_id, np.int64),
                "class_ids": labels.astype(np.int64),
                "boxes": np.array(boxes, np.float64),
                "scores": np.array(scores, np.float64),
            }
        )

    def detections(self) -> dict[str, Any]:
        """All that was collected, as arrays: what ``evaluate`` and ``compare`` take."""
        empty = {"boxes": np.empty((0, 4)), "scores": np.empty(0)}
        first = empty | {name: np.empty(0, np.int64) for name in ("image_ids", "class_ids")}
        return {name: np.concatenate([part[name] for part in (first, *self._parts)]) for name in COLUMNS}

    def compute(self, **options: Any) -> Evaluation:
        """Evaluate what was collected; ``options`` are those of ``evaluate``."""
        return evaluate(self._columns, self.detections(), self.criterion, **options)

    def reset(self) -> None:
        """Forget what was collected."""
        self._parts.clear()
