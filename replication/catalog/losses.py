"""Box losses of users' own: ``losses/*.py`` of a folder of configs, read here without being run.

A file enters a loss with ``@box_reg_loss("name", on=...)`` above a function of the module. Which losses a file enters
is read from its text, so that the catalog and a run's fingerprint know it without torch.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from replication.catalog.folders import named_files
from replication.errors import ConfigError

DECORATOR = "box_reg_loss"
BUILT_IN = ("balanced_l1", "giou", "iou", "l1", "log_iou", "mse", "smooth_l1")
"""Names that a file cannot enter: those of ``replication.detectors.losses``, and YOLOv3's own."""
NODES = ("ROI_BOX_HEAD", "RPN", "RETINANET", "YOLOV3")
"""Nodes under MODEL whose BBOX_REG_LOSS_TYPE names a loss."""


def own_losses(folders: Iterable[Path]) -> dict[str, Path]:
    """The file of every loss that ``losses/*.py`` of the folders enter, by the loss's name.

    Raises ConfigError for a file that is no Python or enters nothing, and for a name that is taken.
    """
    found: dict[str, Path] = {}
    for path in named_files([folder / "losses" for folder in folders], skip=("_",), suffix=".py").values():
        for name in _entered(path):
            if name in BUILT_IN:
                raise ConfigError(f"{path}: loss {name!r}: there is a built-in loss of that name; choose another name")
            if name in found:
                raise ConfigError(f"{path}: loss {name!r}: is already entered in {found[name]}; rename one of them")
            found[name] = path
    return found


def used_losses(config: Mapping[str, Any], losses: Mapping[str, Path]) -> tuple[Path, ...]:
    """The files of the losses that a variant's config names."""
    return tuple(dict.fromkeys(losses[name] for name in _named(config) if name in losses))


def _named(config: Mapping[str, Any]) -> Iterator[str]:
    model = config.get("MODEL")
    for node in NODES:
        section = model.get(node) if isinstance(model, dict) else None
        name = section.get("BBOX_REG_LOSS_TYPE") if isinstance(section, dict) else None
        if isinstance(name, str):
            yield name


def _entered(path: Path) -> list[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise ConfigError(f"{path}: line {error.lineno}: not Python: {error.msg}") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not readable as Python: {error}") from error
    names = [name for node in tree.body if isinstance(node, ast.FunctionDef) for name in _decorated(node)]
    if not names:
        raise ConfigError(
            f'{path}: enters no loss; write @{DECORATOR}("name", on="boxes") above a function of the module, or start '
            "the file's name with _ where it is none"
        )
    return names


def _decorated(function: ast.FunctionDef) -> Iterator[str]:
    for one in function.decorator_list:
        if not isinstance(one, ast.Call):
            continue
        called = one.func.attr if isinstance(one.func, ast.Attribute) else getattr(one.func, "id", None)
        given = [*one.args[:1], *(word.value for word in one.keywords if word.arg == "name")]
        if called == DECORATOR and given and isinstance(given[0], ast.Constant) and isinstance(given[0].value, str):
            yield given[0].value
