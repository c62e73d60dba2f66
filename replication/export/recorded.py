"""What a results folder itself says of its data: the protocol's file may have changed since."""

from __future__ import annotations

from collections.abc import Sequence

from replication.results.finished import FinishedRun
from replication.results.layout import Layout
from replication.results.schemas import Data, read


def recorded_data(layout: Layout, runs: Sequence[FinishedRun]) -> str:
    """On how many images the runs were trained and tested, in words."""
    images, objects = runs[0].image_set
    return f"{_trained(layout, runs)}tested on {_count(images)} images with {_count(objects)} objects"


def _trained(layout: Layout, runs: Sequence[FinishedRun]) -> str:
    """Empty where ``data.json`` is absent or of other data."""
    if not layout.data.exists():
        return ""
    data = read(layout.data, Data)
    train = data.splits.get("train")
    own = data.data_hash == runs[0].provenance.data_hash
    return f"trained on {_count(train.images)} images, " if own and train is not None else ""


def _count(number: int | None) -> str:
    return "an unrecorded number of" if number is None else f"{number:,}"
