"""Data: the embedded set, COCO and VOC readers, checks, download, backbone weights."""

from replication.datasets.prepare import Prepared, prepare
from replication.datasets.splits import data_hash, ground_truth, load_split, register
from replication.formats.splits import Split

__all__ = ["Prepared", "Split", "data_hash", "ground_truth", "load_split", "prepare", "register"]
