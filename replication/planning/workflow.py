"""The workflow's ``--config``: which plan it asks for, and what the plan's rules need of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from replication.catalog import Catalog, config_folders, load_catalog, load_protocol
from replication.catalog.variants import PROPOSALS_SEED
from replication.errors import ConfigError, did_you_mean
from replication.planning.plan import Plan, make_plan

DEFAULT_PROTOCOL = "mini"


def from_workflow(config: Mapping[str, Any]) -> Plan:
    """The plan of ``snakemake --config protocol=mini tables=giou-T5,giou-T7 seeds=3 backbones=R-50 results=DIR``."""
    known = {"protocol", "tables", "seeds", "backbones", "results", "configs", "gpus"}
    unknown = sorted(set(config) - known)
    if unknown:
        close = did_you_mean(unknown[0], known)
        raise ConfigError(f"--config {unknown[0]}: unknown key; {close}known: {', '.join(sorted(known))}")
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
    folders = _folders(config)
    plan = make_plan(
        load_catalog(*folders),
        load_protocol(_protocol(config), folders),
        Path(_results(config)),
        _list(config.get("tables")),
        config.get("seeds"),
        _list(config.get("backbones")),
    )
    _check_sources(plan)
    return plan


def _check_sources(plan: Plan) -> None:
    """Raise ConfigError for a run that is to be made from another's weights, which was made elsewhere and has none."""
    bare = {(run.variant.name, run.seed): run for run in plan.elsewhere}
    for run in (run for run in plan.runs if run not in plan.elsewhere):
        needed = {"weights": (run.variant.weights_from, run.seed)}
        proposals = run.variant.proposals_from
        if proposals and not plan.layout.proposals(proposals, "val").manifest.exists():
            needed["proposals"] = proposals, PROPOSALS_SEED
        for what, key in needed.items():
            if key in bare:
                raise ConfigError(
                    f"{bare[key].folder}: was made elsewhere and has no weights, but {run.label} needs its {what}; "
                    "import that run too, or choose other tables"
                )


def where(config: Mapping[str, Any]) -> str:
    """The workflow's ``--config`` as options that every verb takes, quoted for a shell.

    Folders of ``$REPLICATION_CONFIGS`` are among them: a job on another machine does not see that variable.
    """
    options = [("protocol", _protocol(config)), ("results", _results(config))]
    options += [("configs", str(folder)) for folder in _folders(config)[1:]]
    return shlex.join([f"--{name}={value}" for name, value in options])


def choice(config: Mapping[str, Any]) -> str:
    """The workflow's ``--config`` as options of the ``plan`` verb, quoted for a shell."""
    tables, backbones, seeds = _list(config.get("tables")), _list(config.get("backbones")), config.get("seeds")
    options = {"tables": tables and ",".join(tables), "backbones": backbones and ",".join(backbones), "seeds": seeds}
    return shlex.join([f"--{name}={value}" for name, value in options.items() if value])


def variant_pattern(catalog: Catalog, trained: bool) -> str:
    """Regular expression of the variants that are trained or, if not ``trained``, of the test-time variants."""
    found = [variant.name for variant in catalog.variants.values() if trained is not bool(variant.weights_from)]
    return "|".join(found) or "(?!)"


def _protocol(config: Mapping[str, Any]) -> str:
    return str(config.get("protocol", DEFAULT_PROTOCOL))


def _results(config: Mapping[str, Any]) -> str:
    return str(config.get("results", "results"))


def _folders(config: Mapping[str, Any]) -> tuple[Path, ...]:
    """The built-in folder first; ``configs`` is one folder, or a list of them."""
    value = config.get("configs", [])
    names = value if isinstance(value, list) else [value]
    if not all(isinstance(name, str) and name for name in names):
        raise ConfigError(f"--config configs: expected a folder or a list of folders; found {value!r}")
    return config_folders(map(Path, names))


def _list(value: Any) -> list[str] | None:
    """Snakemake parses ``a,b`` as text and ``[a, b]`` as a list."""
    if value is None:
        return None
    return [str(item).strip() for item in (value if isinstance(value, list) else str(value).split(","))]
