"""A table as numbers, published and measured, with the difference to the baseline on either side."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from replication.catalog import Catalog, Column, Paper, Protocol, Row, Table
from replication.catalog.papers import State
from replication.catalog.units import points
from replication.errors import ConfigError
from replication.results.finished import FinishedRun, check_together, finished_runs
from replication.timing.latency import Latency, Summary, latencies

Status = Literal["measured", "not measured", "not run", "not timed", "planned", "cited"]


@dataclass(frozen=True)
class Cell:
    """One row in one column, in the column's unit.

    ``measured`` is the mean over the runs, ``sd`` their sample standard deviation (None below two runs). The gains are
    differences to the row's baseline, None for the baseline itself.

    ``not measured`` is a number that some of the runs do not have: it is undefined there, or their files are older
    than the metric.

    Of latency, ``measured`` is the median over rounds and ``interval`` its 95% interval; the ratios are to the row's
    baseline. The measured one is None where the two were not timed interleaved.
    """

    published: float | None
    published_gain: float | None
    measured: float | None
    sd: float | None
    measured_gain: float | None
    status: Status
    interval: Summary | None = None
    published_ratio: float | None = None
    measured_ratio: Summary | None = None


@dataclass(frozen=True)
class Line:
    """One row: its cells by column id, and the runs that measured it."""

    row: Row
    status: Status
    cells: dict[str, Cell]
    runs: tuple[FinishedRun, ...]

    @property
    def count(self) -> str:
        """Number of runs, those made elsewhere apart; empty without runs."""
        foreign = sum(bool(run.origin) for run in self.runs)
        return f"{len(self.runs) or ''}" + (f" ({foreign} made elsewhere)" if foreign else "")


@dataclass(frozen=True)
class Comparison:
    """One table of one paper under one protocol."""

    paper: Paper
    table: Table
    protocol: Protocol
    lines: tuple[Line, ...]
    latencies: dict[str, Latency] = field(default_factory=dict)

    @property
    def runs(self) -> list[FinishedRun]:
        """The runs behind the table, each once."""
        return list({run.files: run for line in self.lines for run in line.runs}.values())

    @property
    def variants(self) -> dict[str, Line]:
        """The measured lines by a label that tells them apart; a variant that stands in two rows once."""
        measured = {line.runs[0].variant: line for line in reversed(self.lines) if line.runs}
        several = len({line.row.backbone for line in measured.values()}) > 1
        return {
            f"{line.row.label}, {line.row.backbone}" if several else line.row.label: line
            for line in reversed(measured.values())
        }


def compare(catalog: Catalog, table_id: str, protocol: Protocol, results: Path) -> Comparison:
    """Read the runs that the table's rows name.

    Raises ConfigError for an unknown table or one of another benchmark, ResultError for runs that must not be mixed.
    """
    table = catalog.table(table_id)
    if protocol.benchmark not in (None, table.benchmark):
        raise ConfigError(
            f"table {table_id} is of benchmark {table.benchmark}, protocol {protocol.name} measures "
            f"{protocol.benchmark}; choose a table of that benchmark or another protocol"
        )
    paper = next(paper for paper in catalog.papers.values() if table in paper.tables)
    variants = [row.variant for row in table.rows if row.variant is not None]
    runs = finished_runs(protocol, results, variants)
    timed = latencies(protocol, results, variants) if table.timed else {}
    lines = tuple(_line(catalog, table, row, runs, timed) for row in table.rows)
    return Comparison(paper, table, protocol, lines, timed)


def compare_all(catalog: Catalog, table_ids: Sequence[str], protocol: Protocol, results: Path) -> list[Comparison]:
    """``compare`` for several tables that are shown together: their runs must belong together, too."""
    comparisons = [compare(catalog, table_id, protocol, results) for table_id in table_ids]
    check_together([run for comparison in comparisons for run in comparison.runs])
    return comparisons


def _line(
    catalog: Catalog, table: Table, row: Row, runs: dict[str, list[FinishedRun]], timed: dict[str, Latency]
) -> Line:
    own = tuple(runs.get(row.variant or "", ()))
    state = catalog.row_state(row)
    status: Status = "measured" if own else "not run" if state == "built" else state
    baseline = table.row(row.baseline) if row.baseline is not None and row.baseline != row.id else None
    base_runs = tuple(runs.get(baseline.variant or "", ())) if baseline is not None else ()
    cells = {
        column.id: _latency_cell(column, row, baseline, state, timed)
        if column.lower_is_better
        else _cell(column, row, baseline, status, own, base_runs)
        for column in table.columns
    }
    return Line(row, status, cells, own)


def _latency_cell(column: Column, row: Row, baseline: Row | None, state: State, timed: dict[str, Latency]) -> Cell:
    published = row.published[column.id]
    reference = baseline.published[column.id] if baseline is not None else None
    own, base = (timed.get(one.variant or "") if one is not None else None for one in (row, baseline))
    ratio = own.ratio_to(base) if own is not None and base is not None else None
    total = own.total if own is not None else None
    difference = total.median - base.total.median if ratio and total and base else None
    return Cell(
        published=published,
        published_gain=None if published is None or reference is None else published - reference,
        measured=total.median if total is not None else None,
        sd=None,
        measured_gain=difference,
        status="measured" if own is not None else "not timed" if state == "built" else state,
        interval=total,
        published_ratio=None if published is None or reference is None else published / reference,
        measured_ratio=ratio,
    )


def _cell(
    column: Column,
    row: Row,
    baseline: Row | None,
    status: Status,
    runs: tuple[FinishedRun, ...],
    base_runs: tuple[FinishedRun, ...],
) -> Cell:
    published = row.published[column.id]
    reference = baseline.published[column.id] if baseline is not None else None
    values = _values(column, runs)
    measured, base = _mean(values), _mean(_values(column, base_runs))
    if status in ("measured", "not run") and column.state == "planned":
        status = "planned"
    elif status == "measured" and measured is None:
        status = "not measured"
    return Cell(
        published=published,
        # Published numbers have few decimals; rounding removes the binary dust of the subtraction.
        published_gain=None if published is None or reference is None else round(published - reference, 10),
        measured=measured,
        sd=statistics.stdev(values) if len(values) > 1 else None,
        measured_gain=None if measured is None or base is None else measured - base,
        status=status,
    )


def _values(column: Column, runs: tuple[FinishedRun, ...]) -> list[float]:
    """One number per run, in the column's unit; empty when the column cannot be measured or a run has no number."""
    if column.state == "planned":
        return []
    scale = points(column.unit)
    values = [run.value(column) for run in runs]
    present = [value / scale for value in values if value is not None]
    return present if len(present) == len(values) else []


def _mean(values: list[float]) -> float | None:
    return statistics.fmean(values) if values else None
