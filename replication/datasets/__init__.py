"""Data: the embedded set, COCO and VOC readers, checks, download, backbone weights."""

from replication.datasets.records import Split
from replication.datasets.splits import load_split

__all__ = ["Split", "load_split"]
