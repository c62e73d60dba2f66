"""Checkpoints that survive kill -9, a full disk and a flipped bit.

A file is written aside and then renamed, so it is complete or absent. ``NAME.sha256`` beside it, in the format of
sha256sum, is written before the rename and compared whenever the file is read; nothing unverified is unpickled.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, BinaryIO

import torch
from detectron2.checkpoint import DetectionCheckpointer

from replication.errors import ReplicationError, TrainingError, WeightsError
from replication.results.files import replacing, write_text
from replication.results.layout import RunFiles
from replication.training.curves import say

KEPT = 2  # checkpoints of an unfinished run: should the newest be damaged, there is the one before


class AtomicCheckpointer(DetectionCheckpointer):  # type: ignore[misc]
    """Detectron2's checkpointer with verified files. The newest is found by its name; no pointer file is needed."""

    def save(self, name: str, **kwargs: Any) -> None:
        """Write ``name``.pth with the model, all checkpointables and ``kwargs``.

        Raises TrainingError naming the file when it cannot be written; older checkpoints are then still there.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        data = {"model": self.model.state_dict(), **kwargs}
        data.update({key: item.state_dict() for key, item in self.checkpointables.items()})
        write_checkpoint(data, Path(self.save_dir) / f"{name}.pth")

    def has_checkpoint(self) -> bool:
        """Whether the folder holds a checkpoint."""
        return bool(checkpoints(Path(self.save_dir)))

    def get_checkpoint_file(self) -> str:
        """The newest checkpoint's path, or an empty string."""
        return str(next(iter(checkpoints(Path(self.save_dir))), ""))

    def _load_file(self, filename: str) -> dict[str, Any]:
        """A checkpoint of the folder, or backbone weights, whose own SHA-256 the caller has verified."""
        if Path(filename).parent == Path(self.save_dir):
            return read_checkpoint(Path(filename))
        if filename.endswith(".pkl"):  # the weights that Detectron2 publishes
            published: dict[str, Any] = super()._load_file(filename)
            return published
        loaded = torch.load(filename, map_location="cpu", weights_only=True)
        return loaded if "model" in loaded else {"model": loaded}


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of an unfinished run, newest first."""
    return RunFiles(folder).checkpoints[::-1]


def remove_checkpoints(folder: Path, keep: int = 0) -> None:
    """Delete all but the ``keep`` newest checkpoints, with what belongs to them and what a killed process left."""
    kept = {path.name for path in checkpoints(folder)[:keep]}
    for path in (*folder.glob("checkpoint_*.pth*"), *folder.glob(".checkpoint_*.pth*")):
        if path.name.removesuffix(".sha256") not in kept:
            path.unlink(missing_ok=True)


def usable_checkpoint(folder: Path, identity: dict[str, str], label: str) -> Path | None:
    """The newest checkpoint that is intact and belongs to the training of this ``identity``; None for a fresh start.

    Damaged ones are removed, as are all when they belong to other code, settings or data; a line says so.
    """
    for path in checkpoints(folder):
        try:
            content = read_checkpoint(path)
        except WeightsError as error:
            say(f"{label}: {error}; it is removed")
            path.unlink(missing_ok=True)
            continue
        if all(content.get(key) == value for key, value in identity.items()):
            return path
        say(f"{label}: {path.name} belongs to other code, settings or data: the unfinished training is discarded")
        break
    remove_checkpoints(folder)
    return None


def write_checkpoint(data: dict[str, Any], path: Path) -> None:
    """``torch.save`` to a temporary name in the same folder, its SHA-256 beside it, then rename.

    Raises TrainingError naming the file when it cannot be written; what stood at ``path`` is then still there.
    """
    try:
        with replacing(path) as file:
            torch.save(data, file)
            file.flush()
            write_text(_record(path), f"{_sha256(file)}  {path.name}\n")
    except (ReplicationError, RuntimeError) as error:
        # torch reports a full disk as a RuntimeError of its zip writer.
        raise TrainingError(
            f"{path}: cannot write the checkpoint: {error.__cause__ or error}. Free disk space or choose a writable "
            "folder, then run again: training goes on from the last checkpoint."
        ) from error


def read_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """What ``write_checkpoint`` wrote, its tensors on ``device``.

    Raises WeightsError when the file is missing, is not the one that was written, or when its SHA-256 was not recorded.
    """
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            expected = _recorded(path)
            if expected is None:
                raise WeightsError(f"{path}: not verified: {_record(path).name} next to it is missing or empty")
            if found != expected:
                raise WeightsError(
                    f"{path}: damaged: its SHA-256 is {found}, {_record(path).name} next to it says {expected}"
                )
            file.seek(0)
            content: dict[str, Any] = torch.load(file, map_location=device, weights_only=True)
            return content
    except WeightsError:
        raise
    except Exception as error:  # torch raises whatever its reader stumbles on
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: not readable ({reason})") from error


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _recorded(path: Path) -> str | None:
    record = _record(path)
    words = record.read_text(errors="replace").split() if record.exists() else []
    return words[0] if words else None


def _sha256(written: BinaryIO) -> str:
    """Of a file that is open for writing, but readable by its handle."""
    with os.fdopen(os.dup(written.fileno()), "rb") as file:
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()
