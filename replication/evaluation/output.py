"""What evaluation writes: ``metrics.json`` of a run, and the answer of the command ``evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from tabulate import tabulate

from replication.files import write_json

METRICS_SCHEMA = "metrics/1"
EVALUATION_SCHEMA = "evaluation/1"


def metrics_document(result: dict[str, Any], variant: str, protocol: str, seed: int) -> dict[str, Any]:
    """The body of ``metrics.json``: whose numbers they are, then the numbers (what ``evaluate`` returned)."""
    return {"variant": variant, "protocol": protocol, "seed": seed, **result}


def write_metrics(path: Path, result: dict[str, Any], variant: str, protocol: str, seed: int) -> None:
    """Write ``metrics.json`` of one run, schema ``metrics/1``."""
    write_json(path, METRICS_SCHEMA, metrics_document(result, variant, protocol, seed))


def format_evaluation(result: dict[str, Any], form: Literal["table", "json"] = "table") -> str:
    """The result of ``evaluate`` for people (two decimals, AP on 0-100) or for machines (full precision)."""
    if form == "json":
        return json.dumps({"schema": EVALUATION_SCHEMA, **result}, indent=1, allow_nan=False) + "\n"
    kinds = [("boxes", result["metrics"]), ("masks", result["mask_metrics"])]
    rows = [[kind, *map(_number, metrics.values())] for kind, metrics in kinds if metrics]
    summary = tabulate(rows, ["", *result["metrics"]], disable_numparse=True, stralign="right")
    classes = [[name, _number(value["AP"]), _number(value["AP50"])] for name, value in result["per_class"].items()]
    per_class = tabulate(classes, ["class", "AP", "AP50"], disable_numparse=True, colalign=("left", "right", "right"))
    head = f"{result['objects']} objects on {result['images']} images, AP in percent, {result['evaluator']}"
    return f"{head}\n\n{summary}\n\n{per_class}\n"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
