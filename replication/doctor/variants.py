"""The doctor's look at what a protocol runs: tables that its data cannot fill, variants that do not build."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from replication.catalog import Catalog, Protocol, Variant, select
from replication.catalog.protocols import SplitName
from replication.datasets.weights import WEIGHTS, find
from replication.doctor.findings import Finding
from replication.errors import ReplicationError
from replication.formats.splits import Split

CLASSES = 2  # of a model that is built only to see whether it can be, where the data cannot be read


def check_variants(catalog: Catalog, protocol: Protocol, splits: dict[SplitName, Split]) -> list[Finding]:
    """Findings about each variant of the protocol's tables; models are built where torch and Detectron2 are there."""
    try:
        variants = [variant for variant, _ in select(catalog, protocol, seeds=1)]
    except ReplicationError as error:
        return [Finding("error", "variants", f"protocol {protocol.name}", str(error), "correct the protocol's tables")]
    findings = _masks(variants, splits)
    for variant in variants:
        if variant.command:
            continue  # tried by `doctor --variant` alone: nothing here knows how long it takes
        try:
            problem = _builds(variant, protocol, splits)
        except ReplicationError as error:
            problem = str(error)
        if problem:
            action = "correct this entry of the protocol or the variant's file"
            findings.append(Finding("error", "variants", variant.name, problem, action))
    built = " and build" if _can_build() else ", not built: torch or detectron2 are not installed"
    text = f"{len(variants)} variants of tables {', '.join(protocol.tables)} fit the data{built}"
    return findings or [Finding("ok", "variants", f"protocol {protocol.name}", text)]


def _masks(variants: list[Variant], splits: dict[SplitName, Split]) -> list[Finding]:
    """Variants that learn masks, for data with objects that have none."""
    learners = ", ".join(variant.name for variant in variants if variant.masks)
    if not learners or "train" not in splits:
        return []
    split = splits["train"]
    objects = [found for record in split.records for found in record["annotations"] if not found["iscrowd"]]
    missing = sum(not found.get("segmentation") for found in objects)
    if not missing:
        return []
    message = f"{missing} of {len(objects)} training objects have no mask, or an empty one; {learners} learn masks"
    action = "choose tables whose variants have no masks, or data with masks"
    return [Finding("error", "data", str(split.root), message, action)]


def _can_build() -> bool:
    return find_spec("torch") is not None and find_spec("detectron2") is not None


def _builds(variant: Variant, protocol: Protocol, splits: dict[SplitName, Split]) -> str | None:
    """What is wrong with a variant's configuration, or the model that it describes; weights are not loaded.

    A stand-in whose weights are not here is told with the weights: its configuration would download them.
    """
    stand_in = protocol.backbones.get(variant.backbone)
    absent = stand_in is not None and (stand_in not in WEIGHTS or find(WEIGHTS[stand_in]) is None)
    if absent or not _can_build():
        return None
    import torch
    from detectron2.modeling import build_model

    from replication.training.checks import check_settings
    from replication.training.config import run_config

    classes = len(splits["train"].classes) if "train" in splits else CLASSES
    cfg = run_config(variant, protocol, 0, classes, Path("."))
    check_settings(cfg)
    cfg.defrost()
    cfg.MODEL.EFFICIENTNET_LITE.WEIGHTS = ""
    cfg.MODEL.DEVICE = "meta"  # shapes without numbers: built in no time
    try:
        with torch.device("meta"):
            build_model(cfg)
    except Exception as error:  # whatever Detectron2 makes of a configuration
        return f"the model cannot be built: {type(error).__name__}: {error}"
    return None
