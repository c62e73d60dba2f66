"""The evaluation of a run: its detections against its protocol's ground truth, when both are of the same data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from replication.errors import ResultError
from replication.evaluation.box_share import box_loss_share
from replication.evaluation.confusion import confusion
from replication.evaluation.curves import precision_curves
from replication.evaluation.matching import Criterion, Matches, cached_match
from replication.evaluation.pair import describe, with_masks
from replication.evaluation.proposals import describe_proposals
from replication.evaluation.summary import summary
from replication.formats.columns import Detections, GroundTruth
from replication.formats.detections import read_detections, warnings_of
from replication.formats.truth import read_ground_truth
from replication.results.files import check_writable, sha256_file
from replication.results.finished import read_curve
from replication.results.layout import Layout, RunFiles
from replication.results.run import Run
from replication.results.schemas import Data, Metrics, Provenance, read, write

if TYPE_CHECKING:
    from replication.catalog import Protocol

CRITERIA: dict[str, tuple[Criterion, Criterion]] = {"coco": ("iou", "giou"), "voc2007": ("voc07", "voc07_giou")}
"""Of each benchmark: the criterion of a run's ``metrics``, and the one of its ``giou_metrics``."""


def evaluate_run(run: Run) -> dict[str, Any]:
    """``evaluate_files`` of a run of a variant that is built."""
    whose = {"variant": run.variant.name, "protocol": run.protocol.name, "seed": run.seed}
    return evaluate_files(run.files, run.layout, run.protocol, whose, run.variant.class_agnostic)


def evaluate_files(
    files: RunFiles, layout: Layout, protocol: Protocol, whose: Mapping[str, Any], class_agnostic: bool = False
) -> dict[str, Any]:
    """Evaluate ``detections.json`` of a run, write ``metrics.json`` next to it, and return the numbers in it.

    Boxes are matched by IoU (``metrics``) and by GIoU (``giou_metrics``), under VOC's rules where the protocol is VOC's
    own. Of ``class_agnostic`` detections, the proposals of an RPN alone, the recall is evaluated. ``whose`` are
    variant, protocol and seed. Raises ResultError when the run was trained on other data than ``ground_truth.json``
    holds.
    """
    check_writable(files.folder)
    result, warnings = measured(files, layout, protocol, class_agnostic)
    # Of the whole curve, while it is there: an archive keeps a part of its lines.
    result["box_loss_share"] = box_loss_share(read_curve(files.curves)) if files.curves.exists() else None
    write(files.metrics, Metrics, dict(whose) | result)
    return result | {"warnings": warnings}


def measured(
    files: RunFiles, layout: Layout, protocol: Protocol, class_agnostic: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """The numbers of a run's detections, and warnings about them; the matches are kept in its folder."""
    truth, found, paths = read_run(files, layout)
    if class_agnostic:
        result = describe_proposals(truth, found, protocol.area_ranges)
    else:
        result = _detected(files, protocol, truth, found, paths)
    return result | {"detections_sha256": sha256_file(paths[0])}, warnings_of(paths[0], found, truth)


def _detected(
    files: RunFiles, protocol: Protocol, truth: GroundTruth, found: Detections, paths: tuple[Path, Path]
) -> dict[str, Any]:
    criterion, by_giou = CRITERIA[protocol.benchmark or "coco"]
    truth = truth.under(criterion)
    matches, giou = (_matched(files, protocol, truth, found, name) for name in (criterion, by_giou))
    by_mask = None
    if with_masks(found, truth, paths, None):
        by_mask = _matched(files, protocol, truth, found, "iou", masks=True)
    result = describe(truth, found, matches, by_mask, protocol.area_ranges)
    return result | {"giou_metrics": summary(giou), "outcomes": _outcomes(truth, found, matches)}


def _outcomes(truth: GroundTruth, found: Detections, matches: Matches) -> dict[str, Any]:
    """``schemas.Outcomes`` of a run."""
    confused = confusion(truth, found, matches)
    return {
        "precision": precision_curves(matches, found).round(4).tolist(),
        "confusion": confused.counts.tolist(),
        "confusion_score": round(confused.score, 4),
    }


def run_matches(files: RunFiles, layout: Layout, protocol: Protocol, giou: bool = False) -> Matches:
    """The matches of a finished run by IoU or GIoU, for ``bootstrap``; kept in its folder ``matches``."""
    truth, found, _ = read_run(files, layout)
    return _matched(files, protocol, truth, found, CRITERIA[protocol.benchmark or "coco"][giou])


def read_run(files: RunFiles, layout: Layout) -> tuple[GroundTruth, Detections, tuple[Path, Path]]:
    """A run's ground truth and detections, and the paths of the files of detections and ground truth.

    Raises ResultError when the run was trained on other data than ``ground_truth.json`` holds.
    """
    trained_on, prepared = read(files.provenance, Provenance).data_hash, read(layout.data, Data).data_hash
    if trained_on != prepared:
        raise ResultError(
            f"{files.provenance}: data_hash is {trained_on}, {layout.data} has {prepared}: the data have "
            "changed since this run; train it again with --restart, or restore the data"
        )
    paths = files.detections, layout.ground_truth
    truth = read_ground_truth(paths[1])
    return truth, read_detections(paths[0], truth), paths


def _matched(
    files: RunFiles, protocol: Protocol, truth: GroundTruth, found: Detections, criterion: Criterion, **more: Any
) -> Matches:
    areas = protocol.area_ranges
    return cached_match(files.matches, truth, found, criterion=criterion, area_ranges=areas, **more)
