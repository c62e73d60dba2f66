"""All config keys that this package adds to Detectron2's; each component declares its own."""

from __future__ import annotations

from typing import Any

from replication.detectors.box_head import add_roi_levels_config
from replication.detectors.efficientnet_lite import add_efficientnet_lite_config
from replication.detectors.fsaf import add_fsaf_config
from replication.detectors.libra import add_libra_config
from replication.detectors.losses import add_box_reg_loss_config
from replication.detectors.yolov3 import add_yolov3_config


def add_replication_config(cfg: Any) -> None:
    """Add the keys of this package's components to ``cfg`` (a fresh ``get_cfg()``), in place."""
    add_efficientnet_lite_config(cfg)
    add_box_reg_loss_config(cfg)
    add_roi_levels_config(cfg)
    add_fsaf_config(cfg)
    add_yolov3_config(cfg)
    add_libra_config(cfg)
