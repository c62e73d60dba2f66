"""The resolved Detectron2 config of a run: the variant's file, then the protocol, then the data."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode, get_cfg

from replication.catalog import Protocol, Variant
from replication.catalog.schedule import training_iterations
from replication.catalog.variants import resolve
from replication.datasets.weights import weights_path
from replication.detectors import add_replication_config, use_backbone
from replication.detectors.losses import load_losses
from replication.errors import ConfigError
from replication.results.files import sha256_json
from replication.training.augmentation import add_darknet_input_config
from replication.training.averaging import add_averaging_config
from replication.training.data import Record
from replication.training.precision import add_precision_config

# The runs of a variant differ in the seed alone; where a run lies and what it runs on is not what it computes.
# Weights files are verified against pinned hashes, so their names suffice.
NOT_HASHED = (
    *("SEED", "OUTPUT_DIR", "MODEL.DEVICE", "DATALOADER.NUM_WORKERS"),
    *(f"MODEL.EFFICIENTNET_LITE.{name}" for name in ("WEIGHTS", "CACHE", "CACHE_GIB")),
)

MAX_SEED = 2**32 - 1  # numpy's limit; torch takes more


def add_training_config(cfg: CfgNode) -> None:
    """Keys of the training room: ``SOLVER.OPTIMIZER`` is ``sgd`` (the papers') or ``adamw``.

    ``SOLVER.IMS_PER_PASS`` images of a process's share are passed through the model at once, 0 for all of them; their
    gradients add up to the batch's. ``DATASETS.TRAIN_SHARE`` is the part of the training images that is used, the same
    ones in every run. See ``augmentation`` for ``INPUT.DARKNET``, ``averaging`` for ``SOLVER.WEIGHT_AVERAGE``,
    ``precision`` for ``SOLVER.PRECISION`` and ``SOLVER.COMPILE``.
    """
    cfg.SOLVER.OPTIMIZER = "sgd"
    cfg.SOLVER.BACKBONE_LR_FACTOR = 1.0
    cfg.SOLVER.IMS_PER_PASS = 0
    cfg.DATASETS.TRAIN_SHARE = 1.0
    cfg.SOLVER.SEED_OFFSET = 0
    add_averaging_config(cfg)
    add_darknet_input_config(cfg)
    add_precision_config(cfg)


def check_seed(seed: int) -> None:
    """Raise ConfigError for a seed that torch's or numpy's generators do not take."""
    if not 0 <= seed <= MAX_SEED:
        raise ConfigError(f"--seed {seed}: expected a whole number from 0 to {MAX_SEED}")


def run_config(
    variant: Variant,
    protocol: Protocol,
    seed: int,
    num_classes: int,
    output: Path,
    mask_format: str = "polygon",
    features: Path | None = None,
) -> CfgNode:
    """The frozen config of one run. ``features`` is where those of a frozen backbone are kept, if the protocol says so.

    Order: Detectron2's defaults, the variant's YAML, the linear rule for the protocol's batch, the protocol's
    stand-in backbone, its schedule, its overrides (``Protocol.groups``), the data.
    Raises ConfigError naming the file and key for an unknown key or a value of a wrong type, and for a command.
    """
    check_seed(seed)
    if variant.command:
        raise ConfigError(f"{variant.path}: run: is a command, not a model that is built here")
    load_losses(variant.losses)  # before the config: a loss may have settings
    cfg = get_cfg()
    add_replication_config(cfg)
    add_training_config(cfg)
    try:
        cfg.merge_from_other_cfg(CfgNode(resolve(variant.path)))
    except (KeyError, ValueError, AssertionError) as error:
        raise ConfigError(f"{variant.path}: {_reason(error)}") from error
    scale_schedule(cfg, protocol.batch_of(variant.meta_architecture))
    _use_backbone(cfg, variant, protocol)
    if protocol.iterations is not None:
        _set_iterations(cfg, training_iterations(variant.trained, protocol))
    for group in protocol.groups(variant.meta_architecture):
        for key, value in protocol.overrides.get(group, {}).items():
            _override(cfg, key, value, f"protocol {protocol.name}: overrides.{group}.{key}")
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = num_classes
    cfg.MODEL.RETINANET.NUM_CLASSES = num_classes
    cfg.MODEL.YOLOV3.NUM_CLASSES = num_classes
    cfg.INPUT.MASK_FORMAT = mask_format
    cfg.SEED = seed + cfg.SOLVER.SEED_OFFSET
    cfg.OUTPUT_DIR = str(output)
    cfg.MODEL.EFFICIENTNET_LITE.CACHE = str(features) if features else ""
    cfg.DATALOADER.NUM_WORKERS = protocol.workers
    cfg.freeze()
    return cfg


def mask_format(records: list[Record], variant: Variant) -> str:
    """INPUT.MASK_FORMAT that fits the records; ConfigError when the variant learns masks and objects have none.

    Detectron2's default is ``polygon``; run-length masks need ``bitmask``.
    """
    shapes = [a.get("segmentation") for r in records for a in r["annotations"] if not a.get("iscrowd", 0)]
    missing = sum(not shape for shape in shapes)
    if variant.masks and missing:
        raise ConfigError(
            f"variant {variant.name} learns masks, but {missing} of {len(shapes)} training objects have none; "
            "choose a variant without masks or data with masks"
        )
    return "bitmask" if any(isinstance(shape, dict) for shape in shapes) else "polygon"


def scale_schedule(cfg: CfgNode, batch: int) -> None:
    """Linear rule: with ``batch`` images instead of the variant's, the learning rate is multiplied by
    batch / reference and all iteration counts by reference / batch, so the number of epochs stays.
    """
    reference = cfg.SOLVER.IMS_PER_BATCH
    if batch == reference:
        return
    factor = batch / reference
    cfg.SOLVER.BASE_LR *= factor
    cfg.SOLVER.MAX_ITER = round(cfg.SOLVER.MAX_ITER / factor)
    cfg.SOLVER.STEPS = tuple(round(step / factor) for step in cfg.SOLVER.STEPS)
    cfg.SOLVER.WARMUP_ITERS = round(cfg.SOLVER.WARMUP_ITERS / factor)
    cfg.SOLVER.IMS_PER_BATCH = batch


def check_schedule(cfg: CfgNode, variant: Variant, protocol: Protocol) -> None:
    """Raise ConfigError unless each drop of the learning rate has an iteration of its own before the end."""
    marks = [0, *cfg.SOLVER.STEPS, cfg.SOLVER.MAX_ITER]
    if any(first >= second for first, second in pairwise(marks)):
        raise ConfigError(
            f"protocol {protocol.name}: iterations: variant {variant.name} has SOLVER.MAX_ITER {cfg.SOLVER.MAX_ITER} "
            f"and SOLVER.STEPS {list(cfg.SOLVER.STEPS)}: expected ascending numbers between 0 and MAX_ITER; give more "
            "iterations"
        )


def config_hash(cfg: CfgNode) -> str:
    """Twelve hex digits of everything in the config, but the seed, that decides what a run computes."""
    flat = dict(_flatten(cfg))
    return sha256_json({key: value for key, value in flat.items() if key not in NOT_HASHED})[:12]


def _use_backbone(cfg: CfgNode, variant: Variant, protocol: Protocol) -> None:
    stand_in = protocol.backbones.get(variant.backbone)
    if stand_in is not None:
        use_backbone(cfg, stand_in, weights_path(stand_in))
    elif protocol.backbones:
        raise ConfigError(
            f"protocol {protocol.name}: backbones: no stand-in for {variant.backbone} of variant {variant.name}"
        )


def _set_iterations(cfg: CfgNode, total: int) -> None:
    # Rounded down: a drop must come before the end.
    cfg.SOLVER.STEPS = tuple(step * total // cfg.SOLVER.MAX_ITER for step in cfg.SOLVER.STEPS)
    cfg.SOLVER.MAX_ITER = total


def _override(cfg: CfgNode, key: str, value: Any, where: str) -> None:
    try:
        cfg.merge_from_list([key, value])
    except (KeyError, ValueError, AssertionError) as error:
        raise ConfigError(f"{where}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return str(error.args[0]) if error.args else type(error).__name__


def _flatten(cfg: CfgNode, prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in cfg.items():
        if isinstance(value, CfgNode):
            pairs += _flatten(value, f"{prefix}{key}.")
        else:
            pairs.append((f"{prefix}{key}", value))
    return pairs
