"""Fixed proposals as a training reads them: those that ``replication.inference.propose`` wrote.

``results/<protocol>/proposals/<RPN's variant>/<split>.json`` says which images have how many; ``<split>.f32`` beside it
holds them as little-endian float32 rows of x1, y1, x2, y2 (pixels of the original image) and objectness logit, best
first. That file is mapped, not read, so the gigabytes of a large data set are never in memory, and no pickle is opened,
which is what the files of Detectron2's PROPOSAL_FILES are. From there on it is Detectron2's mechanism:
MODEL.LOAD_PROPOSALS, its mapper, its PRECOMPUTED_PROPOSAL_TOPK_TRAIN and _TEST.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.structures import BoxMode
from numpy.typing import NDArray

from replication.errors import ResultError
from replication.results.files import read_json

SCHEMA = "proposals/1"
COLUMNS = 5
Record = dict[str, Any]


@dataclass(frozen=True)
class Proposals:
    """The proposals of one split: ``rows`` (P, 5) as in the file, and where in them each image's begin and end."""

    rows: NDArray[np.float32]
    spans: dict[int, tuple[int, int]]

    def add_to(self, record: Record) -> Record:
        """The record with its image's proposals in the fields that Detectron2's mapper takes them from."""
        begin, end = self.spans[record["image_id"]]
        rows = np.array(self.rows[begin:end])
        return {
            **record,
            "proposal_boxes": rows[:, :4],
            "proposal_objectness_logits": rows[:, 4],
            "proposal_bbox_mode": BoxMode.XYXY_ABS,
        }


def proposals_path(results: Path, protocol: str, variant: str, split: str) -> Path:
    """``results/<protocol>/proposals/<variant>/<split>.json``."""
    return results / protocol / "proposals" / variant / f"{split}.json"


def proposals_hash(path: Path) -> str:
    """SHA-256 of the rows that ``<split>.json`` belongs to, as it records it; ResultError when it is not there."""
    return str(_manifest(path)["sha256"])


def open_proposals(path: Path, data_hash: str, image_ids: Iterable[int]) -> Proposals:
    """The proposals of a ``<split>.json``, which must be of the data of that hash and hold every one of the images.

    Raises ResultError when they are missing, of other data, or cut short.
    """
    manifest = _manifest(path)
    if manifest["data_hash"] != data_hash:
        found = manifest["data_hash"]
        raise ResultError(
            f"{path}: data_hash is {found}, now it is {data_hash}: the data have changed; {_advice(path)}"
        )
    rows_path, counts = path.with_suffix(".f32"), manifest["counts"]
    size = rows_path.stat().st_size if rows_path.exists() else 0
    if size != 4 * COLUMNS * sum(counts):
        raise ResultError(f"{rows_path}: has {size} bytes, not {COLUMNS} float32 for each proposal; {_advice(path)}")
    bounds = accumulate(counts, initial=0)
    spans = dict(zip(manifest["image_ids"], pairwise(bounds), strict=True))
    missing = [number for number in image_ids if number not in spans]
    if missing:
        raise ResultError(f"{path}: image_ids: {missing[0]} is missing, and {len(missing) - 1} more; {_advice(path)}")
    rows = np.memmap(rows_path, dtype="<f4", mode="r") if size else np.empty(0, dtype="<f4")
    return Proposals(rows.reshape(-1, COLUMNS), spans)


def _manifest(path: Path) -> Record:
    if not path.exists():
        raise ResultError(f"{path}: no such file: the fixed proposals of this protocol; {_advice(path)}")
    return read_json(path, SCHEMA)


def _advice(path: Path) -> str:
    return f"run `replication proposals --variant {path.parent.name}`"
