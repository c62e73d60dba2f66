"""Libra R-CNN: balanced L1 loss, IoU-balanced sampling, balanced feature pyramid, and the RPN that takes them up."""

from replication.detectors.libra.balanced_l1 import BalancedL1, balanced_l1_loss

__all__ = ["BalancedL1", "balanced_l1_loss"]
