"""Which variants' runs stand for the spread of which claims: pooled over a schedule, and seeds as blocks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

import numpy as np

from replication.catalog import Column, Judging
from replication.results.finished import FinishedRun
from replication.verdicts.blocks import Blocks, pool_blocks
from replication.verdicts.evidence import Evidence, Question, Runs, detection_quality, duplicate_runs
from replication.verdicts.intervals import Floats
from replication.verdicts.schedules import by_schedule
from replication.verdicts.spread import MIN_POOLED_DF, Spread, pool


def spreads(claims: Sequence[Evidence], runs: Runs, judging: Judging) -> dict[str, Spread]:
    """The spread of runs of every metric claimed and every schedule, in AP points, over all variants with runs.

    Copies of one run and detectors that learned nothing hardly vary: they would narrow everybody's interval. So would a
    test-time variant next to its source, whose trainings would count twice.
    """
    columns = {evidence.question.metric: evidence.question.column for evidence in claims}
    schedules = by_schedule(runs, judging.schedule_tolerance)
    pooled = {}
    for metric, column in columns.items():
        for schedule, chosen in schedules.items():
            spread = _spread(metric, column, chosen, judging)
            if spread is not None:
                pooled[", ".join(filter(None, (metric, schedule)))] = spread
    return pooled


def _spread(metric: str, column: Column, runs: Runs, judging: Judging) -> Spread | None:
    groups, members, left_out = [], [], []
    for variant, group in runs.items():
        values = [run.value(column) for run in group]
        if None in values:
            continue
        if duplicate_runs(group) or detection_quality(column, group)[1] < judging.baseline_floor:
            left_out.append(variant)
            continue
        members.append(variant)
        if len(set(values)) > 1 and not _twice(variant, group, runs):
            groups.append(np.array(values, dtype=np.float64))
    spread = pool(groups)
    if spread is None:
        return None
    return replace(spread, metric=metric, members=frozenset(members), left_out=frozenset(left_out))


def common_spread(
    pooled: Mapping[str, Spread], metric: str, variants: AbstractSet[str | None], judging: Judging
) -> Spread | None:
    """The pooled spread that may replace the variants' own; None where there is none."""
    for spread in pooled.values():
        if spread.metric == metric and variants <= spread.members and usable(spread, judging):
            return spread
    return None


def usable(spread: Spread, judging: Judging) -> bool:
    """Whether a pooled spread may replace the own ones of its members."""
    return spread.pooled.df >= MIN_POOLED_DF and spread.equal(judging.equal_spread_alpha)


def claim_blocks(question: Question, runs: Runs, judging: Judging, apart: Collection[str] = ()) -> Blocks | None:
    """The layout of seeds and variants that a claim is judged by, in AP points; None where its sides' seeds differ.

    It is of the claim's two variants and all others of the baseline's schedule (``by_schedule``) that have these seeds,
    without those ``apart``, tests of weights that are there already, and variants that are no sample, as in
    ``spreads``. Where one of the two is none itself, it is of them alone.
    """
    row, baseline, column = question.row.variant or "", question.baseline.variant or "", question.column
    seeds = [run.seed for run in runs[baseline]]
    if [run.seed for run in runs[row]] != seeds or len(seeds) < 2:
        return None
    both = {name: _values(column, runs[name]) for name in (baseline, row)}
    if not all(_sample(column, runs[name], judging) for name in both):
        return pool_blocks(both)
    # The variants set apart form no schedule either, which the longest names.
    kept = {name: group for name, group in runs.items() if name == baseline or name not in apart}
    schedules = by_schedule(kept, judging.schedule_tolerance).values()
    alike: Runs = next((schedule for schedule in schedules if baseline in schedule), {})
    others = {
        name: _values(column, chosen)
        for name, group in sample_groups(column, alike, runs, judging).items()
        if name not in both
        if len(chosen := [run for run in group if run.seed in seeds]) == len(seeds)
    }
    return pool_blocks(both | others)


def sample_groups(column: Column, schedule: Runs, runs: Runs, judging: Judging) -> dict[str, Sequence[FinishedRun]]:
    """The trainings of a schedule, by variant, whose runs say how trainings vary; ``runs`` are of all schedules."""
    return {
        name: group
        for name, group in schedule.items()
        if _sample(column, group, judging) and not _twice(name, group, runs)
    }


def _twice(name: str, group: Sequence[FinishedRun], runs: Runs) -> bool:
    """Whether a variant tests weights of another that is there."""
    return any(run.weights_of != name and run.weights_of in runs for run in group)


def _values(column: Column, group: Sequence[FinishedRun]) -> Floats:
    """The runs' numbers in the order of their seeds."""
    return np.array([run.value(column) for run in sorted(group, key=lambda run: run.seed)], dtype=np.float64)


def _sample(column: Column, group: Sequence[FinishedRun], judging: Judging) -> bool:
    """Whether a variant's runs say how trainings vary."""
    values = [run.value(column) for run in group]
    if None in values or len(set(values)) < 2 or duplicate_runs(group):
        return False
    return detection_quality(column, group)[1] >= judging.baseline_floor
