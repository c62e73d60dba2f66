"""The evaluation of a run: its detections against its protocol's ground truth, when both are of the same data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from replication.catalog import Protocol, Run
from replication.errors import ResultError
from replication.evaluation.matching import Criterion, Matches, cached_match
from replication.evaluation.pair import describe, with_masks
from replication.evaluation.proposals import describe_proposals
from replication.evaluation.summary import summary
from replication.formats.columns import Detections, GroundTruth
from replication.formats.detections import read_detections, warnings_of
from replication.formats.truth import read_ground_truth
from replication.results.files import read_json, write_json

METRICS_SCHEMA = "metrics/1"
CRITERIA: dict[str, tuple[Criterion, Criterion]] = {"coco": ("iou", "giou"), "voc2007": ("voc07", "voc07_giou")}
"""Of each benchmark: the criterion of a run's ``metrics``, and the one of its ``giou_metrics``."""


def evaluate_run(run: Run, protocol: Protocol, results: Path, class_agnostic: bool = False) -> dict[str, Any]:
    """Evaluate ``detections.json`` of a run, write ``metrics.json`` beside it, and return what it holds of numbers.

    Boxes are matched by IoU (``metrics``) and by GIoU (``giou_metrics``), under VOC's rules where the protocol is VOC's
    own. ``class_agnostic`` detections are the proposals of an RPN alone: their recall is evaluated. Raises ResultError
    when the run was trained on other data than ``ground_truth.json`` holds.
    """
    truth, found, paths = read_run(run, protocol, results)
    if class_agnostic:
        result = describe_proposals(truth, found, protocol.area_ranges)
    else:
        result = _detected(run, protocol, results, truth, found, paths)
    write_metrics(run.folder(results) / "metrics.json", result, run.variant, run.protocol, run.seed)
    return result | {"warnings": warnings_of(paths[0], found, truth)}


def write_metrics(path: Path, result: dict[str, Any], variant: str, protocol: str, seed: int) -> None:
    """Write ``metrics.json`` of one run, schema ``metrics/1``: whose numbers they are, then the numbers."""
    write_json(path, METRICS_SCHEMA, {"variant": variant, "protocol": protocol, "seed": seed, **result})


def _detected(
    run: Run, protocol: Protocol, results: Path, truth: GroundTruth, found: Detections, paths: tuple[Path, Path]
) -> dict[str, Any]:
    criterion, by_giou = CRITERIA[protocol.benchmark or "coco"]
    truth = truth.under(criterion)
    matches, giou = (_matched(run, protocol, results, truth, found, name) for name in (criterion, by_giou))
    by_mask = None
    if with_masks(found, truth, paths, None):
        by_mask = _matched(run, protocol, results, truth, found, "iou", masks=True)
    return describe(truth, found, matches, by_mask, protocol.area_ranges) | {"giou_metrics": summary(giou)}


def run_matches(run: Run, protocol: Protocol, results: Path, giou: bool = False) -> Matches:
    """The matches of a finished run by IoU or GIoU, for ``bootstrap``; kept in its folder ``matches``."""
    truth, found, _ = read_run(run, protocol, results)
    return _matched(run, protocol, results, truth, found, CRITERIA[protocol.benchmark or "coco"][giou])


def read_run(run: Run, protocol: Protocol, results: Path) -> tuple[GroundTruth, Detections, tuple[Path, Path]]:
    """A run's ground truth and detections, and the paths of the files of detections and ground truth.

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
    paths = folder / "detections.json", manifest.with_name("ground_truth.json")
    truth = read_ground_truth(paths[1])
    return truth, read_detections(paths[0], truth), paths


def _matched(
    run: Run,
    protocol: Protocol,
    results: Path,
    truth: GroundTruth,
    found: Detections,
    criterion: Criterion,
    **more: Any,
) -> Matches:
    folder = run.folder(results) / "matches"
    return cached_match(folder, truth, found, criterion=criterion, area_ranges=protocol.area_ranges, **more)
