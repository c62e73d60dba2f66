"""The workflow's ``--config``: which plan it asks for, and what the plan's rules need of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from replication.catalog import Catalog, load_catalog, load_protocol
from replication.errors import ConfigError
from replication.planning.plan import Plan, make_plan

DEFAULT_PROTOCOL = "mini"


def from_workflow(config: Mapping[str, Any]) -> Plan:
    """The plan of ``snakemake --config protocol=mini tables=giou-T5,giou-T7 seeds=3 backbones=R-50 results=DIR``."""
    known = {"protocol", "tables", "seeds", "backbones", "results", "gpus"}
    unknown = sorted(set(config) - known)
    if unknown:
        raise ConfigError(f"--config {unknown[0]}: unknown key; known: {', '.join(sorted(known))}")
    for key in ("seeds", "gpus"):
        value = config.get(key, 1)
        if not isinstance(value, int) or value < 1:
            raise ConfigError(f"--config {key}: expected a whole number of at least 1; found {value!r}")
    if not isinstance(config.get("results", ""), str):
        raise ConfigError(f"--config results: expected a folder; found {config['results']!r}")
    if set(config.get("results", "")) & set("{}"):
        raise ConfigError(
            f"--config results: {config['results']}: Snakemake reads braces as wildcards; choose a folder without them"
        )
    return make_plan(
        load_catalog(),
        load_protocol(str(config.get("protocol", DEFAULT_PROTOCOL))),
        Path(config.get("results", "results")),
        _list(config.get("tables")),
        config.get("seeds"),
        _list(config.get("backbones")),
    )


def where(config: Mapping[str, Any]) -> str:
    """The workflow's ``--config`` as options of every verb, quoted for a shell."""
    protocol, results = config.get("protocol", DEFAULT_PROTOCOL), config.get("results", "results")
    return shlex.join([f"--protocol={protocol}", f"--results={results}"])


def choice(config: Mapping[str, Any]) -> str:
    """The workflow's ``--config`` as options of the ``plan`` verb, quoted for a shell."""
    tables, backbones, seeds = _list(config.get("tables")), _list(config.get("backbones")), config.get("seeds")
    options = {"tables": tables and ",".join(tables), "backbones": backbones and ",".join(backbones), "seeds": seeds}
    return shlex.join([f"--{name}={value}" for name, value in options.items() if value])


def variant_pattern(catalog: Catalog, trained: bool) -> str:
    """Regular expression of the variants that are trained or, if not ``trained``, of the test-time variants."""
    found = [variant.name for variant in catalog.variants.values() if trained is not bool(variant.weights_from)]
    return "|".join(found) or "(?!)"


def _list(value: Any) -> list[str] | None:
    """Snakemake parses ``a,b`` as text and ``[a, b]`` as a list."""
    if value is None:
        return None
    return [str(item).strip() for item in (value if isinstance(value, list) else str(value).split(","))]
