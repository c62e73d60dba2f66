"""FSAF: RetinaNet with an anchor-free branch whose level is chosen for each object while training (arXiv 1903.00621)."""

from replication.detectors.fsaf.config import add_fsaf_config
from replication.detectors.fsaf.head import FSAFHead
from replication.detectors.fsaf.meta_arch import FSAF

__all__ = ["FSAF", "FSAFHead", "add_fsaf_config"]
