"""Where a process computes: its threads and its GPUs, each locked, since a workflow's jobs all see device 0."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from detectron2.config import CfgNode
from filelock import FileLock, Timeout

from replication.catalog import Protocol
from replication.errors import TrainingError


@contextlib.contextmanager
def devices(wanted: str, count: int = 1) -> Iterator[list[torch.device]]:
    """``count`` devices: with ``auto`` free GPUs when there are any, else the CPU; ``cpu``; ``cuda``: GPUs or an error.

    While the context is entered, the locks of its GPUs are held; it waits when too few are free.
    """
    seen = 0 if wanted == "cpu" else torch.cuda.device_count()
    if wanted == "cuda" and not seen:
        raise TrainingError("device: cuda was asked for, but torch sees no GPU; use device: auto or cpu")
    if count > max(1, seen):
        raise TrainingError(f"--gpus {count}: torch sees {seen} GPUs; ask for at most that many")
    if not seen:
        yield [torch.device("cpu")]
        return
    with contextlib.ExitStack() as held:
        yield [torch.device("cuda", index) for index in _take(count, seen, held)]


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


def visible_names(taken: list[torch.device]) -> list[str]:
    """What CUDA_VISIBLE_DEVICES must name for child processes to see exactly ``taken``."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(index) for index in range(torch.cuda.device_count())]
    return [names[on.index] for on in taken]


def _take(count: int, seen: int, held: contextlib.ExitStack) -> list[int]:
    while True:
        free = []
        with contextlib.ExitStack() as attempt:
            for index in range(seen):
                identity = torch.cuda.get_device_properties(index).uuid
                lock = FileLock(Path(tempfile.gettempdir()) / f"replication-gpu-{identity}.lock")
                with contextlib.suppress(Timeout):
                    attempt.enter_context(lock.acquire(timeout=0))
                    free.append(index)
                if len(free) == count:
                    held.enter_context(attempt.pop_all())
                    return free
        time.sleep(1.0)
