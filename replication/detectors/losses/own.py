"""Losses of users' own: Python files that enter them in the registry when a model needs them."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from replication.detectors.losses.registry import BOX_REG_LOSS_REGISTRY, BoxRegLoss
from replication.errors import ConfigError

_LOADED: dict[Path, tuple[bytes, dict[str, BoxRegLoss]]] = {}
"""The files that this process has run: their content, and what they entered."""


def load_losses(files: Iterable[Path]) -> None:
    """Enter the losses of ``files``, and no other file's: settings of theirs would become keys of a config.

    A file runs once in a process, and again when its content has changed. Raises ConfigError naming the file, and the
    line where it raises: when it is missing or fails, enters nothing, or enters a name that is taken.
    """
    for name in [name for _, losses in _LOADED.values() for name in losses]:
        BOX_REG_LOSS_REGISTRY.forget(name)
    for path in files:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{path}: not readable: {error.strerror}; restore the file of the loss") from error
        before = _LOADED.get(path)
        if before is None or before[0] != content:
            _LOADED[path] = content, _run(path, content)
        else:
            for loss in before[1].values():
                BOX_REG_LOSS_REGISTRY.register(loss)


def _run(path: Path, content: bytes) -> dict[str, BoxRegLoss]:
    """Run a file; what it has entered."""
    before = dict(BOX_REG_LOSS_REGISTRY)
    module = ModuleType(f"replication_own_losses.{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        exec(compile(content, str(path), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        for name in dict(BOX_REG_LOSS_REGISTRY).keys() - before:
            BOX_REG_LOSS_REGISTRY.forget(name)
        raise ConfigError(f"{path}{_line(error, path)}: {type(error).__name__}: {error}; correct the file") from error
    entered = {name: loss for name, loss in BOX_REG_LOSS_REGISTRY if name not in before}
    if not entered:
        raise ConfigError(f'{path}: enters no loss; write @box_reg_loss("name", on="boxes") above a function')
    return entered


def _line(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError):
        return f": line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f": line {lines[-1]}" if lines else ""
