"""Compute the data of a paper's own figures, by the paper's module in ``replication.inference.papers``."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from replication.catalog import Catalog, FigureData, Protocol
from replication.errors import ConfigError
from replication.results.files import check_writable, write_json
from replication.results.layout import Layout
from replication.results.run import Run
from replication.results.schemas import FIGURE_SCHEMA
from replication.training.identity import check_trained

Compute = Callable[[Run | None], dict[str, Any]]


def write_figure_data(catalog: Catalog, protocol: Protocol, results: Path, paper: str, name: str) -> Path:
    """Write ``results/<protocol>/figures/data/<paper>/<name>.json``; returns its path.

    Raises ConfigError for a paper that is unknown or has no such data, ResultError when the run that they are computed
    from is not trained.
    """
    declared = _declared(catalog, paper, name)
    compute, run = _compute(paper, name), None
    if declared.variant is not None:
        run = Run(catalog.variant(declared.variant), protocol, declared.seed, results)
        check_trained(run)
    path = Layout(results, protocol.name).figure_data(paper, name)
    check_writable(path.parent)
    write_json(path, FIGURE_SCHEMA, compute(run))
    return path


def _declared(catalog: Catalog, paper: str, name: str) -> FigureData:
    if paper not in catalog.papers:
        raise ConfigError(f"figures: --paper {paper}: unknown; known: {', '.join(catalog.papers)}")
    declared = {data.name: data for data in catalog.papers[paper].figure_data}
    if name not in declared:
        known = ", ".join(declared) or "none"
        raise ConfigError(f"figures: --name {name}: paper {paper} declares no such figure_data; declared: {known}")
    return declared[name]


def _compute(paper: str, name: str) -> Compute:
    module = f"replication.inference.papers.{paper}"
    found = importlib.util.find_spec(module) if paper.isidentifier() else None
    functions: dict[str, Compute] = importlib.import_module(module).COMPUTE if found else {}
    if name not in functions:
        raise ConfigError(
            f"papers/{paper}.yaml: figure_data: {name}: nothing computes it; add it to COMPUTE of "
            f"replication/inference/papers/{paper}.py, or leave it out"
        )
    return functions[name]
