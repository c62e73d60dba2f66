"""Seconds of a training iteration, measured on a few of them before anything is trained."""

from __future__ import annotations

import statistics
import time
from itertools import pairwise
from typing import Any

from detectron2.engine import HookBase

from replication.errors import TrainingError
from replication.results.run import Run
from replication.training.devices import devices, on_device, out_of_memory
from replication.training.precision import products
from replication.training.provenance import environment
from replication.training.run import set_up
from replication.training.trainer import Trainer

TIMED = 3
"""Iterations that are timed, after one that loads and allocates what the others find there."""


class Ends(HookBase):  # type: ignore[misc]
    """When each iteration ended, in seconds."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def after_step(self) -> None:
        """Detectron2 has read the losses by now, so the device has done its work."""
        self.times.append(time.perf_counter())


@out_of_memory("lower `batch` in the protocol, or use a GPU with more memory")
def seconds_per_iteration(run: Run) -> tuple[float, str]:
    """Median seconds of TIMED iterations of a run's training on one device, and that device's name.

    The data are the protocol's own, the schedule is that of the whole training, and no checkpoint or result is
    written; features of a frozen backbone are kept in the run's results, which should be a temporary folder. Where such
    features are cached this is an upper bound, since the first iterations compute them. Raises ReplicationError
    subclasses as a training does.
    """
    cfg, records = set_up(run)
    ends = Ends()
    with devices(run.protocol.device) as taken, products(rounded=cfg.SOLVER.PRECISION == "tf32"):
        made_by: dict[str, Any] = environment(taken[0])
        trainer = Trainer(on_device(cfg, taken[0]), records, [ends])
        try:
            trainer.train(0, TIMED + 1)
        except FloatingPointError as error:
            raise TrainingError(f"{run.label}: measuring its time: {' '.join(str(error).split())}") from error
    return statistics.median(after - before for before, after in pairwise(ends.times)), made_by["device"]["name"]
