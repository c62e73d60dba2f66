"""Which trainings count as of one schedule: those of one batch and rate, and of nearly one length.

Libra R-CNN's 1x is 2.3% shorter than Detectron2's; a variant trained for 391 iterations varies as one for 400 does. The
groups are made around the longest that is left, so that they do not depend on the order of the variants and no chain of
small steps joins lengths that are far apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from replication.results.finished import FinishedRun
from replication.verdicts.evidence import Runs


def by_schedule(runs: Runs, tolerance: float) -> dict[str, dict[str, Sequence[FinishedRun]]]:
    """The variants of every schedule, by its name.

    Lengths that are shorter than the longest of them by at most the share ``tolerance`` are one schedule. Runs without
    a recorded schedule are one of their own, ``""``; a variant whose runs are of several schedules is of none.
    """
    named = _names([run for group in runs.values() for run in group], tolerance)
    grouped: dict[str, dict[str, Sequence[FinishedRun]]] = {name: {} for name in named.values()}
    for variant, group in runs.items():
        own = {named[run.schedule] for run in group}
        if len(own) == 1:
            grouped[own.pop()][variant] = group
    return grouped


def _names(runs: Sequence[FinishedRun], tolerance: float) -> dict[str, str]:
    """What the schedule of every run is called, by what its run calls it, in the order of the runs."""
    lengths: dict[tuple[int | None, float | None], dict[int, str]] = defaultdict(dict)
    for run in runs:
        made = run.provenance
        if run.schedule and made.iterations is not None:
            lengths[made.batch, made.lr][made.iterations] = run.schedule
    found = {"": ""}
    for alike in lengths.values():
        left = sorted(alike, reverse=True)
        while left:
            near = [length for length in left if length >= (1 - tolerance) * left[0]]
            longest = alike[near[0]]
            name = longest if len(near) == 1 else f"{near[-1]} to {longest}"
            found |= {alike[length]: name for length in near}
            left = left[len(near) :]
    return {run.schedule: found[run.schedule] for run in runs}
