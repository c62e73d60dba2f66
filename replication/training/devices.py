"""Where a process computes: its threads and its GPUs, each locked, since a workflow's jobs all see device 0."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import sys
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

# Parameters of mallopt in glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_memory() -> None:
    """Have this process keep the memory of freed tensors for the next ones, where the allocator is glibc's.

    By default a large tensor's pages are given back and, for the next one, cleared again: a twentieth to a tenth of the
    time of a training on a CPU. It costs about a tenth more memory and changes no number.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(AttributeError):  # of another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
        mallopt(_M_TOP_PAD, 64 << 20)


@contextlib.contextmanager
def out_of_memory(advice: str) -> Iterator[None]:
    """Turn what torch raises when memory does not suffice into a TrainingError that ends with ``advice``."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # a GPU's and a CPU's allocator raise RuntimeErrors
        text = " ".join(str(error).split())
        if not isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)) and "allocate memory" not in text:
            raise
        reason = ". ".join(text.split(". ")[:2]).rstrip(".") or "memory allocation failed"
        raise TrainingError(f"out of memory ({reason}): {advice}") from error


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


def _locks(seen: int) -> list[Path]:
    """The lock files of all GPUs, one for each physical GPU whatever its index here is."""
    names = [torch.cuda.get_device_properties(index).uuid for index in range(seen)]
    return [Path(tempfile.gettempdir()) / f"replication-gpu-{name}.lock" for name in names]


def _take(count: int, seen: int, held: contextlib.ExitStack) -> list[int]:
    while True:
        free: list[int] = []
        denied: list[Path] = []
        with contextlib.ExitStack() as attempt:
            for index, path in enumerate(_locks(seen)):
                lock = FileLock(path, mode=0o666)  # for all users of the machine
                try:
                    attempt.enter_context(lock.acquire(timeout=0))
                    free.append(index)
                except Timeout:
                    pass
                except PermissionError:
                    denied.append(path)
                if len(free) == count:
                    held.enter_context(attempt.pop_all())
                    return free
        if seen - len(denied) < count:
            raise TrainingError(
                f"{denied[0]}: the lock of a GPU belongs to user {_owner(denied[0])}, who may be using the GPU; ask "
                "them to delete the file once they are done, or choose another GPU with CUDA_VISIBLE_DEVICES"
            )
        time.sleep(1.0)


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except (KeyError, OSError):
        return "unknown"
