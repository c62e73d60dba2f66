"""Libra R-CNN: balanced L1 loss, IoU-balanced sampling, balanced feature pyramid, and the RPN that takes them up."""

from replication.detectors.libra.pyramid import BalancedPyramid, BottomUpPath, innermost_builder
from replication.detectors.libra.rpn import ReplicationRPN
from replication.detectors.libra.sampling import BalancedSampler, log_negative_bins
from replication.detectors.losses.balanced_l1 import BalancedL1, balanced_l1_loss

__all__ = [
    "BalancedL1",
    "BalancedPyramid",
    "BalancedSampler",
    "BottomUpPath",
    "ReplicationRPN",
    "balanced_l1_loss",
    "innermost_builder",
    "log_negative_bins",
]
