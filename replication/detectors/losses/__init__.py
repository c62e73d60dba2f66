"""Box regression losses: plain functions of tensors, entered by name in one registry that every head reads."""

from replication.detectors.losses.boxes import giou_loss, iou_loss, log_iou_loss
from replication.detectors.losses.deltas import balanced_l1_loss, l1_loss, smooth_l1_loss
from replication.detectors.losses.overlap import giou, iou
from replication.detectors.losses.own import load_losses
from replication.detectors.losses.registry import (
    BOX_REG_LOSS_REGISTRY,
    BoxRegLoss,
    MatchedBoxes,
    add_box_reg_loss_config,
    box_reg_loss,
    build_box_reg_loss,
)

__all__ = [
    "BOX_REG_LOSS_REGISTRY",
    "BoxRegLoss",
    "MatchedBoxes",
    "add_box_reg_loss_config",
    "balanced_l1_loss",
    "box_reg_loss",
    "build_box_reg_loss",
    "giou",
    "giou_loss",
    "iou",
    "iou_loss",
    "l1_loss",
    "load_losses",
    "log_iou_loss",
    "smooth_l1_loss",
]
