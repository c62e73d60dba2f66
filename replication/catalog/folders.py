"""Folders of papers, variants and protocols: the built-in one, and users' own, which add to it.

A user's folder holds any of ``papers/*.yaml``, ``variants/*.yaml`` and ``protocols/*.yaml`` and, beside them, perhaps
``costs.yaml`` and ``losses/*.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path

from replication.errors import ConfigError

KINDS = ("papers", "variants", "protocols")
VARIABLE = "REPLICATION_CONFIGS"


def _built_in() -> Path:
    """An installed package carries the folder as its data; in a checkout it lies beside the package."""
    installed = Path(str(files("replication") / "configs"))
    return installed if installed.is_dir() else Path(__file__).resolve().parents[2] / "configs"


CONFIGS = _built_in()


def config_folders(added: Iterable[Path] = ()) -> tuple[Path, ...]:
    """The built-in folder, then those of ``$REPLICATION_CONFIGS``, then ``added``, each once.

    Raises ConfigError for a folder that adds nothing or holds what would not be read.
    """
    named = [Path(name) for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]
    folders = {folder.resolve(): folder for folder in (CONFIGS, *named, *added)}
    own = [folder for place, folder in folders.items() if place != CONFIGS.resolve()]
    problems = [f"{folder}: {problem}" for folder in own for problem in _problems(folder)]
    if problems:
        raise ConfigError("\n".join(problems))
    return (CONFIGS, *own)


def _problems(folder: Path) -> Iterator[str]:
    if not folder.is_dir():
        yield f"no such folder; give another to --configs or ${VARIABLE}"
        return
    if not any(any((folder / kind).glob("*.yaml")) for kind in KINDS):
        yield f"has none of {', '.join(f'{kind}/*.yaml' for kind in KINDS)}; give --configs the folder that holds them"
    for path in sorted(path for kind in KINDS for path in (folder / kind).glob("*.yml")):
        yield f"{path.relative_to(folder)}: only files named *.yaml are read; rename it"
    if (folder / "verdicts.yaml").exists():
        yield (
            "verdicts.yaml: the rules of judging are the same for all papers and cannot be replaced; remove it; "
            "the number of seeds that verdicts need is `seeds` of a protocol"
        )


def named_files(places: Iterable[Path], skip: tuple[str, ...] = (), suffix: str = ".yaml") -> dict[str, Path]:
    """The ``*.yaml`` files that lie in any of ``places``, by name, without those whose name starts as ``skip`` says.

    Raises ConfigError naming both files for a name that is defined twice.
    """
    found: dict[str, Path] = {}
    files = (path for place in places for path in sorted(place.glob(f"*{suffix}")))
    for path in (path for path in files if not path.name.startswith(skip)):
        if path.stem in found:
            raise ConfigError(f"{path}: {path.stem!r} is already defined in {found[path.stem]}; rename one of them")
        found[path.stem] = path
    return found
