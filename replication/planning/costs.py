"""What a training iteration costs: of finished runs, or as recorded in the folders' ``costs.yaml``. No torch."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from pydantic import Field

from replication.catalog import CONFIGS
from replication.catalog.records import Record, parse, read_yaml
from replication.errors import ConfigError, ResultError
from replication.results.files import read_json


class Cost(Record):
    """Recorded seconds an iteration of one variant under one protocol, on ``processes`` GPUs or a core."""

    s_per_iter: float = Field(gt=0)
    processes: int = Field(default=1, ge=1)
    device: str
    source: str


class Costs(Record):
    """``costs.yaml`` of a folder: protocol -> variant -> cost."""

    costs: dict[str, dict[str, Cost]]


@functools.cache
def recorded_costs(*folders: Path) -> dict[tuple[str, str], Cost]:
    """The costs that ``folders`` (default: the built-in one) record, by protocol and variant.

    Raises ConfigError naming both files for a cost that is recorded twice.
    """
    recorded: dict[tuple[str, str], Cost] = {}
    homes: dict[tuple[str, str], Path] = {}
    for path in (folder / "costs.yaml" for folder in folders or (CONFIGS,)):
        if not path.exists():
            continue
        for protocol, costs in parse(Costs, read_yaml(path), path).costs.items():
            for variant, cost in costs.items():
                key = protocol, variant
                if homes.setdefault(key, path) != path:
                    raise ConfigError(f"{path}: costs.{protocol}.{variant}: is also in {homes[key]}; remove one")
                recorded[key] = cost
    return recorded


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
