"""The training loop: Detectron2's SimpleTrainer and hooks, with iterations that do not depend on the past.

Everything random in an iteration is keyed by (seed, iteration), and batches by (seed, position), so a run that was
killed and resumed computes what the uninterrupted run computes.
"""

from __future__ import annotations

import signal
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase, SimpleTrainer, hooks
from detectron2.engine.defaults import create_ddp_model
from detectron2.modeling import build_model
from detectron2.utils import comm

from replication.datasets.weights import is_darknet, weights_path
from replication.detectors.yolov3 import load_darknet
from replication.errors import TrainingError
from replication.training.averaging import WeightAverage, precise_statistics
from replication.training.checkpoint import KEPT, AtomicCheckpointer, remove_checkpoints
from replication.training.curves import say
from replication.training.data import train_loader
from replication.training.optimizer import build_optimizer
from replication.training.passes import accumulate, check_passes
from replication.training.precision import prepare_model, products
from replication.training.proposals import OpenProposals
from replication.training.schedule import build_schedule

TERMINATED = 128 + signal.SIGTERM  # exit code of a training that SIGTERM ended, as a shell gives it


class KeyedRandomness(HookBase):  # type: ignore[misc]
    """Seeds torch before each iteration from (seed, iteration, rank): RoI and anchor sampling draw from it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def before_step(self) -> None:
        """Seed this iteration."""
        key = np.random.SeedSequence([self.seed, self.trainer.iter, comm.get_rank()])
        torch.manual_seed(int(key.generate_state(1, np.uint64)[0]))


class Checkpoints(HookBase):  # type: ignore[misc]
    """A checkpoint every ``every`` iterations, of which the newest are kept; what ``extra`` returns is stored in it.

    After SIGTERM, which clusters send some time before they kill, the iteration under way gets a checkpoint too, and
    the process ends with exit code 143: the next run goes on from there.
    """

    def __init__(self, checkpointer: AtomicCheckpointer, every: int, extra: Callable[[], dict[str, Any]]) -> None:
        self.checkpointer, self.every, self.extra = checkpointer, every, extra
        self.terminated = False

    def before_train(self) -> None:
        """Take SIGTERM over; with several processes the first one decides for all when to stop."""
        if threading.current_thread() is threading.main_thread():
            handler = self._terminate if comm.is_main_process() else signal.SIG_IGN
            self.previous = signal.signal(signal.SIGTERM, handler)

    def after_step(self) -> None:
        """Save when due; not after the last iteration, whose result is the final model."""
        done = self.trainer.iter + 1
        if done == self.trainer.max_iter or not comm.is_main_process():
            return
        if self.terminated or done % self.every == 0:
            self.checkpointer.save(f"checkpoint_{done:07d}", **self.extra())
            remove_checkpoints(Path(self.checkpointer.save_dir), keep=KEPT)
        if self.terminated:
            say(f"{self.checkpointer.save_dir}: ended by SIGTERM after iteration {done}; run again to go on from there")
            raise SystemExit(TERMINATED)

    def after_train(self) -> None:
        """Give SIGTERM back."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.previous)

    def _terminate(self, number: int, frame: Any) -> None:
        self.terminated = True


class Trainer(SimpleTrainer):  # type: ignore[misc]
    """One run's model, optimiser, schedule and data, resumed from the folder's last checkpoint if there is one.

    ``observers`` are hooks that run before a checkpoint is written, so that it holds their state.
    ``extra`` is what the last checkpoint stored beside the model (empty for a fresh start). ``proposals`` are the fixed
    ones of a variant without an RPN.
    """

    def __init__(
        self,
        cfg: CfgNode,
        records: list[dict[str, Any]],
        observers: list[HookBase],
        proposals: OpenProposals | None = None,
    ) -> None:
        torch.manual_seed(cfg.SEED)
        # Channels last changes nothing but the layout in memory; on a CPU a step takes a fifth to a quarter less time.
        model = build_model(cfg).to(memory_format=torch.channels_last)
        prepare_model(cfg, model)
        optimizer = build_optimizer(cfg, model)
        # The loader depends on the iteration to start from, so it is made after the checkpoint is read.
        parallel = {"device_ids": None} if cfg.MODEL.DEVICE == "cpu" else {}  # else Detectron2 names the process's GPU
        super().__init__(create_ddp_model(model, broadcast_buffers=False, **parallel), (), optimizer)
        self.cfg, self.max_iter = cfg, cfg.SOLVER.MAX_ITER
        self.average = WeightAverage.from_config(cfg, model)
        check_passes(cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size(), cfg.SOLVER.IMS_PER_PASS)
        self.register_hooks(
            [
                KeyedRandomness(cfg.SEED),
                hooks.LRScheduler(optimizer, build_schedule(cfg, optimizer)),
                *observers,
                self.average,
            ]
        )
        self.checkpointer = AtomicCheckpointer(model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self))
        self.extra = self._resume_or_load()
        self._data_loader_iter = train_loader(cfg, records, self.start_iter, proposals)
        self._batches_from_the_first = partial(train_loader, cfg, records, 0, proposals)

    def _resume_or_load(self) -> dict[str, Any]:
        self.start_iter = 0
        if self.checkpointer.has_checkpoint():
            extra = self.checkpointer.load(self.checkpointer.get_checkpoint_file())
            self.start_iter = self.iter + 1
            return dict(extra)
        if self.cfg.MODEL.WEIGHTS:
            path = weights_path(self.cfg.MODEL.WEIGHTS)
            if is_darknet(path):
                load_darknet(self.checkpointer.model, path)
            else:
                self.checkpointer.load(str(path), checkpointables=[])
        return {}

    def run_step(self) -> None:
        """One update: Detectron2's, or with SOLVER.IMS_PER_PASS its batch in several passes."""
        if not self.cfg.SOLVER.IMS_PER_PASS:
            super().run_step()
            return
        start = time.perf_counter()
        batch = next(self._data_loader_iter)
        waited = time.perf_counter() - start
        self.optimizer.zero_grad()
        losses = accumulate(self.model, batch, self.cfg.SOLVER.IMS_PER_PASS)
        self._write_metrics(losses, waited)
        self.optimizer.step()

    def run(self) -> None:
        """Train to the last iteration. Raises TrainingError when the loss stops being finite."""
        try:
            with products(rounded=self.cfg.SOLVER.PRECISION == "tf32"):
                self.train(self.start_iter, self.max_iter)
                self._finish()
        except FloatingPointError as error:
            lr = self.optimizer.param_groups[0]["lr"]
            raise TrainingError(
                f"{self.cfg.OUTPUT_DIR}: {' '.join(str(error).split())}; learning rate {lr:.2g}, batch "
                f"{self.cfg.SOLVER.IMS_PER_BATCH}. The last checkpoint is kept. Lower SOLVER.BASE_LR in the protocol's "
                "overrides (the papers' rates are for 16 images; the linear rule divides them by 16 / batch) or "
                "lengthen SOLVER.WARMUP_ITERS."
            ) from error

    def _finish(self) -> None:
        """The final model, where it is another than that of the last iteration."""
        self.average.apply()
        precise = self.cfg.TEST.PRECISE_BN
        if precise.ENABLED:
            model, batches = self.checkpointer.model, self._batches_from_the_first()
            precise_statistics(model, batches, precise.NUM_ITER, self.cfg.SEED, self.max_iter)
