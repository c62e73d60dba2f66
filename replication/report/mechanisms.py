"""What the runs of a table measured of the mechanisms that its claims rest on: a small table for each measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from replication.evaluation.box_share import box_loss_share
from replication.report.cells import Comparison
from replication.results.finished import FinishedRun, curve
from replication.results.schemas import Measure, Mechanism, read


@dataclass(frozen=True)
class Measured:
    """One measure of all rows that have it. ``lines`` are the row's label, the measure's own line, and its numbers."""

    id: str
    title: str
    columns: tuple[str, ...]
    lines: tuple[tuple[str, str, tuple[str, ...]], ...]


def measured(comparison: Comparison) -> tuple[Measured, ...]:
    """The means over the runs of each row; none where no run has measured. ResultError for a broken file."""
    found: dict[str, list[tuple[str, Measure]]] = {}
    for label, line in comparison.variants.items():
        runs: dict[str, list[Measure]] = {}
        for run in line.runs:
            for measure in _of_run(run):
                runs.setdefault(measure.id, []).append(measure)
        for name, measures in runs.items():
            found.setdefault(name, []).append((label, _mean(measures)))
    return tuple(_measured(name, measures) for name, measures in found.items())


def _of_run(run: FinishedRun) -> list[Measure]:
    path = run.files.mechanism
    measures = list(read(path, Mechanism).measures) if path.exists() else []
    share = run.measured.box_loss_share
    if share is None:  # evaluated by a version that did not keep it
        share = box_loss_share(curve(run))
    return measures if share is None else [*measures, _box_share(share)]


def _box_share(share: float) -> Measure:
    title = "share of the box loss in the total, last tenth of the training"
    return Measure(id="box_loss", title=title, unit="%", values={"box loss": {"share": share}})


def _mean(measures: Sequence[Measure]) -> Measure:
    """The mean of each number over the runs that have it."""
    first, values = measures[0], {}
    for line in first.values:
        columns = dict.fromkeys(column for one in measures for column in one.values.get(line, {}))
        values[line] = {
            column: mean(one.values[line][column] for one in measures if column in one.values.get(line, {}))
            for column in columns
        }
    return Measure(id=first.id, title=first.title, unit=first.unit, values=values)


def _measured(name: str, measures: Sequence[tuple[str, Measure]]) -> Measured:
    first = measures[0][1]
    columns = dict.fromkeys(column for _, one in measures for numbers in one.values.values() for column in numbers)
    lines = tuple(
        (label, line, tuple(_text(numbers.get(column), one.unit) for column in columns))
        for label, one in measures
        for line, numbers in one.values.items()
    )
    return Measured(name, first.title + (", percent" if first.unit == "%" else ""), tuple(columns), lines)


def _text(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if unit == "%" else f"{value:.3g}"
