"""Loop of a whole precision-recall curve for numba. Imported only when it runs; ``native/sweep.c`` has the same."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from replication.evaluation.sweep_kernels import TINY
from replication.formats.compiled import compiled

Array = NDArray[Any]


@compiled
def curve(
    score: Array,
    true: Array,
    ignored: Array,
    objects: int,
    points: Array,
    precision: Array,
    scores: Array,
    last: Array,
) -> None:
    """Fill ``precision`` and ``scores`` (R,) at the recalls ``points`` (R,), and ``last`` with the recall.

    ``true`` and ``ignored`` are flags of detections in the order of falling ``score``; ``objects``, at least 1, is the
    number of objects to find. Precision is the greatest at this recall or a higher one, 0 where recall is not reached:
    pycocotools' order of operations to the last bit.
    """
    size = 0
    recall, curve_, at = np.empty(len(score)), np.empty(len(score)), np.empty(len(score))
    found, false = 0.0, 0.0
    for d in range(len(score)):
        if not ignored[d]:
            found += 1.0 if true[d] else 0.0
            false += 0.0 if true[d] else 1.0
        recall[size] = found / objects
        curve_[size] = found / (false + found + TINY)
        at[size] = score[d]
        size += 1
    for d in range(size - 1, 0, -1):
        curve_[d - 1] = max(curve_[d - 1], curve_[d])
    precision[:] = 0.0
    scores[:] = 0.0
    places = np.searchsorted(recall[:size], points, side="left")
    for r in range(len(points)):
        if places[r] >= size:
            break
        precision[r] = curve_[places[r]]
        scores[r] = at[places[r]]
    last[0] = recall[size - 1] if size else 0.0
