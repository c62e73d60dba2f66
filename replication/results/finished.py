"""The finished runs of a protocol, read from their folders, and the refusal to mix what does not belong together."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from replication.catalog import Column, Protocol
from replication.errors import ResultError
from replication.evaluation import METRICS
from replication.evaluation.proposals import PROPOSAL_METRICS
from replication.results.files import read_json

METRICS_SCHEMA = "metrics/1"
PROVENANCE_SCHEMA = "provenance/1"
ARCHIVE_MANIFEST = "archive.json"
"""Lies in a protocol's folder that ``archive`` wrote: without weights and detections."""

_ALIKE = {
    "area_ranges": "use different area_ranges",
    "image_set": "are of different image sets (images, objects differ)",
    "evaluation": "are evaluated in two ways (criterion, evaluator differ)",
}
"""What all runs shown together have in common, with the words for those that do not."""


@dataclass(frozen=True)
class FinishedRun:
    """One run with its numbers on 0-100, by IoU (``metrics``) and by GIoU; None where there was nothing to find.

    They are box AP and recall; of the proposals of an RPN alone only recall, and every AP is None. ``mask_metrics`` are
    those of masks, None without. ``image_set`` says on how many images and objects, ``evaluation`` by which criterion
    and program. ``mistakes`` is the box AP50 that repairing a kind of mistake would gain; empty for proposals, and
    where the file is older than mistakes are.
    """

    variant: str
    seed: int
    folder: Path
    metrics: dict[str, float | None]
    giou_metrics: dict[str, float | None]
    mask_metrics: dict[str, float | None] | None
    area_ranges: dict[str, Any]
    provenance: dict[str, Any]
    image_set: tuple[Any, Any]
    mistakes: dict[str, float | None] = field(default_factory=dict)
    evaluation: tuple[Any, Any] = (None, None)

    @property
    def weights_of(self) -> str:
        """The variant whose training made its weights: its own, but of a test-time variant another."""
        return str(self.provenance.get("weights_from") or self.variant)

    @property
    def schedule(self) -> str:
        """Its iterations, batch and learning rate; empty where they are not recorded."""
        facts = [self.provenance.get(key) for key in ("iterations", "batch", "lr")]
        return "" if None in facts else "{} iterations of {} images at rate {}".format(*facts)

    @property
    def class_agnostic(self) -> bool:
        """Whether its detections are the proposals of an RPN alone."""
        return self.metrics["AR1000"] is not None

    @property
    def metrics_file(self) -> Path:
        """Where the numbers were read."""
        return self.folder / "metrics.json"

    def value(self, column: Column) -> float | None:
        """The number of a column of AP or AR, on 0-100; None where it was not measured."""
        return (self.giou_metrics if column.criterion == "giou" else self.metrics).get(column.metric)

    @property
    def provenance_file(self) -> Path:
        """Where what made them was read."""
        return self.folder / "provenance.json"


def finished_runs(protocol: Protocol, results: Path, variants: Iterable[str]) -> dict[str, list[FinishedRun]]:
    """The runs of ``variants`` that have a ``metrics.json``, by variant, ordered by seed.

    Raises ResultError naming both files when runs are of different protocols, data, or area ranges, or the seeds of
    one variant of different configurations.
    """
    runs = {variant: _seeds(protocol, results, variant) for variant in dict.fromkeys(variants)}
    check_together([run for group in runs.values() for run in group])
    for group in runs.values():
        _same(group, "config_hash", "are two seeds of one variant with different configurations")
    return {variant: group for variant, group in runs.items() if group}


def check_together(runs: list[FinishedRun]) -> None:
    """Raise ResultError unless all runs have one data hash, code fingerprint, image set and set of area ranges."""
    _same(runs, "data_hash", "were trained or evaluated on different data")
    _same(runs, "fingerprint", "were trained by different code")
    for run in runs:
        for key, what in _ALIKE.items():
            if getattr(run, key) != getattr(runs[0], key):
                raise _mixed(runs[0].metrics_file, run.metrics_file, what)


def curve(run: FinishedRun) -> list[dict[str, float]]:
    """The lines of a run's ``curves.jsonl``; empty when it has none (a folder with results only)."""
    path = run.folder / "curves.jsonl"
    if not path.exists():
        return []
    try:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise ResultError(f"{path}: not readable as JSON lines ({error}); train the run again") from error
    if not all(isinstance(line, dict) and "iteration" in line for line in lines):
        raise ResultError(f"{path}: a line has no 'iteration'; train the run again")
    return lines


def _seeds(protocol: Protocol, results: Path, variant: str) -> list[FinishedRun]:
    folder = results / protocol.name / "runs" / variant
    seeds = sorted(
        (int(match[1]), path) for path in folder.glob("seed*") if (match := re.fullmatch(r"seed(\d+)", path.name))
    )
    return [_run(protocol, variant, seed, path) for seed, path in seeds if (path / "metrics.json").exists()]


def _run(protocol: Protocol, variant: str, seed: int, folder: Path) -> FinishedRun:
    path = folder / "metrics.json"
    document = read_json(path, METRICS_SCHEMA)
    expected = {"protocol": protocol.name, "variant": variant, "seed": seed}
    for key, value in expected.items():
        if document.get(key) != value:
            raise ResultError(
                f"{path}: {key} is {document.get(key)!r}, the folder says {value!r}; "
                "results of different runs must not be mixed: move it to its own folder or evaluate again"
            )
    provenance = read_json(folder / "provenance.json", PROVENANCE_SCHEMA)
    for key in ("config_hash", "data_hash", "fingerprint"):
        if not isinstance(provenance.get(key), str):
            raise ResultError(f"{folder / 'provenance.json'}: {key} is missing; train the run again")
    for key, value in expected.items():
        if provenance.get(key, value) != value:
            raise ResultError(
                f"{folder / 'provenance.json'}: {key} is {provenance[key]!r}, the folder says {value!r}; "
                "this is another run's result: move it to its own folder"
            )
    by_iou, by_giou = (_metrics(document, path, key) for key in ("metrics", "giou_metrics"))
    by_mask = _metrics(document, path, "mask_metrics") if document.get("mask_metrics") is not None else None
    areas, image_set = document.get("area_ranges", {}), (document.get("images"), document.get("objects"))
    mistakes, evaluation = _mistakes(document, path), (document.get("criterion"), document.get("evaluator"))
    return FinishedRun(
        variant, seed, folder, by_iou, by_giou, by_mask, areas, provenance, image_set, mistakes, evaluation
    )


def _mistakes(document: dict[str, Any], path: Path) -> dict[str, float | None]:
    kinds = document.get("mistakes") or {}
    try:
        gains = {kind: entry["gain"] for kind, entry in kinds.items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise ResultError(f"{path}: mistakes: a kind has no gain; evaluate the run again") from error
    for kind, value in gains.items():
        if value is not None and not (type(value) in (int, float) and -100 <= value <= 100):
            raise ResultError(
                f"{path}: mistakes.{kind}.gain is {value!r}, expected -100 to 100 or null; evaluate the run again"
            )
    return gains


def _metrics(document: dict[str, Any], path: Path, name: str) -> dict[str, float | None]:
    metrics = document.get(name)
    if not isinstance(metrics, dict):
        raise ResultError(f"{path}: {name} is missing; evaluate the run again")
    metrics = dict.fromkeys(PROPOSAL_METRICS) | metrics
    for key in (*METRICS, *PROPOSAL_METRICS):
        value = metrics.get(key)  # an older file lacks a newer metric
        if value is not None and not (type(value) in (int, float) and 0 <= value <= 100):
            raise ResultError(f"{path}: {name}.{key} is {value!r}, expected 0 to 100 or null; evaluate the run again")
    return {key: metrics.get(key) for key in (*METRICS, *PROPOSAL_METRICS)}


def _same(runs: list[FinishedRun], key: str, what: str) -> None:
    for run in runs:
        if run.provenance[key] != runs[0].provenance[key]:
            raise _mixed(runs[0].provenance_file, run.provenance_file, f"{what} ({key} differs)")


def _mixed(one: Path, other: Path, what: str) -> ResultError:
    return ResultError(
        f"{one} and {other} {what}; they cannot stand in one table: "
        "move the outdated run away and run it again, or keep the two in different results folders"
    )
