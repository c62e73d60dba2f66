"""Train and detect: one run's folder, from nothing to ``model_final.pth`` and ``detections.json``."""

from __future__ import annotations

import contextlib
import logging
import os
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.engine import launch
from detectron2.utils import comm
from filelock import FileLock, Timeout
from torch.multiprocessing.spawn import ProcessRaisedException

from replication.catalog import Protocol, Run, Variant
from replication.datasets import Split, data_hash, load_split
from replication.errors import ConfigError, ResultError, TrainingError
from replication.files import read_json, write_json, write_text
from replication.fingerprint import TRAINING, fingerprint
from replication.training.checkpoint import save_atomically
from replication.training.config import build_config, config_hash
from replication.training.curves import Curves, Progress, say
from replication.training.data import training_records
from replication.training.devices import devices, visible_names
from replication.training.provenance import environment, now
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
    def label(self) -> str:
        """For progress lines."""
        return f"{self.variant.name} seed {self.seed}"


def train(job: Job, restart: bool = False, gpus: int = 1) -> Path:
    """Train a run, or go on with it where it was interrupted; returns the path of ``model_final.pth``.

    Writes ``config.yaml``, ``curves.jsonl``, ``provenance.json`` and the model. A finished run of the same config is
    left alone; one of another config is an error unless ``restart``. With ``gpus`` > 1 Detectron2's launcher starts
    one process a GPU, which share the batch. Raises ReplicationError subclasses.
    """
    prepare_process(job.protocol)
    split = load_split(job.protocol, "train")
    cfg = _config(job, split)
    identity = f"{config_hash(cfg)}-{fingerprint(TRAINING)}"
    folder, final = job.folder, job.folder / FINAL
    with _locked(folder), devices(job.protocol.device, gpus) as taken:
        if restart:
            _discard(folder)
        if final.exists():
            _same_config(job, identity)
            say(f"{job.label}: already trained")
            return final
        _drop_stale(job, identity)
        write_text(folder / "config.yaml", cfg.dump())
        if gpus == 1:
            _fit(job, cfg, split, identity, taken[0])
        else:
            _launch(job, cfg, split, identity, taken)
    return final


def _launch(job: Job, cfg: CfgNode, split: Split, identity: str, taken: list[torch.device]) -> None:
    """One process a GPU; they see only the GPUs that this process holds the locks of."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(visible_names(taken))
    try:
        launch(_fit_on_rank, len(taken), dist_url="auto", args=(job, cfg, split, identity))
    except ProcessRaisedException as error:
        raise TrainingError(f"{job.folder}: {str(error).strip().splitlines()[-1]}") from error


def _fit_on_rank(job: Job, cfg: CfgNode, split: Split, identity: str) -> None:
    prepare_process(job.protocol)
    _fit(job, cfg, split, identity, torch.device("cuda", comm.get_local_rank()))


def _fit(job: Job, cfg: CfgNode, split: Split, identity: str, on: torch.device) -> None:
    started, clock = now(), time.perf_counter()
    curves = Curves(job.folder, max(1, cfg.SOLVER.MAX_ITER // CURVE_POINTS))
    observers = [curves, Progress(job.label)] if comm.is_main_process() else []
    trainer = Trainer(on_device(cfg, on), training_records(split.records), identity, observers)
    before = trainer.extra
    resumed_at = [*before.get("resumed_at", []), *([trainer.start_iter] if before else [])]
    extra = {"config_hash": identity, "resumed_at": resumed_at, "started": before.get("started", started)}
    if before:
        say(f"{job.label}: resumed at iteration {trainer.start_iter}")
    trainer.register_hooks([Checkpoints(trainer.checkpointer, job.protocol.checkpoint_every, extra)])
    trainer.run()
    if not comm.is_main_process():
        return
    seconds = time.perf_counter() - clock
    curves.finish()
    write_json(
        job.folder / "provenance.json",
        "provenance/1",
        {
            **environment(on),
            "protocol": job.protocol.name,
            "variant": job.variant.name,
            "seed": job.seed,
            "config_hash": identity,
            "data_hash": data_hash(job.protocol),
            "weights": cfg.MODEL.WEIGHTS or cfg.MODEL.EFFICIENTNET_LITE.NAME,
            "batch": cfg.SOLVER.IMS_PER_BATCH,
            "lr": cfg.SOLVER.BASE_LR,
            "iterations": cfg.SOLVER.MAX_ITER,
            "processes": comm.get_world_size(),
            "resumed_at": resumed_at,
            "started": extra["started"],
            "finished": now(),
            "seconds": round(seconds, 1),
            "s_per_iter": round(seconds / max(1, cfg.SOLVER.MAX_ITER - trainer.start_iter), 4),
        },
    )
    # Last, because its presence says that the run is finished.
    save_atomically({"model": trainer.checkpointer.model.state_dict()}, job.folder / FINAL)
    for path in (*job.folder.glob("checkpoint_*.pth"), job.folder / "last_checkpoint", job.folder / curves.path.name):
        path.unlink(missing_ok=True)


def _config(job: Job, split: Split) -> CfgNode:
    shapes = [a.get("segmentation") for r in split.records for a in r["annotations"] if not a.get("iscrowd", 0)]
    if job.variant.masks and not all(shapes):
        raise ConfigError(
            f"variant {job.variant.name} learns masks, but {shapes.count(None)} of {len(shapes)} objects of protocol "
            f"{job.protocol.name} have none; choose a variant without masks or data with masks"
        )
    # Detectron2 keeps polygons by default, but run-length masks need bitmaps.
    mask_format = "bitmask" if any(isinstance(shape, dict) for shape in shapes) else "polygon"
    return build_config(job.variant, job.protocol, job.seed, len(split.classes), job.folder, mask_format)


def on_device(cfg: CfgNode, on: torch.device) -> CfgNode:
    """The config with MODEL.DEVICE set."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = str(on)
    cfg.freeze()
    return cfg


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder; TrainingError when another process does or when it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "Permission denied")
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise TrainingError(f"{folder}: another process is working on this run; wait for it or stop it first") from None
    except PermissionError as error:
        raise TrainingError(f"{folder}: not writable ({error.strerror}); choose another --results folder") from error


def _same_config(job: Job, identity: str) -> None:
    found = read_json(job.folder / "provenance.json", "provenance/1")["config_hash"]
    if found != identity:
        raise ResultError(
            f"{job.folder}: holds a finished run of another config ({found}, now {identity}); "
            "give --restart to discard it and train again, or choose another --results folder"
        )


def _drop_stale(job: Job, identity: str) -> None:
    """Remove what an unfinished run of another config, or of other code, left."""
    pointer = job.folder / "last_checkpoint"
    if not pointer.exists():
        return
    path = job.folder / pointer.read_text().strip()
    try:
        found = torch.load(path, map_location="cpu", weights_only=False, mmap=True).get("config_hash")
    except (OSError, RuntimeError, EOFError) as error:
        say(f"{job.label}: {path}: not readable ({error}); starting again")
        found = None
    if found != identity:
        say(f"{job.label}: an unfinished training of another config ({found}) is discarded")
        _discard(job.folder)


def _discard(folder: Path) -> None:
    for pattern in ("*.pth", ".*.pth", "last_checkpoint", "*.json", "*.jsonl", ".*.jsonl", "config.yaml"):
        for path in folder.glob(pattern):
            path.unlink()


def prepare_process(protocol: Protocol) -> None:
    """Threads of the protocol; Detectron2 and its libraries keep quiet but for warnings."""
    torch.set_num_threads(protocol.threads)
    # Detectron2's anchors call it in the form that a future torch will not take.
    warnings.filterwarnings("ignore", message="torch.meshgrid")
    for name in ("detectron2", "fvcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It logs every exception with a traceback before it raises it again.
    logging.getLogger("detectron2.engine.train_loop").setLevel(logging.CRITICAL)
