"""One training a GPU: a lock per device, since a workflow starts several jobs that all see device 0."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from filelock import FileLock, Timeout

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
