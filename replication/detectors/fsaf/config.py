"""The node MODEL.FSAF. What RetinaNet has too (towers, focal loss, thresholds) is read from MODEL.RETINANET."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode

from replication.errors import ConfigError

BRANCHES = ("anchor_based", "anchor_free")
CHOICES = {
    "LEVEL_SELECTION": ("online", "heuristic"),
    "CELLS": ("inside", "inside_only", "touching", "touching_inclusive"),
    "OTHER_LEVELS": ("negative", "ignored"),
    "SELECTION_CLASSES": ("true", "all"),
}


def add_fsaf_config(cfg: Any) -> None:
    """Add MODEL.FSAF with the paper's values, in place. ``configs/variants/Base-FSAF.yaml`` has their sources."""
    node = cfg.MODEL.FSAF = CfgNode()
    # What is trained and tested: one of the two, or both.
    node.BRANCHES = ["anchor_based", "anchor_free"]
    # Of the anchor-free branch's classification and box loss.
    node.LOSS_WEIGHT = 0.5
    # Level that supervises an object: of the least loss (online) or by the object's size (heuristic).
    node.LEVEL_SELECTION = "online"
    # Heuristic: level of an object of HEURISTIC_SIZE^2 pixels; one level up where the side doubles.
    node.HEURISTIC_LEVEL = 5
    node.HEURISTIC_SIZE = 224
    # Sides of the effective and of the ignored box, as fractions of the object's.
    node.EFFECTIVE_FRACTION = 0.2
    node.IGNORED_FRACTION = 0.5
    # Which cells a box has, an axis at a time. inside: those whose location lies in it, and if none does, the one
    # nearest to its centre; inside_only: possibly none, and then the level cannot be selected; touching: from
    # floor(start) to before ceil(end), at least one; touching_inclusive: from floor(start) to ceil(end).
    node.CELLS = "inside"
    # Location of cell (i, j) of stride s: s (i + CELL_OFFSET), s (j + CELL_OFFSET).
    node.CELL_OFFSET = 0.0
    # Whether the ignored box counts on the levels above and below the selected one too.
    node.IGNORE_ADJACENT_LEVELS = True
    # What an object's effective box is for its class on the levels that are not selected.
    node.OTHER_LEVELS = "negative"
    # Online selection: the focal loss of the object's own class (true) or of all classes (all).
    node.SELECTION_CLASSES = "true"
    # S: the box layer predicts distances in units of S cells.
    node.BOX_SCALE = 4.0
    # Initial bias of the box layer, so that its ReLU lets gradients through.
    node.BOX_BIAS = 0.1


def check_fsaf_config(cfg: Any) -> None:
    """Raise ConfigError naming the key when a word in MODEL.FSAF is unknown or a number out of its range."""
    node = cfg.MODEL.FSAF
    if not node.BRANCHES or len(set(node.BRANCHES)) != len(node.BRANCHES) or set(node.BRANCHES) - set(BRANCHES):
        raise ConfigError(f"MODEL.FSAF.BRANCHES: {list(node.BRANCHES)}: give one or both of {', '.join(BRANCHES)}")
    for key, known in CHOICES.items():
        if node[key] not in known:
            raise ConfigError(f"MODEL.FSAF.{key}: {node[key]!r} is unknown; choose from {', '.join(known)}")
    if not 0 < node.EFFECTIVE_FRACTION <= node.IGNORED_FRACTION <= 1:
        raise ConfigError(
            f"MODEL.FSAF.IGNORED_FRACTION: {node.IGNORED_FRACTION}: expected at least EFFECTIVE_FRACTION "
            f"({node.EFFECTIVE_FRACTION}), which is more than 0, and at most 1"
        )
    for key in ("BOX_SCALE", "HEURISTIC_SIZE"):
        if node[key] <= 0:
            raise ConfigError(f"MODEL.FSAF.{key}: {node[key]}: expected a positive number")
