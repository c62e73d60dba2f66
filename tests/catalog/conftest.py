"""A small, valid configs folder that tests change in one place each."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

COLUMNS = [
    {"id": "AP", "head": "AP", "metric": "AP", "criterion": "iou"},
    {"id": "time", "head": "ms/im", "metric": "ms_per_image", "criterion": None, "unit": "ms"},
]
ROWS = [
    {"id": "quoted", "label": "YOLO", "backbone": "Net-9", "cited": True, "published": {"AP": 20.0, "time": None}},
    {"id": "new", "label": "New", "backbone": "R-50", "variant": "new_R50", "published": {"AP": 37.5, "time": 130}},
    {"id": "old", "label": "Old", "backbone": "R-50", "variant": "old_R50", "published": {"AP": 35.0, "time": 120}},
    {"id": "big", "label": "Big", "backbone": "R-101", "variant": "big_R101", "published": {"AP": 39, "time": 150}},
]
TABLE = {
    "id": "toy-T1",
    "caption": "Old against new",
    "dataset": "MS COCO",
    "benchmark": "coco",
    "split": "val",
    "unit": "percent",
    "criterion": "COCO",
    "source": ["the paper"],
    "seen_via": ["primary"],
    "columns": COLUMNS,
    "baseline": "old",
    "rows": ROWS,
}
PAPER = {
    "id": "toy",
    "title": "Toy",
    "arxiv": "0000.00000",
    "venue": "none",
    "tables": [TABLE],
    "claims": [
        {"id": "c1", "table": "toy-T1", "row": "new", "baseline": "old", "column": "AP", "gain": 2.5, "primary": True},
        {"id": "c2", "table": "toy-T1", "row": "new", "baseline": "old", "column": "time", "gain": 10},
    ],
    "deviations": [
        {
            "id": "d1",
            "paper_says": "a",
            "code_does": "b",
            "we_do": "c",
            "reason": "d",
            "source": "e",
            "variants": ["new_R50"],
        }
    ],
}
VARIANTS: dict[str, dict[str, Any]] = {
    "Base-Toy": {"MODEL": {"META_ARCHITECTURE": "RetinaNet"}, "SOLVER": {"MAX_ITER": 90000}},
    "new_R50": {"_BASE_": "Base-Toy.yaml", "MODEL": {"RESNETS": {"DEPTH": 50}}},
    "old_R50": {"_BASE_": "Base-Toy.yaml"},
}


class Configs:
    """``paper`` and ``variants`` are free to change; ``write`` puts them into files and returns the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paper: dict[str, Any] = copy.deepcopy(PAPER)
        self.others: dict[str, dict[str, Any]] = {}
        self.variants = copy.deepcopy(VARIANTS)

    @property
    def table(self) -> dict[str, Any]:
        return self.paper["tables"][0]

    def row(self, row_id: str) -> dict[str, Any]:
        return next(row for row in self.table["rows"] if row["id"] == row_id)

    def write(self) -> Path:
        for kind, files in (("papers", {"toy": self.paper, **self.others}), ("variants", self.variants)):
            (self.folder / kind).mkdir(exist_ok=True)
            for name, content in files.items():
                (self.folder / kind / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        return self.folder


@pytest.fixture
def configs(tmp_path: Path) -> Configs:
    return Configs(tmp_path)


@pytest.fixture
def make_protocol() -> Callable[..., Any]:
    from replication.catalog import Protocol

    def make(**changes: Any) -> Protocol:
        content: dict[str, Any] = {
            "name": "toy",
            "title": "Toy",
            "data": {"kind": "embedded", "seed": 0, "train": 1, "val": 1, "size": [64, 64]},
            "batch": 1,
            "tables": ["toy-T1"],
            "checkpoint_every": 1,
        }
        return Protocol.model_validate(content | changes)

    return make
