"""What the probes of mechanisms have in common: counting by line and column, sizes of objects."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from replication.catalog import AreaRanges

Measure = dict[str, Any]
"""A ``schemas.Measure`` as it is written."""
SIZES = ("small", "medium", "large")


class Probe(Protocol):
    """Measures one mechanism of a model."""

    def look(self, item: dict[str, Any]) -> None:
        """Add one mapped training image."""
        ...

    def measures(self) -> list[Measure]:
        """What was found; measures without an object to measure are left out."""
        ...


class Shares:
    """Counts by line and column, given in percent of their line."""

    def __init__(self) -> None:
        self.counts: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def add(self, line: str, columns: Iterable[str]) -> None:
        """Count one in each column."""
        self.counts[line].update(columns)

    def measure(self, name: str, title: str, columns: Sequence[str]) -> list[Measure]:
        """The measure, in all of the columns; none without a count."""
        values = {
            line: {column: round(100 * found[column] / found.total(), 2) for column in columns}
            for line, found in self.counts.items()
            if found.total()
        }
        return [{"id": name, "title": title, "unit": "%", "values": values}] if values else []


class Means:
    """Sums by line and column, given as their mean."""

    def __init__(self) -> None:
        self.sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.counts: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def add(self, line: str, column: str, value: float) -> None:
        """One more value."""
        self.sums[line][column] += value  # type: ignore[assignment]
        self.counts[line][column] += 1

    def measure(self, name: str, title: str, unit: str = "") -> list[Measure]:
        """The measure, in the columns that there were; none without a value."""
        values = {
            line: {column: round(total / self.counts[line][column], 4) for column, total in found.items()}
            for line, found in self.sums.items()
        }
        return [{"id": name, "title": title, "unit": unit, "values": values}] if values else []


def sizes_of(item: dict[str, Any], areas: AreaRanges) -> list[str]:
    """``small``, ``medium`` or ``large`` of each object, by its area in the image's own pixels as in the evaluation."""
    height, width = item["image"].shape[1:]
    scale = (item["height"] / height) * (item["width"] / width)
    area: Tensor = item["instances"].gt_boxes.area() * scale
    bounds = torch.tensor([areas.small[1], areas.medium[1]])
    return [SIZES[index] for index in torch.bucketize(area.cpu(), bounds).tolist()]
