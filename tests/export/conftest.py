"""Result folders of finished runs, made up or of real detections."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from replication.catalog import Catalog, load_catalog
from replication.results.files import write_json
from replication.results.layout import Layout

AddRun = Callable[..., Path]


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return load_catalog()


@pytest.fixture
def add_run(tmp_path: Path) -> AddRun:
    """Writes a finished run; AP is given, the other metrics follow from it."""

    def add(
        protocol: str,
        variant: str,
        seed: int = 0,
        ap: float = 40.0,
        commit: str = "abc",
        provenance: dict[str, Any] | None = None,
        **document: Any,
    ) -> Path:
        folder = Layout(tmp_path, protocol).run(variant, seed).folder
        metrics = {"AP": ap, "AP50": ap + 20, "AP75": ap + 2, "APs": None, "APm": ap, "APl": ap + 10, "AR100": ap + 5}
        identity = {"protocol": protocol, "variant": variant, "seed": seed}
        giou = {name: None if value is None else value - 1 for name, value in metrics.items()}
        body = {"metrics": metrics, "giou_metrics": giou, "mask_metrics": None, "images": 300, "objects": 1238}
        write_json(folder / "metrics.json", "metrics/1", identity | body | document)
        made_by = {
            "commit": commit, "dirty": False, "config_hash": f"c-{variant}", "data_hash": "d", "fingerprint": "f",
            "cpu": "a processor (2 cores)", "device": {"type": "cpu", "name": "cpu"}, "processes": 1,
            "iterations": 550, "batch": 8,
        }  # fmt: skip
        write_json(folder / "provenance.json", "provenance/1", identity | made_by | (provenance or {}))
        return folder

    return add
