"""The image bootstrap of finished runs, from their detections and the ground truth."""

from __future__ import annotations

import functools
from pathlib import Path

from replication.catalog import Column, Judging, Protocol, Run
from replication.evaluation import METRICS, bootstrap, run_matches
from replication.evaluation.matching import AREAS
from replication.finished import FinishedRun
from replication.verdicts.cases import Replicates
from replication.verdicts.intervals import Floats

NEEDED = ("ground_truth.json", "data.json")
"""Files of the protocol's folder without which nothing can be resampled."""


def image_replicates(protocol: Protocol, results: Path, judging: Judging) -> Replicates:
    """A function of run and column that gives the registered number of replicates.

    Which images a replicate holds depends on the registered seed alone, so runs are paired. None where the detections
    or the ground truth are not in the folder, or the metric has no bootstrap. ResultError for files of other data.
    """

    @functools.cache
    def drawn(variant: str, seed: int, giou: bool) -> dict[str, Floats]:
        run = Run(protocol=protocol.name, variant=variant, seed=seed)
        matches = run_matches(run, protocol, results, giou)
        sample = bootstrap(matches, judging.replicates, judging.bootstrap_seed, AREAS)
        return {name: sample.metric(name) for name in METRICS}

    def replicates(run: FinishedRun, column: Column) -> Floats | None:
        needed = (run.folder / "detections.json", *(results / protocol.name / name for name in NEEDED))
        if column.metric not in METRICS or not all(path.exists() for path in needed):
            return None
        return drawn(run.variant, run.seed, column.criterion == "giou")[column.metric]

    return replicates
