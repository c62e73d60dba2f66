"""Checkpoints that survive kill -9 and a full disk: written aside, then renamed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer

from replication.errors import ReplicationError, TrainingError
from replication.results.files import replacing, write_text
from replication.results.layout import RunFiles


class AtomicCheckpointer(DetectionCheckpointer):  # type: ignore[misc]
    """Detectron2's checkpointer; a file is complete or absent, and ``last_checkpoint`` names a complete one."""

    def save(self, name: str, **kwargs: Any) -> None:
        """Write ``name``.pth with the model, all checkpointables and ``kwargs``, then point last_checkpoint at it.

        Raises TrainingError naming the file when it cannot be written; older checkpoints are then still there.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        data = {"model": self.model.state_dict(), **kwargs}
        data.update({key: item.state_dict() for key, item in self.checkpointables.items()})
        save_atomically(data, Path(self.save_dir) / f"{name}.pth")
        self.tag_last_checkpoint(f"{name}.pth")

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Point ``last_checkpoint`` at a file of the same folder."""
        write_text(RunFiles(Path(self.save_dir)).last_checkpoint, last_filename_basename)


def save_atomically(data: dict[str, Any], path: Path) -> None:
    """``torch.save``, all of it or not at all; TrainingError naming the file when it cannot be written."""
    try:
        with replacing(path) as file:
            torch.save(data, file)
    except (ReplicationError, RuntimeError) as error:
        # torch reports a full disk as a RuntimeError of its zip writer.
        raise TrainingError(
            f"{path}: cannot write the checkpoint: {error.__cause__ or error}. Free disk space or choose a writable "
            "folder, then run again: training goes on from the last checkpoint."
        ) from error
