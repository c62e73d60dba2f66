"""FSAF (arXiv 1903.00621): RetinaNet with an anchor-free branch that selects a level for each object in training."""

from replication.detectors.fsaf.config import add_fsaf_config
from replication.detectors.fsaf.meta_arch import FSAF, FSAFHead

__all__ = ["FSAF", "FSAFHead", "add_fsaf_config"]
