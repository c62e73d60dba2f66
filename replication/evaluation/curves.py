"""Precision against recall: at fixed recalls, mean over the classes with objects."""

from __future__ import annotations

import numpy as np

from replication.evaluation.matching import Matches
from replication.formats.columns import Detections, Floats

CURVES = (0.5, 0.75)
"""Overlaps at which precision-recall curves are kept."""
POINTS = np.linspace(0.0, 1.0, 101)
"""Recalls of a precision-recall curve."""


def precision_curves(matches: Matches, detections: Detections) -> Floats:
    """Precision (2, 101), mean over the classes with objects, at the overlaps ``CURVES`` and the recalls ``POINTS``."""
    from replication.evaluation.kernels import curve

    score = detections.scores[matches.detection]
    objects = np.diff(matches.truth_starts)
    total, unused = np.zeros((len(CURVES), len(POINTS))), np.empty(len(POINTS))
    precision = np.empty(len(POINTS))
    for row, overlap in enumerate(CURVES):
        bit = int(np.argmin(np.abs(matches.thresholds - overlap)))
        flags = matches.true[0] >> bit & 1 == 1, matches.ignored[0] >> bit & 1 == 1
        for c in np.flatnonzero(objects):
            own = slice(matches.starts[c], matches.starts[c + 1])
            curve(score[own], flags[0][own], flags[1][own], int(objects[c]), POINTS, precision, unused)
            total[row] += precision
    mean: Floats = total / max(1, int(np.count_nonzero(objects)))
    return mean
