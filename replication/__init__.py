"""Replication harness for detection papers: GIoU, FSAF and Libra R-CNN.

Every pipeline step is a verb of ``python -m replication``; see ``replication.cli``. For programs there are `evaluate`,
`compare`, the accumulator `Evaluator`, and `COCOeval`, a drop-in for pycocotools'; they are loaded when they are first
used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from replication.api import Evaluation, Evaluator, compare, evaluate
    from replication.evaluation.cocoeval import COCOeval
    from replication.verdicts.comparison_records import ArmComparison

__version__ = "0.1.0"

__all__ = ["ArmComparison", "COCOeval", "Evaluation", "Evaluator", "__version__", "compare", "evaluate"]

_HOMES = {
    "ArmComparison": "replication.verdicts.comparison_records",
    "COCOeval": "replication.evaluation.cocoeval",
    "Evaluation": "replication.api",
    "Evaluator": "replication.api",
    "compare": "replication.api",
    "evaluate": "replication.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'replication' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
