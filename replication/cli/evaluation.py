"""The verb that evaluates a run, or any detections."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from replication.cli.verb import (
    FILE,
    configs_option,
    format_option,
    load_setting,
    protocol_option,
    results_option,
    variant_option,
    verb,
)
from replication.errors import ConfigError

CRITERIA = ("iou", "giou", "giou_paper", "voc07", "voc", "voc07_giou", "voc_giou")


@verb(
    "replication evaluate detections.json truth.json",
    "replication evaluate ours.json truth.json --against theirs.json --criterion giou",
    "replication evaluate detections.json truth.json --bootstrap 2000 --seed 7 --format json",
    "replication evaluate --variant faster_rcnn_R50_giou --seed 1",
)
@click.argument("detections", type=FILE, required=False)
@click.argument("ground_truth", type=FILE, required=False)
@variant_option("Evaluate a run of this variant instead of files.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    metavar="N",
    default=0,
    help="With --variant: which run. With files: the seed of the bootstrap's random numbers.",
)
@click.option(
    "--criterion", type=click.Choice(CRITERIA), help="Overlap that decides which boxes match.  [default: iou]"
)
@click.option("--against", type=FILE, metavar="FILE", help="Other detections; adds the paired difference.")
@click.option(
    "--bootstrap",
    type=click.IntRange(min=0),
    metavar="COUNT",
    help="Resamplings of the images, for intervals.  [default: 2000 with --against, else none]",
)
@click.option(
    "--verify",
    is_flag=True,
    help="Compare with pycocotools as installed; fail on a difference above 1e-12 that has no known reason.",
)
@click.option("--out", type=FILE, metavar="FILE", help="Write the numbers to this JSON file too.")
@protocol_option()
@results_option
@configs_option
@format_option
def evaluate(
    detections: Path | None,
    ground_truth: Path | None,
    variant: str | None,
    out: Path | None,
    form: Any,
    **options: Any,
) -> None:
    """Compute AP of a run, or of any DETECTIONS against a GROUND_TRUTH.

    DETECTIONS are COCO's result list, columns in npz, or a folder of VOC's or YOLO's text files; GROUND_TRUTH is a COCO
    file, a VOC image list or folder, or YOLO's data.yaml or folder.
    """
    from replication.cli.evaluation_text import format_evaluation

    if (detections is None) == (variant is None):
        raise ConfigError("evaluate: give either DETECTIONS and GROUND_TRUTH, or --variant")
    if detections is None:
        result = _evaluate_run(variant or "", **options)
    else:
        result = _evaluate_files(detections, ground_truth, **options)
    if out is not None:
        from replication.results.files import write_text

        write_text(out, format_evaluation(result, "json"))
    for warning in result["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    print(format_evaluation(result, form), end="")


def _evaluate_run(
    variant: str, seed: int, protocol: str, results: Path, configs: Sequence[Path], **of_files: Any
) -> dict[str, Any]:
    from replication.evaluation.runs import evaluate_run

    for name, value in of_files.items():
        if value not in (None, False):
            raise ConfigError(f"evaluate: --{name} is for two files: give the run's DETECTIONS and GROUND_TRUTH")
    setting = load_setting(protocol, results, configs)
    from replication.evaluation.elsewhere import evaluate_imported, named_by_rows

    if variant not in setting.catalog.variants and variant in named_by_rows(setting.catalog):
        return evaluate_imported(setting.catalog, setting.protocol, results, variant, seed)
    return evaluate_run(setting.run(variant, seed))


def _evaluate_files(
    detections: Path,
    ground_truth: Path | None,
    criterion: Any,
    against: Path | None,
    bootstrap: int | None,
    seed: int,
    verify: bool,
    **of_run: Any,
) -> dict[str, Any]:
    from replication.evaluation import Options, evaluate

    if ground_truth is None:
        raise ConfigError("evaluate: GROUND_TRUTH is missing: the annotations of the detections' images")
    replicates = bootstrap if bootstrap is not None else 2000 if against is not None else 0
    if replicates == 1:
        raise ConfigError("evaluate: --bootstrap 1: a standard error needs at least 2 replicates")
    options = Options(criterion=criterion or "iou", against=against, replicates=replicates, seed=seed, verify=verify)
    return evaluate(detections, ground_truth, options)
