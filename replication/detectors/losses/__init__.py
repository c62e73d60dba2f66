"""Losses, one a file: plain functions of tensors."""

from replication.detectors.losses.boxes import giou, iou
from replication.detectors.losses.giou_loss import giou_loss
from replication.detectors.losses.iou_loss import iou_loss
from replication.detectors.losses.log_iou_loss import log_iou_loss

__all__ = ["giou", "giou_loss", "iou", "iou_loss", "log_iou_loss"]
