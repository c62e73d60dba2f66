"""Config keys that this package adds to Detectron2's."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode

from replication.detectors.fsaf.config import add_fsaf_config


def add_replication_config(cfg: Any) -> None:
    """Add the nodes of this package's components to ``cfg`` (a fresh ``get_cfg()``), in place."""
    cfg.MODEL.EFFICIENTNET_LITE = CfgNode()
    # efficientnet_lite0, efficientnet_lite1 or efficientnet_lite2
    cfg.MODEL.EFFICIENTNET_LITE.NAME = "efficientnet_lite0"
    # State dict of the ImageNet classifier, its hash verified by who sets it; empty for random weights.
    cfg.MODEL.EFFICIENTNET_LITE.WEIGHTS = ""
    add_fsaf_config(cfg)
