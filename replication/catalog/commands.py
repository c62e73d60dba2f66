"""Variants that are a program of the user's: a leaf with ``run`` in place of Detectron2 keys.

The program trains a detector of any framework and writes its detections on the validation images. It runs in the folder
of configs that ``variants/`` lies in.
"""

from __future__ import annotations

import string
from pathlib import Path

from pydantic import Field, field_validator

from replication.catalog.records import Record
from replication.errors import ConfigError

COMMAND = "command"
"""What stands for the meta-architecture of such a variant."""

PLACEHOLDERS = {
    "seed": "which run it is: 0, 1, 2, ...",
    "detections": "where to write the detections: COCO's result format, as JSON",
    "folder": "a folder of the run's own, kept when it is interrupted: checkpoints go here",
    "train_annotations": "the training objects, COCO's JSON",
    "train_images": "the folder that the file names in them are relative to",
    "val_annotations": "the validation objects",
    "val_images": "the folder of the validation images",
    "threads": "how many threads to use",
    "gpus": "how many GPUs: those that CUDA_VISIBLE_DEVICES names; 0 for none",
    "python": "the Python that runs this program",
}


class CommandLeaf(Record):
    """A leaf in ``variants/`` whose detector is a command.

    ``run`` is a shell's command with PLACEHOLDERS in braces, which are quoted for the shell; a brace is written twice.
    ``trial`` is what ``replication doctor --variant`` runs in its place, where the whole training takes longer than a
    minute on two images. ``code`` are the files, or patterns as ``*.py``, whose content decides what the command
    computes, relative to the folder of configs. ``backbone`` is that of the rows which name the variant.
    """

    run: str = Field(min_length=1)
    trial: str = ""
    code: tuple[str, ...] = ()
    backbone: str

    @field_validator("run", "trial")
    @classmethod
    def _placeholders(cls, command: str) -> str:
        try:
            names = [name for _, name, _, _ in string.Formatter().parse(command) if name is not None]
        except ValueError as error:
            raise ValueError(f"{error}; write a brace that is no placeholder twice") from None
        unknown = [name for name in names if name not in PLACEHOLDERS]
        if unknown:
            raise ValueError(f"{{{unknown[0]}}} is unknown; known: {', '.join(f'{{{name}}}' for name in PLACEHOLDERS)}")
        if command and "detections" not in names:
            raise ValueError("has no {detections}, which says where to write them")
        return command


def home(path: Path) -> Path:
    """The folder that a leaf's command runs in: the one that ``variants/`` lies in."""
    return path.absolute().parent.parent


def code_files(leaf: CommandLeaf, path: Path) -> tuple[Path, ...]:
    """The files of ``code``, each once. ConfigError for a pattern that no file fits."""
    found: dict[Path, None] = {}
    for pattern in leaf.code:
        if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
            raise ConfigError(f"{path}: code: {pattern!r}: give a path inside {home(path)}")
        files = sorted(file for file in home(path).glob(pattern) if file.is_file())
        if not files:
            raise ConfigError(f"{path}: code: {pattern!r}: no such file in {home(path)}")
        found |= dict.fromkeys(files)
    return tuple(found)
