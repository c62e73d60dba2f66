"""One run's training: its folder, from nothing to ``model_final.pth``, resumed where it was interrupted."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import launch
from detectron2.utils import comm
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from replication.datasets import load_split
from replication.detectors.losses import load_losses
from replication.errors import ConfigError, ResultError, TrainingError
from replication.results.files import sha256_file, write_text
from replication.results.layout import RunFiles
from replication.results.lease import lease
from replication.results.run import Run
from replication.results.schemas import Provenance, read, write
from replication.training.checkpoint import remove_checkpoints, usable_checkpoint, write_checkpoint
from replication.training.checks import check_settings
from replication.training.config import check_schedule, check_seed, config_hash, mask_format, run_config
from replication.training.curves import Curves, Progress, say
from replication.training.data import Record, share_of, training_records
from replication.training.devices import devices, on_device, out_of_memory, prepare_process, visible_names
from replication.training.identity import check_identity, check_made_here, identity, proposals_of, trained_weights
from replication.training.provenance import environment, now, weights
from replication.training.trainer import TERMINATED, Checkpoints, Trainer

CURVE_POINTS = 200  # lines of curves.jsonl in a whole training, about


def train(run: Run, restart: bool = False, gpus: int = 1, wait: bool = False, replace: bool = False) -> Path:
    """Train a run, or go on with it where it was interrupted; returns the path of ``model_final.pth``.

    Writes ``config.yaml``, ``curves.jsonl``, ``provenance.json``, the model and, last, ``trained.done``. A finished run
    of the same code, settings and data is left alone; another one is an error unless ``restart``, which discards any,
    or ``replace``, which discards it. A run that another process works on is an error too unless ``wait``. With
    ``gpus`` > 1 Detectron2's launcher starts one process per GPU, which share the batch. Raises ReplicationError
    subclasses, ConfigError for a test-time variant, which has no training of its own.
    """
    if run.variant.weights_from:
        raise ConfigError(
            f"--variant {run.variant.name}: is tested with the weights of {run.variant.weights_from} and has no "
            f"training of its own; train that: --variant {run.variant.weights_from}, then detect with this one"
        )
    cfg, records = set_up(run)
    expected = identity(run)
    with (
        lease(run.files.lock, "this run", wait, lambda message: say(f"{run.label}: {message}")),
        devices(run.protocol.device, gpus) as taken,
    ):
        check_made_here(run.files)
        for path in run.files.abandoned:
            path.unlink()
        if restart:
            _discard(run.files)
        if replace and _outdated(run, expected):
            say(f"{run.label}: the finished training of other code, settings or data is discarded")
            _discard(run.files)
        if run.files.model.exists():
            check_identity(run, expected, "give --restart to discard it and train again")
            trained_weights(run)
            say(f"{run.label}: already trained")
            _mark(run.files)
            return run.files.model
        usable_checkpoint(run.folder, expected, run.label)
        write_text(run.files.config, cfg.dump())
        if gpus == 1:
            _fit(run, cfg, records, expected, taken[0])
        else:
            _launch(run, cfg, records, expected, taken)
        _mark(run.files)
    return run.files.model


def set_up(run: Run) -> tuple[CfgNode, list[Record]]:
    """The checked config of a run and the records that it is trained on; prepares this process for torch.

    Raises ReplicationError subclasses for a wrong seed, setting, schedule or data.
    """
    check_seed(run.seed)
    prepare_process(run.protocol)
    split = load_split(run.protocol, "train")
    records = training_records(split.records)
    masks = mask_format(records, run.variant)
    cfg = run_config(
        run.variant, run.protocol, run.seed, len(split.classes), run.folder, masks, features=run.layout.features
    )
    check_schedule(cfg, run.variant, run.protocol)
    check_settings(cfg)
    return cfg, share_of(records, cfg.DATASETS.TRAIN_SHARE)


def _launch(run: Run, cfg: CfgNode, records: list[Record], expected: dict[str, str], taken: list[torch.device]) -> None:
    """One process a GPU; they see only the GPUs that this process holds the locks of."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(visible_names(taken))
    before = signal.signal(signal.SIGTERM, _pass_on)
    try:
        launch(_fit_on_rank, len(taken), dist_url="auto", args=(run, cfg, records, expected))
    except ProcessRaisedException as error:
        message = str(error).strip().rpartition("Error: ")[2]
        raise TrainingError(f"{run.folder}: {message}") from error
    except ProcessExitedException as error:
        if error.exit_code == TERMINATED:
            raise SystemExit(TERMINATED) from error
        raise TrainingError(
            f"{run.folder}: {error}; killed, perhaps for memory. The last checkpoint is kept: run the command again."
        ) from error
    finally:
        signal.signal(signal.SIGTERM, before)


def _pass_on(number: int, frame: Any) -> None:
    """A signal for the processes that train."""
    for process in multiprocessing.active_children():
        if process.pid is not None:
            os.kill(process.pid, number)


def _fit_on_rank(run: Run, cfg: CfgNode, records: list[Record], expected: dict[str, str], kind: str = "cuda") -> None:
    prepare_process(run.protocol)
    load_losses(run.variant.losses)  # a new process knows none of the user's
    on = torch.device(kind) if kind == "cpu" else torch.device(kind, comm.get_local_rank())
    _fit(run, cfg, records, expected, on)


@out_of_memory(
    "lower `batch` in the protocol (the learning rate follows it), or INPUT.MIN_SIZE_TRAIN and INPUT.MAX_SIZE_TRAIN in "
    "its overrides, share the batch with --gpus, or use a GPU with more memory. The last checkpoint is kept"
)
def _fit(run: Run, cfg: CfgNode, records: list[Record], expected: dict[str, str], on: torch.device) -> None:
    made_by = environment(on)  # before the training: the checkout may change under it
    started, clock = now(), time.perf_counter()
    curves = Curves(run.files.curves, max(1, cfg.SOLVER.MAX_ITER // CURVE_POINTS))
    observers = [curves, Progress(run.label)] if comm.is_main_process() else []
    trainer = Trainer(on_device(cfg, on), records, observers, proposals_of(run, "train", records))
    before = trainer.extra
    resumed_at = [*before.get("resumed_at", []), *([trainer.start_iter] if before else [])]
    if before:
        say(f"{run.label}: resumed at iteration {trainer.start_iter}")

    def so_far() -> dict[str, Any]:
        return {
            **expected,
            "resumed_at": resumed_at,
            "started": before.get("started", started),
            "seconds": round(before.get("seconds", 0.0) + time.perf_counter() - clock, 1),
        }

    trainer.register_hooks([Checkpoints(trainer.checkpointer, run.protocol.checkpoint_every, so_far)])
    trainer.run()
    if not comm.is_main_process():
        return
    curves.finish()
    write(
        run.files.provenance,
        Provenance,
        {
            **made_by,
            "protocol": run.protocol.name,
            "variant": run.variant.name,
            "seed": run.seed,
            "config_hash": config_hash(cfg),
            **weights(cfg),
            "losses": {path.name: sha256_file(path) for path in run.variant.losses},
            "batch": cfg.SOLVER.IMS_PER_BATCH,
            "lr": cfg.SOLVER.BASE_LR,
            "iterations": cfg.SOLVER.MAX_ITER,
            "processes": comm.get_world_size(),
            **so_far(),
            "finished": now(),
            "s_per_iter": round((time.perf_counter() - clock) / max(1, cfg.SOLVER.MAX_ITER - trainer.start_iter), 4),
        },
    )
    # Last, because its presence says that the run is finished.
    write_checkpoint({"model": trainer.checkpointer.model.state_dict()}, run.files.model)
    remove_checkpoints(run.folder)
    curves.path.unlink(missing_ok=True)


def _outdated(run: Run, expected: dict[str, str]) -> bool:
    """Whether the folder holds a finished training that is known to be of other code, settings or data."""
    if not run.files.model.exists():
        return False
    try:
        made = read(run.files.provenance, Provenance)
    except ResultError:
        return False
    return any(getattr(made, key) != value for key, value in expected.items())


def _mark(files: RunFiles) -> None:
    if not files.trained.exists():
        write_text(files.trained, "")


def _discard(files: RunFiles) -> None:
    """Delete everything, the mark of a finished training first."""
    for path in sorted(files.leftovers, key=lambda path: path != files.trained):
        path.unlink()
