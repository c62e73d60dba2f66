"""The finished runs of a protocol, read from their folders, and the refusal to mix what does not belong together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from replication.catalog import Column, Protocol
from replication.errors import ResultError
from replication.results.layout import Layout, RunFiles
from replication.results.schemas import Metrics, Provenance, read

_ALIKE = {
    "area_ranges": "use different area_ranges",
    "image_set": "are of different image sets (images, objects differ)",
    "evaluation": "are evaluated in two ways (criterion, evaluator differ)",
}
"""What all runs shown together have in common, with the error text for those that do not."""

CURVE_LINES = 50
"""Most lines of a training curve that are archived and drawn."""
Line = TypeVar("Line")

_WITHOUT_CURVE = "move it away, for a page without this curve, or train the run again with --restart"


@dataclass(frozen=True)
class FinishedRun:
    """One run as its files have it. Its variant may be one that the catalog does not know any more.

    Numbers are on 0-100, None where there is nothing to evaluate. Proposals of an RPN alone have only recall.
    """

    variant: str
    seed: int
    files: RunFiles
    measured: Metrics
    provenance: Provenance

    @property
    def metrics(self) -> dict[str, float | None]:
        """Box AP and recall by IoU."""
        return self.measured.metrics

    @property
    def giou_metrics(self) -> dict[str, float | None]:
        """Box AP and recall by GIoU."""
        return self.measured.giou_metrics

    @property
    def mask_metrics(self) -> dict[str, float | None] | None:
        """Mask AP and recall; None without masks."""
        return self.measured.mask_metrics

    @property
    def mistakes(self) -> dict[str, float | None]:
        """Box AP50 that repairing each kind of mistake would gain; empty for proposals, and in older files."""
        return {kind: mistake.gain for kind, mistake in (self.measured.mistakes or {}).items()}

    @property
    def area_ranges(self) -> dict[str, tuple[float, float]]:
        """Areas in square pixels that count as small, medium and large."""
        return self.measured.area_ranges

    @property
    def image_set(self) -> tuple[int | None, int | None]:
        """How many images and objects it was evaluated on."""
        return self.measured.images, self.measured.objects

    @property
    def evaluation(self) -> tuple[str | None, str | None]:
        """By which criterion and program."""
        return self.measured.criterion, self.measured.evaluator

    @property
    def weights_of(self) -> str:
        """The variant whose training made its weights: its own, but of a test-time variant another."""
        return self.provenance.weights_from or self.variant

    @property
    def origin(self) -> str:
        """``made elsewhere``, with what is said of it; empty for a run of this project."""
        return self.provenance.elsewhere.label if self.provenance.elsewhere is not None else ""

    @property
    def schedule(self) -> str:
        """Its iterations, batch and learning rate; empty where they are not recorded."""
        made = self.provenance
        facts = (made.iterations, made.batch, made.lr)
        return "" if None in facts else "{} iterations of {} images at rate {}".format(*facts)

    @property
    def class_agnostic(self) -> bool:
        """Whether its detections are the proposals of an RPN alone."""
        return self.metrics.get("AR1000") is not None

    def value(self, column: Column) -> float | None:
        """The number of a column of AP or AR, on 0-100; None where it was not measured, or its file is too old."""
        return (self.giou_metrics if column.criterion == "giou" else self.metrics).get(column.metric)


def finished_runs(protocol: Protocol, results: Path, variants: Iterable[str]) -> dict[str, list[FinishedRun]]:
    """The runs of ``variants`` that have a ``metrics.json``, by variant, ordered by seed.

    Raises ResultError naming both files when runs are of different protocols, data, or area ranges, or the seeds of
    one variant of different configurations.
    """
    layout = Layout(results, protocol.name)
    runs = {variant: list(_runs_of(layout, variant)) for variant in dict.fromkeys(variants)}
    check_variants([run for group in runs.values() for run in group])
    return {variant: group for variant, group in runs.items() if group}


def read_runs(layout: Layout) -> list[FinishedRun]:
    """All finished runs of a protocol, whatever their variants, not yet checked against each other."""
    variants = sorted(path.name for path in layout.runs.iterdir() if path.is_dir()) if layout.runs.is_dir() else []
    return [run for variant in variants for run in _runs_of(layout, variant)]


def _runs_of(layout: Layout, variant: str) -> Iterator[FinishedRun]:
    for seed, files in layout.seeds(variant):
        if files.metrics.exists():
            yield _read(layout, variant, seed, files)


def check_variants(runs: Sequence[FinishedRun]) -> None:
    """``check_together``, and ResultError unless the seeds of each variant have one configuration."""
    check_together(list(runs))
    for variant in dict.fromkeys(run.variant for run in runs):
        own = [run for run in runs if run.variant == variant]
        _same(own, "config_hash", "are two seeds of one variant with different configurations")
        _same(own, "losses", "are two seeds of one variant with different losses")


def check_together(runs: list[FinishedRun]) -> None:
    """Raise ResultError unless all runs have one data hash, code fingerprint, image set and set of area ranges.

    Of runs that were made elsewhere the code is unknown, and the data are those that they were evaluated on.
    """
    _same(runs, "data_hash", "were trained or evaluated on different data")
    ours = [run for run in runs if run.provenance.command is None]
    _same(ours, "fingerprint", "were trained by different code")
    for run in runs:
        for key, what in _ALIKE.items():
            if getattr(run, key) != getattr(runs[0], key):
                raise _mixed(runs[0].files.metrics, run.files.metrics, what)


def curve(run: FinishedRun) -> list[dict[str, float]]:
    """The lines of a run's ``curves.jsonl`` that an archive keeps; empty when it has none (a folder of results only).

    A page is then the same whether it is made of the runs or of their archive.
    """
    return thinned(read_curve(run.files.curves)) if run.files.curves.exists() else []


def thinned(lines: Sequence[Line]) -> list[Line]:
    """At most CURVE_LINES lines at equal distances, the first and the last among them; all where they are no more."""
    step = max(1, -(-(len(lines) - 1) // (CURVE_LINES - 1)))
    return [line for number, line in enumerate(lines) if number % step == 0 or number == len(lines) - 1]


def read_curve(path: Path, remedy: str = _WITHOUT_CURVE) -> list[dict[str, float]]:
    """A training curve, JSON objects with their ``iteration``, one per line. ResultError ends with ``remedy``."""
    try:
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    except (OSError, ValueError, RecursionError) as error:
        raise ResultError(f"{path}: not readable as JSON lines ({error}); {remedy}") from error
    if not lines:
        raise ResultError(f"{path}: is empty; {remedy}")
    if not all(isinstance(line, dict) and "iteration" in line for line in lines):
        raise ResultError(f"{path}: a line has no 'iteration'; {remedy}")
    return lines


def _read(layout: Layout, variant: str, seed: int, files: RunFiles) -> FinishedRun:
    run = FinishedRun(variant, seed, files, read(files.metrics, Metrics), read(files.provenance, Provenance))
    expected: dict[str, Any] = {"protocol": layout.protocol, "variant": variant, "seed": seed}
    for key, value in expected.items():
        measured, made = getattr(run.measured, key), getattr(run.provenance, key)
        if measured != value:
            raise ResultError(
                f"{files.metrics}: {key} is {measured!r}, the folder says {value!r}; "
                "results of different runs must not be mixed: move it to its own folder or evaluate again"
            )
        if made not in (None, value):
            raise ResultError(
                f"{files.provenance}: {key} is {made!r}, the folder says {value!r}; "
                "this is another run's result: move it to its own folder"
            )
    return run


def _same(runs: list[FinishedRun], key: str, what: str) -> None:
    """Raise ResultError where two runs differ in a key of their provenance that both have."""
    known = [run for run in runs if getattr(run.provenance, key) is not None]
    for run in known:
        if getattr(run.provenance, key) != getattr(known[0].provenance, key):
            raise _mixed(known[0].files.provenance, run.files.provenance, f"{what} ({key} differs)")


def _mixed(one: Path, other: Path, what: str) -> ResultError:
    return ResultError(
        f"{one} and {other} {what}; they cannot be shown in one table: "
        "move the outdated run away and run it again, or keep the two in different results folders"
    )
