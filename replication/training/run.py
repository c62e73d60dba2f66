"""One run's training: its folder, from nothing to ``model_final.pth``, resumed where it was interrupted."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import launch
from detectron2.utils import comm
from filelock import FileLock, Timeout
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from replication.datasets import load_split
from replication.errors import ConfigError, TrainingError
from replication.results.files import write_text
from replication.results.layout import RunFiles
from replication.results.run import Run
from replication.results.schemas import Provenance, write
from replication.training.checkpoint import save_atomically
from replication.training.config import config_hash, mask_format, run_config
from replication.training.curves import Curves, Progress, say
from replication.training.data import Record, training_records
from replication.training.devices import devices, on_device, prepare_process, visible_names
from replication.training.identity import check_identity, identity, proposals_of
from replication.training.provenance import environment, now, weights
from replication.training.trainer import Checkpoints, Trainer

CURVE_POINTS = 200  # lines of curves.jsonl in a whole training, about


def train(run: Run, restart: bool = False, gpus: int = 1) -> Path:
    """Train a run, or go on with it where it was interrupted; returns the path of ``model_final.pth``.

    Writes ``config.yaml``, ``curves.jsonl``, ``provenance.json`` and the model. A finished run of the same code,
    settings and data is left alone; another one is an error unless ``restart``. With ``gpus`` > 1 Detectron2's
    launcher starts one process a GPU, which share the batch. Raises ReplicationError subclasses, ConfigError for a
    test-time variant, which has no training of its own.
    """
    if run.variant.weights_from:
        raise ConfigError(
            f"--variant {run.variant.name}: is tested with the weights of {run.variant.weights_from} and has no "
            f"training of its own; train that: --variant {run.variant.weights_from}, then detect with this one"
        )
    prepare_process(run.protocol)
    split = load_split(run.protocol, "train")
    records = training_records(split.records)
    cfg = run_config(
        run.variant, run.protocol, run.seed, len(split.classes), run.folder, mask_format(records, run.variant)
    )
    expected = identity(run)
    with _locked(run.files), devices(run.protocol.device, gpus) as taken:
        for path in run.files.abandoned:
            path.unlink()
        if restart:
            _discard(run.files)
        if run.files.model.exists():
            check_identity(run, expected, "give --restart to discard it and train again")
            say(f"{run.label}: already trained")
            return run.files.model
        _drop_stale(run, expected)
        write_text(run.files.config, cfg.dump())
        if gpus == 1:
            _fit(run, cfg, records, expected, taken[0])
        else:
            _launch(run, cfg, records, expected, taken)
    return run.files.model


def _launch(run: Run, cfg: CfgNode, records: list[Record], expected: dict[str, str], taken: list[torch.device]) -> None:
    """One process a GPU; they see only the GPUs that this process holds the locks of."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(visible_names(taken))
    try:
        launch(_fit_on_rank, len(taken), dist_url="auto", args=(run, cfg, records, expected))
    except ProcessRaisedException as error:
        message = str(error).strip().rpartition("Error: ")[2]
        raise TrainingError(f"{run.folder}: {message}") from error
    except ProcessExitedException as error:
        raise TrainingError(
            f"{run.folder}: {error}; killed, perhaps for memory. The last checkpoint is kept: run the command again."
        ) from error


def _fit_on_rank(run: Run, cfg: CfgNode, records: list[Record], expected: dict[str, str], kind: str = "cuda") -> None:
    prepare_process(run.protocol)
    on = torch.device(kind) if kind == "cpu" else torch.device(kind, comm.get_local_rank())
    _fit(run, cfg, records, expected, on)


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
    save_atomically({"model": trainer.checkpointer.model.state_dict()}, run.files.model)
    for path in (*run.files.checkpoints, run.files.last_checkpoint, curves.path):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(files: RunFiles) -> Iterator[None]:
    """Hold a run's folder; TrainingError when another process does or when it cannot be written."""
    folder, lock = files.folder, FileLock(files.lock, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise TrainingError(f"{folder}: another process is working on this run; wait for it or stop it first") from None
    except OSError as error:
        raise TrainingError(f"{folder}: not writable ({error.strerror}); choose another --results folder") from error
    with lock:
        yield


def _drop_stale(run: Run, expected: dict[str, str]) -> None:
    """Remove what an unfinished run of other code, settings or data left."""
    pointer = run.files.last_checkpoint
    if not pointer.exists():
        return
    path = pointer.with_name(pointer.read_text().strip())
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        stale = any(found.get(key) != value for key, value in expected.items())
        reason = "belongs to other code, settings or data"
    except Exception as error:  # torch raises whatever its reader stumbles on
        stale, reason = True, f"is not readable ({str(error).splitlines()[0]})"
    if stale:
        say(f"{run.label}: {path.name} {reason}: the unfinished training is discarded")
        _discard(run.files)


def _discard(files: RunFiles) -> None:
    for path in files.leftovers:
        path.unlink()
