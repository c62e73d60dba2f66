"""A run small enough to train in seconds: the smoke protocol's data, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from replication.catalog import load_catalog, load_protocol
from replication.results.run import Run


@pytest.fixture(autouse=True)
def _own_datasets(datasets_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(datasets_root))


@pytest.fixture
def job(tmp_path: Path) -> Run:
    return Run(load_catalog().variants["faster_rcnn_R50_giou"], load_protocol("smoke"), 0, tmp_path / "results")
