"""The image bootstrap of finished runs, from their detections and the ground truth."""

from __future__ import annotations

from pathlib import Path

from replication.catalog import Column, Judging, Protocol
from replication.finished import FinishedRun
from replication.verdicts.cases import Replicates
from replication.verdicts.intervals import Floats


def image_replicates(protocol: Protocol, results: Path, judging: Judging) -> Replicates:
    """A function of run and column; every run sees the same draws of images."""

    def replicates(run: FinishedRun, column: Column) -> Floats | None:
        return None

    return replicates
