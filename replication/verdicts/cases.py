"""From a claim to the numbers that decide it, or to what stands in the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from replication.catalog import Catalog, Claim, Column, Judging, Paper, Protocol, Row, Table
from replication.results.finished import FinishedRun
from replication.verdicts.intervals import Floats, Side
from replication.verdicts.rules import Verdict

Runs = Mapping[str, Sequence[FinishedRun]]


@dataclass(frozen=True)
class Resampled:
    """Image bootstrap of a run's metric, on 0-100; replicate r is of the same draw for every run.

    ``replicates`` (R,) are over all classes; ``supported`` is the number itself over the ``classes[0]`` of
    ``classes[1]`` classes that have at least ten objects, ``supported_replicates`` (R,) its bootstrap.
    """

    replicates: Floats
    supported: float
    supported_replicates: Floats
    classes: tuple[int, int]


Replicates = Callable[[FinishedRun, Column], Resampled | None]
"""None where the files for it are not there."""


@dataclass(frozen=True)
class Question:
    """A claim with the table that it stands in."""

    paper: Paper
    table: Table
    claim: Claim

    @property
    def row(self) -> Row:
        """The row that is claimed to gain."""
        return self.table.row(self.claim.row)

    @property
    def baseline(self) -> Row:
        """The row that it is claimed to gain over."""
        return self.table.row(self.claim.baseline)

    @property
    def column(self) -> Column:
        """The number that is compared."""
        return self.table.column(self.claim.column)

    @property
    def scale(self) -> float:
        """AP points a unit of the column: a paper that prints fractions gets fractions."""
        return 100.0 if self.column.unit == "fraction" else 1.0

    @property
    def relative(self) -> float | None:
        """The claimed gain in percent of the published baseline."""
        base = self.baseline.published[self.column.id]
        return 100 * self.claim.gain / base if base else None

    @property
    def metric(self) -> str:
        """What is measured, e.g. ``AP75 (iou)``: claims of one metric share its spread of runs."""
        return metric_name(self.column)


@dataclass(frozen=True)
class Pair:
    """Both sides of a claim, in the column's unit."""

    row: Side
    baseline: Side

    @property
    def runs(self) -> int:
        """Runs of the side that has fewer."""
        return min(self.row.runs, self.baseline.runs)

    @property
    def sides(self) -> dict[str, Side]:
        """Both by name."""
        return {"row": self.row, "baseline": self.baseline}

    @property
    def has_images(self) -> bool:
        """Whether image replicates are there."""
        return self.row.replicates is not None and self.baseline.replicates is not None


@dataclass(frozen=True)
class Supported:
    """The same pair over the classes that have at least ten objects: resampling cannot see what rarer ones vary by."""

    pair: Pair
    classes: int
    of: int


@dataclass(frozen=True)
class Case:
    """A question with its runs. ``obstacle`` is the verdict that bars another, with its reason."""

    question: Question
    pair: Pair | None = None
    obstacle: tuple[Verdict, str] | None = None
    supported: Supported | None = None

    @property
    def measurable(self) -> bool:
        """Whether the protocol can answer it, once its runs are there."""
        return self.obstacle is None or self.obstacle[0] != "not measured"


def metric_name(column: Column) -> str:
    """Metric and criterion of a column."""
    return f"{column.metric} ({column.criterion})" if column.criterion else column.metric


def questions(catalog: Catalog, tables: Sequence[str]) -> list[Question]:
    """The claims of the tables in their order, but paper by paper; of each table the primary ones first."""
    found = [
        Question(paper, paper.table(claim.table), claim)
        for paper in catalog.papers.values()
        for claim in paper.claims
        if claim.table in tables
    ]
    first = {
        one.paper.id: min(tables.index(table.id) for table in one.paper.tables if table.id in tables) for one in found
    }
    return sorted(found, key=lambda one: (first[one.paper.id], tables.index(one.table.id), not one.claim.primary))


def make_case(
    question: Question, catalog: Catalog, protocol: Protocol, judging: Judging, runs: Runs, replicates: Replicates
) -> Case:
    """The sides of a claim, or why it cannot be judged."""
    reason = _unmeasurable(question, catalog) or _left_out(question, protocol, runs)
    if reason:
        return Case(question, obstacle=("not measured", reason))
    reason = _missing(question, runs)
    if reason:
        return Case(question, obstacle=("blocked", reason))
    pair, supported = _compared(question, runs, replicates)
    reason = _twins(question, runs) or _failed(question, runs, protocol, judging)
    if reason:
        return Case(question, pair, ("blocked", reason), supported)
    if pair.runs == 1:
        reason = "one seed on a side: nothing is known of the spread of runs"
        return Case(question, pair, ("single run", reason), supported)
    if pair.runs < judging.min_runs:
        reason = f"too few runs: {pair.runs} on a side, {judging.min_runs} are needed"
        return Case(question, pair, ("blocked", reason), supported)
    return Case(question, pair, None, supported)


def _sides(question: Question) -> tuple[Row, Row]:
    return question.row, question.baseline


def _unmeasurable(question: Question, catalog: Catalog) -> str:
    column, names = question.column, [row.variant for row in _sides(question)]
    if column.lower_is_better:
        return "latency is no property of a trained run: see the table"
    if question.claim.gain <= 0:
        return "no gain is claimed"
    if column.state == "planned":
        return f"{metric_name(column)} cannot be measured yet"
    for row in _sides(question):
        if catalog.row_state(row) != "built":
            return f"{row.variant or row.label} is not built"
    return f"both rows are measured by {names[0]}" if names[0] == names[1] else ""


def _left_out(question: Question, protocol: Protocol, runs: Runs) -> str:
    for row in _sides(question):
        chosen = protocol.run_backbones is None or row.backbone in protocol.run_backbones
        if not chosen and not runs.get(row.variant or ""):
            return f"protocol {protocol.name} does not run backbone {row.backbone}"
    return ""


def _missing(question: Question, runs: Runs) -> str:
    for row in _sides(question):
        group = runs.get(row.variant or "", ())
        if not group:
            return f"no finished run of {row.variant}"
        for run in group:
            if run.value(question.column) is None:
                return f"{run.files.metrics}: no number for {question.metric}"
    return ""


def _compared(question: Question, runs: Runs, replicates: Replicates) -> tuple[Pair, Supported | None]:
    """Both sides over all classes, and over the supported ones where all runs have replicates."""
    groups = [runs[row.variant or ""] for row in _sides(question)]
    points = [[run.value(question.column) or 0.0 for run in group] for group in groups]
    drawn = [[replicates(run, question.column) for run in group] for group in groups]
    there = [[one for one in side if one is not None] for side in drawn]
    if any(len(some) < len(every) for some, every in zip(there, drawn, strict=True)):
        return Pair(*(Side(np.array(values) / question.scale) for values in points)), None
    whole = _pair(question, points, [[one.replicates for one in side] for side in there])
    few = _pair(
        question,
        [[one.supported for one in side] for side in there],
        [[one.supported_replicates for one in side] for side in there],
    )
    return whole, None if np.isnan(few.row.mean + few.baseline.mean) else Supported(few, *there[0][0].classes)


def _pair(question: Question, points: Sequence[Sequence[float]], drawn: Sequence[Sequence[Floats]]) -> Pair:
    """In the column's unit, without the draws in which one side has nothing to find."""
    replicates = [np.stack(side) / question.scale for side in drawn]
    defined = ~np.isnan(np.concatenate(replicates)).any(axis=0)
    sides = zip(points, replicates, strict=True)
    return Pair(*(Side(np.array(values) / question.scale, sample[:, defined]) for values, sample in sides))


def _twins(question: Question, runs: Runs) -> str:
    """Runs that agree in every digit are copies of one: they would make the spread of runs vanish."""
    for row in _sides(question):
        found = copies(runs[row.variant or ""])
        if found:
            seeds = " and ".join(str(run.seed) for run in found)
            return f"seeds {seeds} of {row.variant} have the same numbers: copies of one run"
    return ""


def share_weights(question: Question, runs: Runs) -> bool:
    """Whether both rows are tests of the same trainings."""
    trained = [{run.weights_of for run in runs[row.variant or ""]} for row in _sides(question)]
    return not trained[0].isdisjoint(trained[1])


def copies(group: Sequence[FinishedRun]) -> tuple[FinishedRun, FinishedRun] | None:
    """The first two runs of a variant that agree in every digit; that both found nothing at all does not count."""
    seen: dict[tuple[float | None, ...], FinishedRun] = {}
    for run in (one for one in group if any(one.metrics.values())):
        twin = seen.setdefault(tuple(run.metrics.values()), run)
        if twin is not run:
            return twin, run
    return None


def strength(column: Column, group: Sequence[FinishedRun]) -> tuple[str, float]:
    """The metric that says whether a variant has learned to detect, and its mean over the runs, on 0-100.

    AP by the column's criterion; the column's own metric for proposals, which have no AP.
    """
    ap = column.model_copy(update={"metric": "AP"})
    used = column if any(run.value(ap) is None for run in group) else ap
    return used.metric, float(np.mean([run.value(used) or 0.0 for run in group]))


def _failed(question: Question, runs: Runs, protocol: Protocol, judging: Judging) -> str:
    """Whether the baseline learned to detect and, at the papers' own scale, is the paper's; both by ``strength``."""
    metric, mean = strength(question.column, runs[question.baseline.variant or ""])
    name = f"{metric} ({question.column.criterion})"
    if mean < judging.baseline_floor:
        return f"baseline failed: {name} {mean:.1f}, at least {judging.baseline_floor:g} is needed"
    published = _published(question, metric)
    if protocol.published_scale and published is not None and published - mean > judging.baseline_shortfall:
        return (
            f"baseline failed: {name} {published - mean:.1f} below the published one, "
            f"at most {judging.baseline_shortfall:g} is allowed"
        )
    return ""


def _published(question: Question, metric: str) -> float | None:
    """The baseline's printed number on 0-100; None where the table has none, or has it of a test server's images."""
    if question.table.test_server:
        return None
    wanted = metric, question.column.criterion
    for column in question.table.columns:
        printed = question.baseline.published[column.id]
        if (column.metric, column.criterion) == wanted and printed is not None:
            return printed * (100.0 if column.unit == "fraction" else 1.0)
    return None
