"""Libra R-CNN: IoU-balanced sampling and balanced feature pyramid; its balanced L1 is one of ``detectors.losses``."""

from replication.detectors.libra.config import add_libra_config
from replication.detectors.libra.pyramid import BalancedPyramid, BottomUpPath
from replication.detectors.libra.sampling import BalancedSampler, log_negative_bins

__all__ = ["BalancedPyramid", "BalancedSampler", "BottomUpPath", "add_libra_config", "log_negative_bins"]
