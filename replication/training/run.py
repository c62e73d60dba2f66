"""One run's training: its folder, from nothing to ``model_final.pth``, resumed where it was interrupted."""

from __future__ import annotations

import contextlib
import logging
import os
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import launch
from detectron2.utils import comm
from filelock import FileLock, Timeout
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from replication.catalog import Protocol, Run, Variant
from replication.datasets import data_hash, load_split
from replication.errors import ConfigError, ResultError, TrainingError
from replication.results.files import read_json, write_json, write_text
from replication.results.fingerprint import training_fingerprint
from replication.training.checkpoint import save_atomically
from replication.training.config import config_hash, mask_format, run_config
from replication.training.curves import PARTIAL, Curves, Progress, say
from replication.training.data import Record, training_records
from replication.training.devices import devices, visible_names
from replication.training.proposals import Proposals, open_proposals, proposals_hash, proposals_path
from replication.training.provenance import environment, now, weights
from replication.training.trainer import Checkpoints, Trainer

FINAL = "model_final.pth"
CURVE_POINTS = 200  # lines of curves.jsonl in a whole training, about


@dataclass(frozen=True)
class Job:
    """What a run needs: the variant at a protocol's scale, a seed, and where results go."""

    variant: Variant
    protocol: Protocol
    seed: int
    results: Path

    @property
    def folder(self) -> Path:
        """``results/<protocol>/runs/<variant>/seed<k>``."""
        return Run(protocol=self.protocol.name, variant=self.variant.name, seed=self.seed).folder(self.results)

    @property
    def trained(self) -> Job:
        """The run whose training makes the weights: itself, or of a test-time variant its source's of the same seed."""
        return replace(self, variant=self.variant.trained)

    @property
    def label(self) -> str:
        """For progress lines."""
        return f"{self.variant.name} seed {self.seed}"

    def identity(self) -> dict[str, str]:
        """What a training depends on; two trainings of one folder must agree in it to be the same run."""
        identity = {
            "training_fingerprint": training_fingerprint(self.variant, self.protocol),
            "data_hash": data_hash(self.protocol),
        }
        if self.variant.proposals_from:
            identity["proposals_sha256"] = proposals_hash(self._proposals_path("train"))
        return identity

    def proposals(self, split: str, records: list[Record]) -> Proposals | None:
        """The fixed proposals for the records of a split; None for a variant that makes its own."""
        if not self.variant.proposals_from:
            return None
        ids = (record["image_id"] for record in records)
        return open_proposals(self._proposals_path(split), data_hash(self.protocol), ids)

    def _proposals_path(self, split: str) -> Path:
        return proposals_path(self.results, self.protocol.name, self.variant.proposals_from, split)

    def check_trained(self) -> None:
        """Raise ResultError unless its weights are there, of a run of this code, these settings and these data."""
        run = self.trained
        final = run.folder / FINAL
        if not final.exists():
            raise ResultError(
                f"{final}: no such file; train the run first: `replication train --variant "
                f"{run.variant.name} --seed {run.seed}`"
            )
        check_identity(run, run.identity(), "train it again")


def train(job: Job, restart: bool = False, gpus: int = 1) -> Path:
    """Train a run, or go on with it where it was interrupted; returns the path of ``model_final.pth``.

    Writes ``config.yaml``, ``curves.jsonl``, ``provenance.json`` and the model. A finished run of the same code,
    settings and data is left alone; another one is an error unless ``restart``. With ``gpus`` > 1 Detectron2's
    launcher starts one process a GPU, which share the batch. Raises ReplicationError subclasses, ConfigError for a
    test-time variant, which has no training of its own.
    """
    if job.variant.weights_from:
        raise ConfigError(
            f"--variant {job.variant.name}: is tested with the weights of {job.variant.weights_from} and has no "
            f"training of its own; train that: --variant {job.variant.weights_from}, then detect with this one"
        )
    prepare_process(job.protocol)
    split = load_split(job.protocol, "train")
    records = training_records(split.records)
    cfg = run_config(
        job.variant, job.protocol, job.seed, len(split.classes), job.folder, mask_format(records, job.variant)
    )
    identity = job.identity()
    with _locked(job.folder), devices(job.protocol.device, gpus) as taken:
        if restart:
            _discard(job.folder)
        if (job.folder / FINAL).exists():
            check_identity(job, identity, "give --restart to discard it and train again")
            say(f"{job.label}: already trained")
            return job.folder / FINAL
        _drop_stale(job, identity)
        write_text(job.folder / "config.yaml", cfg.dump())
        if gpus == 1:
            _fit(job, cfg, records, identity, taken[0])
        else:
            _launch(job, cfg, records, identity, taken)
    return job.folder / FINAL


def _launch(job: Job, cfg: CfgNode, records: list[Record], identity: dict[str, str], taken: list[torch.device]) -> None:
    """One process a GPU; they see only the GPUs that this process holds the locks of."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(visible_names(taken))
    try:
        launch(_fit_on_rank, len(taken), dist_url="auto", args=(job, cfg, records, identity))
    except ProcessRaisedException as error:
        message = str(error).strip().rpartition("Error: ")[2]
        raise TrainingError(f"{job.folder}: {message}") from error
    except ProcessExitedException as error:
        raise TrainingError(
            f"{job.folder}: {error}; killed, perhaps for memory. The last checkpoint is kept: run the command again."
        ) from error


def _fit_on_rank(job: Job, cfg: CfgNode, records: list[Record], identity: dict[str, str], kind: str = "cuda") -> None:
    prepare_process(job.protocol)
    on = torch.device(kind) if kind == "cpu" else torch.device(kind, comm.get_local_rank())
    _fit(job, cfg, records, identity, on)


def _fit(job: Job, cfg: CfgNode, records: list[Record], identity: dict[str, str], on: torch.device) -> None:
    made_by = environment(on)  # before the training: the checkout may change under it
    started, clock = now(), time.perf_counter()
    curves = Curves(job.folder, max(1, cfg.SOLVER.MAX_ITER // CURVE_POINTS))
    observers = [curves, Progress(job.label)] if comm.is_main_process() else []
    trainer = Trainer(on_device(cfg, on), records, observers, job.proposals("train", records))
    before = trainer.extra
    resumed_at = [*before.get("resumed_at", []), *([trainer.start_iter] if before else [])]
    if before:
        say(f"{job.label}: resumed at iteration {trainer.start_iter}")

    def so_far() -> dict[str, Any]:
        return {
            **identity,
            "resumed_at": resumed_at,
            "started": before.get("started", started),
            "seconds": round(before.get("seconds", 0.0) + time.perf_counter() - clock, 1),
        }

    trainer.register_hooks([Checkpoints(trainer.checkpointer, job.protocol.checkpoint_every, so_far)])
    trainer.run()
    if not comm.is_main_process():
        return
    curves.finish()
    write_json(
        job.folder / "provenance.json",
        "provenance/1",
        {
            **made_by,
            "protocol": job.protocol.name,
            "variant": job.variant.name,
            "seed": job.seed,
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
    save_atomically({"model": trainer.checkpointer.model.state_dict()}, job.folder / FINAL)
    for path in (*job.folder.glob("checkpoint_*.pth"), job.folder / "last_checkpoint", job.folder / PARTIAL):
        path.unlink(missing_ok=True)


def check_identity(job: Job, identity: dict[str, str], what_to_do: str) -> None:
    """Raise ResultError when the finished run in the folder was made by other code, settings or data."""
    made = read_json(job.folder / "provenance.json", "provenance/1")
    for key, value in identity.items():
        if made.get(key) != value:
            raise ResultError(
                f"{job.folder}: holds a finished run whose {key} is {made.get(key)}, now it is {value}: other code, "
                f"settings or data; {what_to_do}, or choose another --results folder"
            )


def on_device(cfg: CfgNode, on: torch.device) -> CfgNode:
    """The config with MODEL.DEVICE set."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = str(on)
    cfg.freeze()
    return cfg


def prepare_process(protocol: Protocol) -> None:
    """Threads of the protocol; Detectron2 and its libraries keep quiet but for warnings."""
    torch.set_num_threads(protocol.threads)
    # Detectron2's anchors call it in the form that a future torch will not take.
    warnings.filterwarnings("ignore", message="torch.meshgrid")
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # masks, which it only reads
    for name in ("detectron2", "fvcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It logs every exception with a traceback before it raises it again.
    logging.getLogger("detectron2.engine.train_loop").setLevel(logging.CRITICAL)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder; TrainingError when another process does or when it cannot be written."""
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise TrainingError(f"{folder}: another process is working on this run; wait for it or stop it first") from None
    except OSError as error:
        raise TrainingError(f"{folder}: not writable ({error.strerror}); choose another --results folder") from error
    with lock:
        yield


def _drop_stale(job: Job, identity: dict[str, str]) -> None:
    """Remove what an unfinished run of other code, settings or data left."""
    pointer = job.folder / "last_checkpoint"
    if not pointer.exists():
        return
    path = job.folder / pointer.read_text().strip()
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        stale = any(found.get(key) != value for key, value in identity.items())
        reason = "belongs to other code, settings or data"
    except Exception as error:  # torch raises whatever its reader stumbles on
        stale, reason = True, f"is not readable ({str(error).splitlines()[0]})"
    if stale:
        say(f"{job.label}: {path.name} {reason}: the unfinished training is discarded")
        _discard(job.folder)


def _discard(folder: Path) -> None:
    for pattern in ("*.pth", ".*.pth", "last_checkpoint", "*.json", "*.jsonl", ".*.jsonl", "config.yaml"):
        for path in folder.glob(pattern):
            path.unlink()
