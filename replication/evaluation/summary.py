"""The numbers of a run: average precision and recall, over classes and of each class, on 0-100."""

from __future__ import annotations

import numpy as np

from replication.evaluation.bootstrap import Replicates, mean_metric, point, weighted
from replication.evaluation.matching import AREAS, Matches
from replication.formats.columns import Floats
from replication.results.metrics import METRICS

RECALLS = ("AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
_RECALL_OF = {
    "AR1": ("all", 1), "AR10": ("all", 10), "AR100": ("all", 100),
    "ARs": ("small", 100), "ARm": ("medium", 100), "ARl": ("large", 100),
}  # fmt: skip


def summary(matches: Matches) -> dict[str, float | None]:
    """AP, AP50, AP75, APs, APm, APl and, where COCO's rules define it, average recall; None without objects."""
    return _summary(matches, point(matches))


def _summary(matches: Matches, estimate: Replicates) -> dict[str, float | None]:
    values = {name: number(float(estimate.metric(name)[0])) for name in METRICS}
    if matches.criterion.startswith("voc"):
        return values
    recalls = {name: average_recall(matches, *_RECALL_OF[name]) for name in RECALLS}
    return values | recalls


def per_class(matches: Matches, estimate: Replicates) -> dict[str, dict[str, float | None]]:
    """AP and AP50 of each class by name; None for a class without objects."""
    values: dict[str, dict[str, float | None]] = {}
    for c, name in enumerate(matches.class_names):
        own = estimate.precision["all"][:, :, c : c + 1]
        values[name] = {
            metric: number(float(mean_metric(own, matches.thresholds, metric)[0])) for metric in ("AP", "AP50")
        }
    return values


def precision_cells(matches: Matches, area: str, max_detections: int) -> Floats:
    """Average precision (T, C) in 0..1 of each threshold and class, NaN for classes without objects."""
    ones = np.ones((1, len(matches.image_ids)), np.uint8)
    cells: Floats = weighted(matches, ones, (area,), max_detections).precision[area][0]
    return cells


def recall_cells(matches: Matches, area: str, max_detections: int) -> Floats:
    """Recall (T, C) in 0..1 with the ``max_detections`` best of each image and class; NaN without objects."""
    from replication.evaluation import kernels

    a = AREAS.index(area)
    inside = np.concatenate([[0], np.cumsum((matches.truth_areas >> a) & 1)])
    objects = np.diff(inside[matches.truth_starts])
    hits = kernels.hits(matches.starts, matches.rank, matches.true[a], max_detections, len(matches.thresholds))
    recall: Floats = np.divide(hits, objects, out=np.full(hits.shape, np.nan), where=objects > 0)
    return recall


def average_recall(matches: Matches, area: str, max_detections: int) -> float | None:
    """Mean recall on 0-100 over thresholds and classes with objects; None when there are none."""
    cells = recall_cells(matches, area, max_detections)
    there = cells[~np.isnan(cells)]
    return 100 * float(there.mean()) if there.size else None


def number(value: float) -> float | None:
    """None for NaN, which JSON does not have."""
    return None if np.isnan(value) else value
