"""A protocol's data as splits, whatever they are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from replication.catalog.protocols import CocoData, CocoSplit, EmbeddedData, Protocol
from replication.datasets.coco import read_coco
from replication.datasets.embedded import make_embedded
from replication.datasets.records import Split
from replication.datasets.roots import data_root

SplitName = Literal["train", "val"]


def located(path: str) -> Path:
    """A path of a protocol file: absolute, from the home folder (``~``), or under the data root."""
    return data_root() / Path(path).expanduser()


def load_split(protocol: Protocol, split: SplitName) -> Split:
    """Read and check a protocol's split; the embedded set is made when it is missing. Raises DataError."""
    data = protocol.data
    if isinstance(data, EmbeddedData):
        folder = make_embedded(data) / "coco"
        return read_coco(split, folder / "annotations" / f"instances_{split}.json", folder / split)
    if isinstance(data, CocoData):
        part: CocoSplit = getattr(data, split)
        return read_coco(split, located(part.annotations), located(part.images))
    raise NotImplementedError
