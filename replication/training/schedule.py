"""Learning-rate schedules: Detectron2's, and Darknet's with its burn-in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from detectron2.config import CfgNode
from detectron2.solver import LRMultiplier, build_lr_scheduler
from fvcore.common.param_scheduler import ParamScheduler
from torch.optim.lr_scheduler import LRScheduler

BURN_IN = "BurnInMultiStepLR"
POWER = 4


def burn_in_factor(update: int, warmup: int, steps: Sequence[int], gamma: float) -> float:
    """What the learning rate is multiplied by at the ``update``-th update, counted from 1.

    (update / warmup)^4 before ``warmup``, then 1, times ``gamma`` from each of ``steps`` on.
    """
    if update < warmup:
        return float((update / warmup) ** POWER)
    return float(gamma ** sum(update >= step for step in steps))


@dataclass(frozen=True)
class BurnIn(ParamScheduler):  # type: ignore[misc]
    """``burn_in_factor`` as a function of the share of all updates that is done."""

    warmup: int
    steps: tuple[int, ...]
    gamma: float
    updates: int

    def __call__(self, where: float) -> float:
        """The factor of the update after the share ``where`` in [0, 1)."""
        return burn_in_factor(round(where * self.updates) + 1, self.warmup, self.steps, self.gamma)


def build_schedule(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """What SOLVER.LR_SCHEDULER_NAME names: one of Detectron2's, or ``BurnInMultiStepLR``.

    The latter reads WARMUP_ITERS, STEPS and GAMMA.
    """
    solver = cfg.SOLVER
    schedule: LRScheduler
    if solver.LR_SCHEDULER_NAME == BURN_IN:
        burn_in = BurnIn(solver.WARMUP_ITERS, tuple(solver.STEPS), solver.GAMMA, solver.MAX_ITER)
        schedule = LRMultiplier(optimizer, burn_in, solver.MAX_ITER)
    else:
        schedule = build_lr_scheduler(cfg, optimizer)
    return schedule
