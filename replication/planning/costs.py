"""What a training iteration costs: of finished runs, or as recorded in ``configs/costs.yaml``. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from replication.catalog import CONFIGS
from replication.catalog.records import Record, parse, read_yaml
from replication.errors import ResultError
from replication.results.files import read_json


class Cost(Record):
    """Recorded seconds an iteration of one variant under one protocol, on ``processes`` GPUs or a core."""

    s_per_iter: float = Field(gt=0)
    processes: int = Field(default=1, ge=1)
    device: str
    source: str


class Costs(Record):
    """``configs/costs.yaml``: protocol -> variant -> cost."""

    costs: dict[str, dict[str, Cost]]


def recorded_costs() -> Costs:
    """What the repository records."""
    path = CONFIGS / "costs.yaml"
    return parse(Costs, read_yaml(path), path)


def measured_cost(folder: Path) -> Cost | None:
    """That of the first finished run in a variant's folder; None without one."""
    for path in sorted(folder.glob("seed*/provenance.json")):
        made = readable_provenance(path)
        if made is not None:
            device = made["device"]["name"]
            return Cost(s_per_iter=made["s_per_iter"], processes=made["processes"], device=device, source=str(path))
    return None


def readable_provenance(path: Path) -> dict[str, Any] | None:
    """A finished run's provenance; None when it is absent, broken or of another version."""
    try:
        return read_json(path, "provenance/1")
    except ResultError:
        return None
