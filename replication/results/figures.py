"""Data that a paper's own figures are drawn from: where a file lies, and its schema."""

from __future__ import annotations

from pathlib import Path

from replication.catalog import Protocol

FIGURE_SCHEMA = "figure/1"


def figure_data_path(protocol: Protocol, results: Path, paper: str, name: str) -> Path:
    """``results/<protocol>/figures/data/<paper>/<name>.json``."""
    return results / protocol.name / "figures" / "data" / paper / f"{name}.json"
