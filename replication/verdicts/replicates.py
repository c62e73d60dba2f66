"""The image bootstrap of finished runs, from their detections and the ground truth."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import numpy as np

from replication.catalog import Column, Judging, Protocol
from replication.errors import ResultError
from replication.evaluation import bootstrap, point
from replication.evaluation.matching import AREAS
from replication.evaluation.pair import supported_classes
from replication.evaluation.runs import run_matches
from replication.results.finished import FinishedRun
from replication.results.layout import Layout, RunFiles
from replication.results.metrics import METRICS
from replication.verdicts.evidence import Resampled, Resampler


def image_replicates(protocol: Protocol, results: Path, judging: Judging) -> Resampler:
    """A function of run and column that gives the registered number of replicates.

    Which images a replicate holds depends on the registered seed alone, so runs are paired. None where the detections
    or the ground truth are not in the folder, or the metric has no bootstrap. ResultError for files of other data, or
    detections that are not those of the run's numbers.
    """
    layout = Layout(results, protocol.name)

    @functools.cache
    def drawn(files: RunFiles, giou: bool) -> dict[str, tuple[float, Resampled]]:
        matches = run_matches(files, layout, protocol, giou)
        sample = bootstrap(matches, judging.replicates, judging.bootstrap_seed, AREAS)
        estimate, supported = point(matches), supported_classes(matches)
        classes = int(supported.sum()), int((np.diff(matches.truth_starts) > 0).sum())
        return {
            name: (
                float(estimate.metric(name)[0]),
                Resampled(
                    sample.metric(name),
                    float(estimate.metric(name, supported)[0]),
                    sample.metric(name, supported),
                    classes,
                ),
            )
            for name in METRICS
        }

    def resample(run: FinishedRun, column: Column) -> Resampled | None:
        needed = (run.files.detections, layout.ground_truth, layout.data)
        if column.metric not in METRICS or not all(path.exists() for path in needed):
            return None
        estimate, resampled = drawn(run.files, column.criterion == "giou")[column.metric]
        _check_same(run, column, estimate, needed[0])
        return resampled

    return resample


def _check_same(run: FinishedRun, column: Column, estimate: float, detections: Path) -> None:
    """Raise ResultError unless the detections give the number that stands in ``metrics.json``."""
    value = run.value(column)
    if value is None or not math.isclose(value, estimate, abs_tol=1e-6):
        raise ResultError(
            f"{detections}: gives {column.metric} {estimate:.4f}, {run.files.metrics} has {value}: they are not of one "
            "evaluation; evaluate the run again"
        )
