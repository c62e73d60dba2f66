"""False verdicts over real runs: the seeds of one variant in two halves, judged as two variants (A/A).

Between halves there is nothing to be found, so on average at most the registered level of them is judged a gain or
loss. The halves have no seeds in common and are judged as sides of independent runs, each comparison by itself; of an
odd number one half has a run more. All splits of a variant are of the same runs and its metrics are correlated, so the
count is not that of as many independent pairs: it is reported and not tested.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from replication.catalog import Column, Judging
from replication.results.finished import FinishedRun
from replication.verdicts.evidence import Resampler, Runs, metric_name
from replication.verdicts.intervals import Floats, Side, p_value, variance_terms
from replication.verdicts.pooling import sample_groups, usable
from replication.verdicts.schedules import by_schedule
from replication.verdicts.spread import pool

LEAST = 4
"""Runs of a variant that make two halves with a spread."""

MOST = 10
"""Runs of a variant that are split: of 10 there are 126 ways, of 20 some 92,000. The first seeds are taken."""


def judge_halves(columns: Sequence[Column], runs: Runs, judging: Judging, resample: Resampler) -> dict[str, Any]:
    """How many of all ways to split a variant's seeds give a gain or loss, over the metrics of ``columns``."""
    found: dict[str, list[bool]] = {}
    for column in columns:
        for schedule in by_schedule(runs, judging.schedule_tolerance).values():
            groups = sample_groups(column, schedule, runs, judging)
            for name in (name for name, group in groups.items() if len(group) >= LEAST):
                found.setdefault(name, []).extend(_split_verdicts(name, groups, column, judging, resample))
    return {
        "firm": sum(map(sum, found.values())),
        "splits": sum(map(len, found.values())),
        "level": judging.alpha,
        "metrics": [metric_name(column) for column in columns],
        "variants": {name: {"firm": sum(firm), "splits": len(firm)} for name, firm in found.items()},
    }


def halves_text(document: Mapping[str, Any]) -> str:
    """The count in words; empty where no variant has enough runs."""
    if not document["splits"]:
        return ""
    share = document["firm"] / document["splits"]
    return (
        f"halves of one variant's seeds judged as two variants, {', '.join(document['metrics'])}: {document['firm']} "
        f"of {document['splits']} splits of {len(document['variants'])} variants ({share:.1%}) give a gain or loss, "
        f"at most {document['level']:.0%} are expected on average; splits of the same runs are not independent"
    )


def halves(count: int) -> Iterator[tuple[int, ...]]:
    """Places of one half, for every way of splitting so many runs in two; of an odd number the smaller half."""
    for chosen in itertools.combinations(range(count), count // 2):
        if count % 2 or 0 in chosen:
            yield chosen


def _split_verdicts(
    name: str, groups: Mapping[str, Sequence[FinishedRun]], column: Column, judging: Judging, resample: Resampler
) -> Iterator[bool]:
    """Of every split whether it is judged a gain or loss."""
    own = list(groups[name])[:MOST]
    others = [_points(group, column) for other, group in groups.items() if other != name]
    drawn = [resample(run, column) for run in own]
    replicates = np.stack([one.replicates for one in drawn if one]) if all(drawn) else None
    if replicates is not None:
        replicates = replicates[:, ~np.isnan(replicates).any(axis=0)]
    for chosen in halves(len(own)):
        places = [list(chosen), [place for place in range(len(own)) if place not in chosen]]
        values = [_points([own[place] for place in half], column) for half in places]
        samples = [None if replicates is None else replicates[half] for half in places]
        spread = pool([*others, *values])
        common = spread is not None and usable(spread, judging) and spread.covers(values, judging.outlying_spread_alpha)
        row, baseline = (Side(points, sample) for points, sample in zip(values, samples, strict=True))
        terms = variance_terms(row, baseline, spread.pooled if common and spread else None)
        estimand = judging.estimand if judging.estimand in terms.estimands else "this benchmark"
        yield bool(p_value(terms, estimand, 0.0) <= judging.alpha)


def _points(group: Sequence[FinishedRun], column: Column) -> Floats:
    return np.array([run.value(column) for run in group], dtype=np.float64)
