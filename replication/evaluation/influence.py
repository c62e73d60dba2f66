"""What each image does to a run's AP: AP on all images less AP without this one, exact, one image after the other."""

from __future__ import annotations

import numpy as np

from replication.evaluation.bootstrap import mean_metric, point, weighted
from replication.evaluation.matching import Matches
from replication.formats.columns import Floats

BLOCK = 1024
"""Images that are left out side by side; bounds the memory of the weights."""


def leave_one_out(matches: Matches, metric: str = "AP50", threads: int | None = None) -> Floats:
    """AP points (I,) that ``metric``, one of AP, AP50 and AP75, would be lower by without each image."""
    images = len(matches.image_ids)
    whole = point(matches, ("all",)).metric(metric)[0]
    result = np.empty(images)
    for first in range(0, images, BLOCK):
        last = min(images, first + BLOCK)
        weights = np.ones((last - first, images), np.uint8)
        weights[np.arange(last - first), np.arange(first, last)] = 0
        precision = weighted(matches, weights, threads=threads).precision["all"]
        result[first:last] = whole - mean_metric(precision, matches.thresholds, metric)
    return np.nan_to_num(result)
