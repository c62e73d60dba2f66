"""The evaluation of a run: its detections against its protocol's ground truth, when both are of the same data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from replication.catalog import Protocol, Run
from replication.errors import ResultError
from replication.evaluation.coco import evaluate
from replication.evaluation.output import write_metrics
from replication.evaluation.proposals import evaluate_proposals
from replication.files import read_json


def evaluate_run(run: Run, protocol: Protocol, results: Path, class_agnostic: bool = False) -> dict[str, Any]:
    """Evaluate ``detections.json`` of a run, write ``metrics.json`` beside it, and return what ``evaluate`` gives.

    ``class_agnostic`` detections are the proposals of an RPN alone: their recall is evaluated (``evaluate_proposals``).
    Raises ResultError when the run was trained on other data than ``ground_truth.json`` holds.
    """
    folder, manifest = run.folder(results), results / protocol.name / "data.json"
    trained_on = read_json(folder / "provenance.json", "provenance/1")["data_hash"]
    prepared = read_json(manifest, "data/1")["data_hash"]
    if trained_on != prepared:
        raise ResultError(
            f"{folder / 'provenance.json'}: data_hash is {trained_on}, {manifest} has {prepared}: the data have "
            "changed since this run; train it again with --restart, or restore the data"
        )
    measure = evaluate_proposals if class_agnostic else evaluate
    result = measure(folder / "detections.json", manifest.with_name("ground_truth.json"), protocol.area_ranges)
    write_metrics(folder / "metrics.json", result, run.variant, run.protocol, run.seed)
    return result
