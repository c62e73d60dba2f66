"""From a claim to the numbers that decide it, or to the reason why it cannot be judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from replication.catalog import Catalog, Claim, Column, Judging, Paper, Protocol, Row, Table, not_testable
from replication.catalog.units import points
from replication.results.finished import FinishedRun
from replication.verdicts.intervals import Floats, Side
from replication.verdicts.rules import NOT_TESTABLE, NOT_TESTABLE_HERE, UNTESTED, Verdict

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


Resampler = Callable[[FinishedRun, Column], Resampled | None]
"""The image bootstrap of a run's metric; None where the files for it are not there."""


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
        """AP points per unit of the column: a paper that prints fractions gets fractions."""
        return points(self.column.unit)

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
    """The same pair over classes of at least ten objects: resampling underestimates the variance of rarer ones."""

    pair: Pair
    classes: int
    of: int


@dataclass(frozen=True)
class Evidence:
    """A claim with its runs. ``obstacle`` is the verdict given instead of a judgement, with its reason."""

    question: Question
    pair: Pair | None = None
    obstacle: tuple[Verdict, str] | None = None
    supported: Supported | None = None

    @property
    def measurable(self) -> bool:
        """Whether the protocol can test it, once its runs are there."""
        return self.obstacle is None or self.obstacle[0] not in UNTESTED


def metric_name(column: Column) -> str:
    """Metric and criterion of a column."""
    return f"{column.metric} ({column.criterion})" if column.criterion else column.metric


def questions(catalog: Catalog, tables: Sequence[str]) -> list[Question]:
    """The claims of the tables in their order, but paper by paper; of each table the primary ones first."""
    asked = [
        Question(paper, paper.table(claim.table), claim)
        for paper in catalog.papers.values()
        for claim in paper.claims
        if claim.table in tables
    ]
    first = {
        question.paper.id: min(tables.index(table.id) for table in question.paper.tables if table.id in tables)
        for question in asked
    }
    return sorted(asked, key=lambda one: (first[one.paper.id], tables.index(one.table.id), not one.claim.primary))


def gather_evidence(
    question: Question, catalog: Catalog, protocol: Protocol, judging: Judging, runs: Runs, resample: Resampler
) -> Evidence:
    """The sides of a claim, or why it cannot be judged."""
    reason = _unmeasurable(question, catalog, runs) or _left_out(question, protocol, runs)
    if reason:
        return Evidence(question, obstacle=(NOT_TESTABLE, reason))
    reason = not_testable(catalog, protocol).get(question.claim.id, "")
    if reason:
        return Evidence(question, obstacle=(NOT_TESTABLE_HERE, reason))
    return gather_runs(question, protocol, judging, runs, resample)


def gather_runs(question: Question, protocol: Protocol, judging: Judging, runs: Runs, resample: Resampler) -> Evidence:
    """The sides of what can be tested here, or why it cannot be judged yet."""
    reason = _missing(question, runs)
    if reason:
        return Evidence(question, obstacle=("blocked", reason))
    pair, supported = _compared(question, runs, resample)
    reason = _duplicates(question, runs) or _baseline_failure(question, runs, protocol, judging)
    if reason:
        return Evidence(question, pair, ("blocked", reason), supported)
    if pair.runs == 1:
        reason = "a single seed: the variance between runs is unknown"
        return Evidence(question, pair, ("single run", reason), supported)
    if pair.runs < judging.min_runs:
        reason = f"too few runs: {pair.runs} per variant, at least {judging.min_runs} are needed"
        return Evidence(question, pair, ("blocked", reason), supported)
    return Evidence(question, pair, None, supported)


def _sides(question: Question) -> tuple[Row, Row]:
    return question.row, question.baseline


def _unmeasurable(question: Question, catalog: Catalog, runs: Runs) -> str:
    column, names = question.column, [row.variant for row in _sides(question)]
    if column.lower_is_better:
        return "latency is not judged: see the table"
    if question.claim.gain <= 0:
        return "no gain is claimed"
    if column.state == "planned":
        return f"{metric_name(column)} cannot be measured yet"
    for row in _sides(question):
        # A variant without a file may have runs that were made elsewhere.
        if catalog.row_state(row) != "built" and not runs.get(row.variant or ""):
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
                return f"no number for {question.metric} in {run.files.metrics}"
    return ""


def _compared(question: Question, runs: Runs, resample: Resampler) -> tuple[Pair, Supported | None]:
    """Both sides over all classes, and over the supported ones where all runs have replicates."""
    groups = [runs[row.variant or ""] for row in _sides(question)]
    points = [[run.value(question.column) or 0.0 for run in group] for group in groups]
    drawn = [[resample(run, question.column) for run in group] for group in groups]
    samples = [[sample for sample in side if sample is not None] for side in drawn]
    if any(len(some) < len(every) for some, every in zip(samples, drawn, strict=True)):
        return Pair(*(Side(np.array(values) / question.scale) for values in points)), None
    whole = _pair(question, points, [[sample.replicates for sample in side] for side in samples])
    few = _pair(
        question,
        [[sample.supported for sample in side] for side in samples],
        [[sample.supported_replicates for sample in side] for side in samples],
    )
    return whole, None if np.isnan(few.row.mean + few.baseline.mean) else Supported(few, *samples[0][0].classes)


def _pair(question: Question, points: Sequence[Sequence[float]], drawn: Sequence[Sequence[Floats]]) -> Pair:
    """In the column's unit, without the draws in which one side has nothing to find."""
    replicates = [np.stack(side) / question.scale for side in drawn]
    defined = ~np.isnan(np.concatenate(replicates)).any(axis=0)
    sides = zip(points, replicates, strict=True)
    return Pair(*(Side(np.array(values) / question.scale, sample[:, defined]) for values, sample in sides))


def _duplicates(question: Question, runs: Runs) -> str:
    """Runs that agree in every digit are copies of one: they would make the spread of runs vanish."""
    for row in _sides(question):
        pair = duplicate_runs(runs[row.variant or ""])
        if pair:
            seeds = " and ".join(str(run.seed) for run in pair)
            return f"seeds {seeds} of {row.variant} have the same numbers: copies of one run"
    return ""


def share_weights(question: Question, runs: Runs) -> bool:
    """Whether both rows are tests of the same trainings."""
    trained = [{run.weights_of for run in runs[row.variant or ""]} for row in _sides(question)]
    return not trained[0].isdisjoint(trained[1])


def duplicate_runs(group: Sequence[FinishedRun]) -> tuple[FinishedRun, FinishedRun] | None:
    """The first two runs of a variant that agree in every digit; runs that detect nothing at all do not count."""
    first: dict[tuple[float | None, ...], FinishedRun] = {}
    for run in (run for run in group if any(run.metrics.values())):
        earlier = first.setdefault(tuple(run.metrics.values()), run)
        if earlier is not run:
            return earlier, run
    return None


def detection_quality(column: Column, group: Sequence[FinishedRun]) -> tuple[str, float]:
    """The metric that says whether a variant has learned to detect, and its mean over the runs, on 0-100.

    AP by the column's criterion; the column's own metric for proposals, which have no AP.
    """
    ap = column.model_copy(update={"metric": "AP"})
    used = column if any(run.value(ap) is None for run in group) else ap
    return used.metric, float(np.mean([run.value(used) or 0.0 for run in group]))


def _baseline_failure(question: Question, runs: Runs, protocol: Protocol, judging: Judging) -> str:
    """Why the baseline is none: it did not learn to detect or, at the papers' own scale, falls short of the paper's."""
    metric, mean = detection_quality(question.column, runs[question.baseline.variant or ""])
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
            return printed * points(column.unit)
    return None
