"""What a training iteration costs: of trained runs, or as recorded in the folders' ``costs.yaml``. No torch."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

from pydantic import Field

from replication.catalog import CONFIGS
from replication.catalog.records import Record, parse, read_yaml
from replication.errors import ConfigError, ResultError
from replication.results.layout import Layout
from replication.results.schemas import Provenance, read


class Cost(Record):
    """Recorded seconds per iteration of one variant under one protocol, on ``processes`` GPUs or a core."""

    s_per_iter: float = Field(gt=0)
    processes: int = Field(default=1, ge=1)
    device: str
    source: str


class Speed(Record):
    """How fast a GPU trains, in any unit that all of a file share."""

    relative: float = Field(gt=0)
    source: str


class Costs(Record):
    """``costs.yaml`` of a folder: protocol -> variant -> cost, and the speeds of GPUs by name."""

    costs: dict[str, dict[str, Cost]]
    speeds: dict[str, Speed] = Field(default_factory=dict)


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


@functools.cache
def relative_times(device: str, *folders: Path) -> dict[str, float]:
    """How long what takes 1 on ``device`` takes on each GPU of the first file that knows its speed, without itself."""
    for path in (folder / "costs.yaml" for folder in folders or (CONFIGS,)):
        speeds = parse(Costs, read_yaml(path), path).speeds if path.exists() else {}
        if device in speeds:
            own = speeds[device].relative
            return {name: own / speed.relative for name, speed in speeds.items() if name != device}
    return {}


def iteration_cost(layout: Layout, variant: str, folders: Iterable[Path]) -> Cost | None:
    """That of a run in the same results folder if there is one, else as ``folders`` record it."""
    return _measured(layout, variant) or recorded_costs(*folders).get((layout.protocol, variant))


def _measured(layout: Layout, variant: str) -> Cost | None:
    """That of the variant's first trained run."""
    for _, files in layout.seeds(variant):
        made = readable_provenance(files.provenance)
        if made is not None and made.s_per_iter is not None and made.device is not None:
            source = str(files.provenance)
            return Cost(s_per_iter=made.s_per_iter, processes=made.processes, device=made.device.name, source=source)
    return None


def readable_provenance(path: Path) -> Provenance | None:
    """A trained run's provenance; None when it is absent, broken or of another version."""
    try:
        return read(path, Provenance)
    except ResultError:
        return None
