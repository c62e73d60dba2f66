"""pycocotools on records, cell by cell."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

COUNTS = (1, 10, 100)


def plain_pycocotools(
    document: dict[str, Any],
    records: list[dict[str, Any]],
    max_detections: Sequence[int] = COUNTS,
    classes: bool = True,
) -> tuple[Any, Any]:
    """Precision and recall by pycocotools as it is, nothing overridden."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth, result = COCO(), COCO()
        truth.dataset = document
        truth.createIndex()
        result.dataset = document | {
            "annotations": [
                r | {"id": n + 1, "iscrowd": 0, "area": r["bbox"][2] * r["bbox"][3]} for n, r in enumerate(records)
            ]
        }
        result.createIndex()
        evaluation = COCOeval(truth, result, "bbox")
        evaluation.params.maxDets = list(max_detections)
        evaluation.params.useCats = int(classes)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"].mean(axis=1), evaluation.eval["recall"]
