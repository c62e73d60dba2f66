"""Outputs of a backbone that is not trained, kept on disk: they are the same for the same image in every run.

A file is named by the content of what went in: the normalised and padded image, bit for bit. The folder it lies in is
named by all else that the numbers depend on: weights, code, packages, kind of device, threads. So a change of any of
them, or an augmented image, finds nothing and is computed, and no file is ever out of date. Whatever is found is what
the backbone gave for that image alone, in float32; a checksum at its end tells a torn file, which is written again.

Several processes may share the folder: a file appears whole, by renaming, and two that compute the same image write the
same bytes. At most ``limit`` bytes are kept; what does not fit is computed each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

Features = dict[str, Tensor]
Shape = tuple[int, int, int]

ABANDONED_S = 3600.0  # a file still unfinished after this was left by a process that was killed
CHECKSUM_BYTES = 32

logger = logging.getLogger(__name__)


def backbone_key(backbone: nn.Module, names: Sequence[str], device: torch.device, code: Path) -> str:
    """Sixteen hex digits of all that decides what the outputs ``names`` are for an image.

    ``code`` is the file that ``backbone`` is written in.
    """
    digest = hashlib.sha256(code.read_bytes())
    digest.update(" ".join(names).encode())
    for package in ("torch", "efficientnet-lite-pytorch"):
        digest.update(f"{package} {metadata.version(package)}\n".encode())
    processor = torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else torch.cuda.get_device_name(device)
    digest.update(f"{device.type} {processor} {torch.get_num_threads()} threads\n".encode())
    for name, value in backbone.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


@dataclass
class FeatureCache:
    """The outputs of one backbone, by image, in ``root``/``key``.

    ``limit`` bounds the bytes of all that ``root`` holds, whatever the backbone. ``writable`` turns false when it is
    reached or a file cannot be written; computing goes on.
    """

    root: Path
    key: str
    limit: int
    writable: bool = True
    _held: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        for path in self.root.glob("*/*"):
            with contextlib.suppress(OSError):  # another process has renamed it
                stat = path.stat()
                if path.suffix == ".part" and time.time() - stat.st_mtime > ABANDONED_S:
                    path.unlink()
                else:
                    self._held += stat.st_size

    def outputs(self, images: Tensor, shapes: Mapping[str, Shape], compute: Callable[[Tensor], Features]) -> Features:
        """The outputs named in ``shapes``, channels last, for images (N, 3, H, W).

        ``shapes`` gives the (C, h, w) of each. What is not kept is computed by ``compute``, one image at a time, so
        that it does not depend on what else is in the batch, and kept.
        """
        found = {
            name: torch.empty(
                (len(images), *shape), device=images.device, dtype=torch.float32, memory_format=torch.channels_last
            )
            for name, shape in shapes.items()
        }
        for index, image in enumerate(images):
            path = self._path(image)
            stored = self._read(path, shapes)
            if stored is None:
                computed = compute(image[None])
                stored = {name: computed[name][0] for name in shapes}
                self._write(path, stored)
            for name, value in stored.items():
                found[name][index] = value
        return found

    def _path(self, image: Tensor) -> Path:
        digest = hashlib.sha256(f"{tuple(image.shape)}".encode())
        digest.update(image.detach().cpu().contiguous().numpy().data)
        return self.root / self.key / f"{digest.hexdigest()}.f32"

    def _read(self, path: Path, shapes: Mapping[str, Shape]) -> Features | None:
        """What ``_write`` wrote; None when there is no file, or another than that."""
        try:
            content = path.read_bytes()
        except OSError:
            return None
        numbers, checksum = content[:-CHECKSUM_BYTES], content[-CHECKSUM_BYTES:]
        sizes = [channels * height * width for channels, height, width in shapes.values()]
        if len(numbers) != 4 * sum(sizes) or hashlib.sha256(numbers).digest() != checksum:
            return None
        parts = np.split(np.frombuffer(bytearray(numbers), dtype=np.float32), np.cumsum(sizes)[:-1])
        return {
            name: torch.from_numpy(part).view(height, width, channels).permute(2, 0, 1)
            for part, (name, (channels, height, width)) in zip(parts, shapes.items(), strict=True)
        }

    def _write(self, path: Path, outputs: Features) -> None:
        if not self.writable:
            return
        numbers = b"".join(value.permute(1, 2, 0).contiguous().cpu().numpy().tobytes() for value in outputs.values())
        if self._held + len(numbers) > self.limit:
            self._stop(f"holds {self._held / 2**30:.1f} GiB, and {self.limit / 2**30:.1f} GiB is the most allowed")
            return
        part = path.with_name(f".{path.stem}.{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(numbers + hashlib.sha256(numbers).digest())
            part.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink()
            self._stop(f"cannot be written ({error.strerror or error})")
            return
        self._held += len(numbers) + CHECKSUM_BYTES

    def _stop(self, reason: str) -> None:
        self.writable = False
        logger.warning(
            "%s: %s: features that are not there yet are computed each time. Results stay the same; to make room "
            "delete the folder while nothing runs",
            self.root,
            reason,
        )
