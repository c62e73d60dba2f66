"""Variants: one Detectron2 YAML leaf each in ``configs/variants``, read here without Detectron2 and torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from replication.catalog.commands import COMMAND, CommandLeaf, code_files
from replication.catalog.folders import CONFIGS, named_files
from replication.catalog.losses import used_losses
from replication.catalog.papers import State
from replication.catalog.records import Record, parse, read_yaml
from replication.errors import ConfigError

BASE_KEY = "_BASE_"
BUILT_IN = CONFIGS / "variants"

DEFAULTS: dict[str, Any] = {
    "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",
    "MODEL.BACKBONE.NAME": "build_resnet_backbone",
    "MODEL.MASK_ON": False,
    "MODEL.RESNETS.DEPTH": 50,
    "MODEL.RESNETS.NUM_GROUPS": 1,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 64,
    "SOLVER.MAX_ITER": 40000,
    "SOLVER.IMS_PER_BATCH": 16,
}
"""Values that Detectron2 0.6 (config/defaults.py) takes for a key that no file sets."""

OWN_DEFAULTS: dict[str, Any] = {"DATASETS.PROPOSALS_FROM": "", "MODEL.WEIGHTS_FROM": ""}
"""The same for our own keys; all but the last are in the config as well (``replication.detectors.config``)."""

DARKNET53 = "build_darknet53_backbone"

PROPOSALS_SEED = 0
"""The run of the variant DATASETS.PROPOSALS_FROM whose proposals all runs of a protocol share."""


class Variant(Record):
    """One detector at the papers' scale: SOLVER.MAX_ITER ``iterations`` of ``batch`` images, ``masks`` MASK_ON.

    ``proposals_from`` names the variant, an RPN, on whose fixed proposals it is trained and tested; empty for one that
    makes its own. ``weights_from`` names the variant whose weights it takes, tested in another way: it is then a
    test-time variant and never trained itself; empty for one that is. ``source`` is the variant of that name.
    ``losses`` are the users' files that enter the box losses it names.

    A ``command`` is a program of the user's that trains and detects, of the files ``code`` (see ``commands``); such a
    variant has no Detectron2 config, and nothing here knows its schedule. ``trial`` is what the doctor runs instead.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_]+$")
    path: Path
    backbone: str
    meta_architecture: str
    iterations: int
    masks: bool
    batch: int = 16
    proposals_from: str = ""
    weights_from: str = ""
    losses: tuple[Path, ...] = ()
    command: str = ""
    trial: str = ""
    code: tuple[Path, ...] = ()
    source: Variant | None = Field(default=None, exclude=True, repr=False)

    @property
    def trained(self) -> Variant:
        """The variant whose training makes its weights: itself, or of a test-time variant the one that it names.

        Raises ConfigError for one that was read without the variant that it names.
        """
        if self.weights_from and self.source is None:
            raise ConfigError(f"{self.path}: MODEL.WEIGHTS_FROM: {self.weights_from!r} is not a built variant")
        return self.source or self

    @property
    def class_agnostic(self) -> bool:
        """Whether it is an RPN alone, whose detections are proposals without a class."""
        return self.meta_architecture == "ProposalNetwork"

    @property
    def state(self) -> State:
        """A variant that has a file is built; a row may name one that has none yet, which is then planned."""
        return "built"


def read_variants(*folders: Path, losses: Mapping[str, Path] | None = None) -> dict[str, Variant]:
    """All variants of the folders, by name; files named ``_*`` or ``Base*`` are bases that others start from.

    ``losses`` are the users' own by name (``losses.own_losses``).
    """
    variants = {name: read_variant(path, losses) for name, path in named_files(folders, skip=("_", "Base")).items()}
    return {
        name: variant.model_copy(update={"source": variants.get(variant.weights_from)})
        for name, variant in variants.items()
    }


def read_variant(path: Path, losses: Mapping[str, Path] | None = None) -> Variant:
    """The variant of one leaf and its chain of ``_BASE_`` files; ConfigError names the file and the key."""
    config = _merged(path)
    if "run" in config:
        return _command(parse(CommandLeaf, config, path), path)
    values = {key: _value(config, key, default, path) for key, default in (DEFAULTS | OWN_DEFAULTS).items()}
    return parse(
        Variant,
        {
            "name": path.stem,
            "path": path,
            "backbone": "D-53"
            if values["MODEL.BACKBONE.NAME"] == DARKNET53
            else backbone_label(
                values["MODEL.RESNETS.DEPTH"],
                values["MODEL.RESNETS.NUM_GROUPS"],
                values["MODEL.RESNETS.WIDTH_PER_GROUP"],
            ),
            "meta_architecture": values["MODEL.META_ARCHITECTURE"],
            "iterations": values["SOLVER.MAX_ITER"],
            "batch": values["SOLVER.IMS_PER_BATCH"],
            "masks": values["MODEL.MASK_ON"],
            "proposals_from": values["DATASETS.PROPOSALS_FROM"],
            "weights_from": values["MODEL.WEIGHTS_FROM"],
            "losses": used_losses(config, losses or {}),
        },
        path,
    )


def _command(leaf: CommandLeaf, path: Path) -> Variant:
    return Variant(
        name=path.stem,
        path=path,
        backbone=leaf.backbone,
        meta_architecture=COMMAND,
        iterations=0,
        masks=False,
        command=leaf.run,
        trial=leaf.trial,
        code=code_files(leaf, path),
    )


def backbone_label(depth: int, groups: int, width: int) -> str:
    """``R-50`` for a ResNet, ``X-101-64x4d`` for a ResNeXt of 64 groups, each 4 channels wide."""
    return f"R-{depth}" if groups == 1 else f"X-{depth}-{groups}x{width}d"


def resolve(path: Path) -> dict[str, Any]:
    """The mapping of a YAML file merged over its ``_BASE_`` (one or a list), as Detectron2 does.

    A base is a path relative to the file, or the bare name of a file in the built-in ``configs/variants``.
    Without MODEL.WEIGHTS_FROM, which says whose weights these settings are tested with and is no setting. Raises
    ConfigError for a missing base, a cycle, or a section that one of the files gives a plain value.
    """
    config = _merged(path)
    if isinstance(config.get("MODEL"), dict):
        config["MODEL"].pop("WEIGHTS_FROM", None)
    return config


def _merged(path: Path, below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The whole mapping; ``below`` are the files that led here."""
    if path.resolve() in (file.resolve() for file in below):
        chain = " -> ".join(file.name for file in (*below, path))
        raise ConfigError(f"{below[0]}: {BASE_KEY}: the files start from each other in a circle: {chain}")
    content = read_yaml(path)
    merged: dict[str, Any] = {}
    for base in _bases(content.pop(BASE_KEY, []), path):
        if not base.is_file():
            raise ConfigError(
                f"{path}: {BASE_KEY}: {base} does not exist; give a path relative to this file, or the name of a file "
                f"in {BUILT_IN}"
            )
        _merge(_merged(base, (*below, path)), merged, base, "")
    _merge(content, merged, path, "")
    return merged


def _bases(value: Any, path: Path) -> Iterable[Path]:
    names = value if isinstance(value, list) else [value]
    for name in names:
        if not isinstance(name, str) or "://" in name:
            raise ConfigError(f"{path}: {BASE_KEY}: expected the path of a local file, found {name!r}")
        base = path.parent / Path(name).expanduser()
        bare = Path(name).name == name and not base.is_file() and (BUILT_IN / name).is_file()
        yield BUILT_IN / name if bare else base


def _merge(upper: dict[str, Any], into: dict[str, Any], path: Path, prefix: str) -> None:
    for key, value in upper.items():
        if isinstance(value, dict) and key in into:
            if not isinstance(into[key], dict):
                raise ConfigError(f"{path}: {prefix}{key}: is a section here, but a plain value in {BASE_KEY}")
            _merge(value, into[key], path, f"{prefix}{key}.")
        else:
            into[key] = value


def _value(config: dict[str, Any], key: str, default: Any, path: Path) -> Any:
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, dict):
            raise ConfigError(f"{path}: {key}: expected a section of keys above it, found {node!r}")
        if part not in node:
            return default
        node = node[part]
    if type(node) is not type(default):
        raise ConfigError(f"{path}: {key}: expected {type(default).__name__}, found {node!r}")
    return node
