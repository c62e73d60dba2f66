"""Data: the embedded set, COCO and VOC readers, checks, download, backbone weights."""

from replication.datasets.prepare import prepare
from replication.datasets.splits import data_hash, ground_truth, load_split, register
from replication.formats.splits import Split

__all__ = ["Split", "data_hash", "ground_truth", "load_split", "prepare", "register"]
