"""Two ways to a steadier final model: the mean of late snapshots, and BatchNorm statistics of the final weights.

Both are off by default. They read the weights that a training has gone through and change none of its iterations.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from fvcore.nn.precise_bn import update_bn_stats
from torch import Tensor, nn

from replication.errors import ConfigError


def add_averaging_config(cfg: CfgNode) -> None:
    """Add SOLVER.WEIGHT_AVERAGE, switched off, in place; TEST.PRECISE_BN is Detectron2's own.

    The final model is the mean of SNAPSHOTS models, that of the last iteration and those EVERY iterations apart before
    it (stochastic weight averaging, arXiv 1803.05407); 1 is the last one alone.
    """
    cfg.SOLVER.WEIGHT_AVERAGE = CfgNode({"SNAPSHOTS": 1, "EVERY": 1})


class WeightAverage(HookBase):  # type: ignore[misc]
    """The running mean of a model at some iterations; whole numbers in its state are the last model's.

    A checkpoint holds the mean so far, so a resumed run ends with the same bytes.
    """

    def __init__(self, model: nn.Module, snapshots: int, every: int) -> None:
        self.model, self.snapshots, self.every = model, snapshots, every
        self.mean: dict[str, Tensor] = {}
        self.count = 0

    @classmethod
    def from_config(cls, cfg: CfgNode, model: nn.Module) -> WeightAverage:
        """From SOLVER.WEIGHT_AVERAGE; ConfigError where the snapshots do not fit into the training."""
        node = cfg.SOLVER.WEIGHT_AVERAGE
        for name in ("SNAPSHOTS", "EVERY"):
            if node[name] < 1:
                raise ConfigError(f"SOLVER.WEIGHT_AVERAGE.{name}: {node[name]} is less than 1")
        if (node.SNAPSHOTS - 1) * node.EVERY >= cfg.SOLVER.MAX_ITER:
            raise ConfigError(
                f"SOLVER.WEIGHT_AVERAGE: {node.SNAPSHOTS} snapshots, {node.EVERY} iterations apart, "
                f"do not fit into {cfg.SOLVER.MAX_ITER} iterations; take fewer, or closer ones"
            )
        return cls(model, node.SNAPSHOTS, node.EVERY)

    def state_dict(self) -> dict[str, Any]:
        """The mean so far, for checkpoints."""
        return {"mean": dict(self.mean), "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with a checkpoint's mean."""
        self.mean, self.count = dict(state["mean"]), state["count"]

    @torch.no_grad()
    def after_step(self) -> None:
        """Take a snapshot when one is due."""
        left = self.trainer.max_iter - 1 - self.trainer.iter
        if self.snapshots == 1 or left % self.every or left // self.every >= self.snapshots:
            return
        self.count += 1
        for name, value in self.model.state_dict().items():
            if not value.is_floating_point():
                continue
            mean = self.mean[name].to(value.device) if self.count > 1 else torch.zeros_like(value)
            self.mean[name] = mean + (value - mean) / self.count

    def apply(self) -> None:
        """Give the model the mean of its snapshots."""
        if self.count:
            self.model.load_state_dict({**self.model.state_dict(), **self.mean})


def precise_statistics(model: nn.Module, batches: Iterable[Any], iterations: int, seed: int, after: int) -> None:
    """Set BatchNorm's statistics to those of ``iterations`` batches under the weights that ``model`` has now.

    While it trains they are moving averages over weights that change. ``seed`` and ``after``, the number of iterations
    trained, key the random numbers.
    """
    key = np.random.SeedSequence([seed, after, comm.get_rank()])
    torch.manual_seed(int(key.generate_state(1, np.uint64)[0]))
    with EventStorage():
        update_bn_stats(model.train(), batches, iterations)
