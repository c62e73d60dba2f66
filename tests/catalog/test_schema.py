"""The schemas for editors take what the loader takes, and refuse what it refuses before it compares fields."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from support.paper_problems import PROBLEMS

from replication.catalog import CONFIGS
from replication.catalog.commands import CommandLeaf
from replication.catalog.papers import read_paper
from replication.catalog.protocols import Protocol
from replication.catalog.records import Record, parse
from replication.catalog.schema import paper_schema, protocol_schema, record_schema, variant_schema
from replication.catalog.variants import read_variant
from replication.errors import ConfigError
from replication.planning.costs import Costs
from replication.verdicts.registration import Claim

ROOT = Path(__file__).parents[2]
FOLDERS = (CONFIGS, ROOT / "examples" / "diou")
SCHEMAS = {"papers": paper_schema(), "variants": variant_schema(), "protocols": protocol_schema()}
FILES = [(kind, path) for kind in SCHEMAS for folder in FOLDERS for path in sorted((folder / kind).glob("*.yaml"))]
NOT_IN_A_SCHEMA = {"not a number"}  # JSON has no such value


def refused(schema: dict[str, Any], content: Any) -> list[str]:
    return [f"{list(error.path)}: {error.message}" for error in Draft7Validator(schema).iter_errors(content)]


@pytest.mark.parametrize("schema", [*SCHEMAS.values(), record_schema(Claim), record_schema(Costs)])
def test_they_are_schemas(schema: dict[str, Any]):
    Draft7Validator.check_schema(schema)
    assert refused(schema, [])


@pytest.mark.parametrize(("kind", "path"), FILES, ids=lambda value: getattr(value, "stem", value))
def test_every_built_in_file_is_taken(kind: str, path: Path):
    assert not refused(SCHEMAS[kind], yaml.safe_load(path.read_text()))


def test_costs_are_taken():
    assert not refused(record_schema(Costs), yaml.safe_load((CONFIGS / "costs.yaml").read_text()))


@pytest.mark.parametrize("problem", sorted(PROBLEMS.keys() - NOT_IN_A_SCHEMA))
def test_papers_are_refused_as_the_loader_refuses_their_fields(configs: Any, problem: str):
    spoil, _ = PROBLEMS[problem]
    spoil(configs)
    path = configs.write() / "papers" / "toy.yaml"
    assert bool(refused(SCHEMAS["papers"], yaml.safe_load(path.read_text()))) == fails(lambda: read_paper(path))


def fails(load: Any) -> bool:
    try:
        load()
    except ConfigError:
        return True
    return False


PROTOCOL = {
    "name": "toy",
    "title": "Toy",
    "data": {"kind": "embedded", "seed": 0, "train": 1, "val": 1, "size": [64, 64]},
    "batch": 1,
    "tables": ["toy-T1"],
    "checkpoint_every": 1,
}
PART = {"annotations": "a.json", "images": "a"}
COCO = {"kind": "coco", "train": PART, "val": [PART, PART]}
PROTOCOLS: list[dict[str, Any]] = [
    {},
    {"data": COCO},
    {"data": {"kind": "yolo", "root": "r", "train": "a", "val": ["b"]}},
    {"data": {"kind": "yolo", "root": "r"}},
    {"data": {"kind": "voc", "root": "r", "train": [{"split": "train"}], "val": [{}]}},
    {"data": COCO | {"train": []}},
    {"data": COCO | {"train": "a.json"}},
    {"data": COCO | {"download": "coco2014"}},
    {"data": {"kind": "lvis"}},
    {"data": {"kind": "embedded", "seed": -1, "train": 1, "val": 1, "size": [64, 64]}},
    {"data": {"kind": "embedded", "seed": 0, "train": 1, "val": 1, "size": [64]}},
    {"name": "Toy"},
    {"batch": 0},
    {"tables": []},
    {"tables": "toy-T1"},
    {"threads": 0},
    {"device": "tpu"},
    {"benchmark": "lvis"},
    {"iterations": {"FSAF": 5}},
    {"iterations": {"FSAF": 0}},
    {"iterations": {"DETR": 5}},
    {"batches": {"all": 5}},
    {"overrides": {"all": {"SOLVER.BASE_LR": 0.1}}},
    {"overrides": {"All": {}}},
    {"overrides": {"all": 3}},
    {"withdrawn": [{"claims": [], "reason": "r"}]},
    {"withdrawn": [{"claims": ["c"], "reason": ""}]},
    {"area_ranges": {"small": [0, 1], "medium": [1, 2], "large": [2, 3]}},
    {"area_ranges": {"small": [0], "medium": [1, 2], "large": [2, 3]}},
    {"colour": "red"},
]


@pytest.mark.parametrize("changes", PROTOCOLS, ids=str)
def test_protocols_are_refused_as_the_loader_refuses_them(changes: dict[str, Any]):
    content = PROTOCOL | changes
    loaded = fails(lambda: parse(Protocol, copy.deepcopy(content), Path("toy.yaml")))
    assert bool(refused(SCHEMAS["protocols"], content)) == loaded


VARIANTS: list[dict[str, Any]] = [
    {},
    {"_BASE_": "Base-RCNN-FPN.yaml", "MODEL": {"MASK_ON": True}},
    {"_BASE_": 3},
    {"MODEL": {"MASK_ON": "yes"}},
    {"MODEL": {"RESNETS": {"DEPTH": "50"}}},
    {"MODEL": "RetinaNet"},
    {"SOLVER": {"MAX_ITER": 1.5}},
    {"MODEL": {"WEIGHTS_FROM": ["a"]}},
    {"DATASETS": {"PROPOSALS_FROM": 3}},
    {"run": "train {detections}", "backbone": "R-50"},
    {"run": "train {detections}", "backbone": "R-50", "code": "a.py"},
    {"run": "", "backbone": "R-50"},
    {"run": "train {detections}", "backbone": 50},
    {"run": "train {detections}", "backbone": "R-50", "MODEL": {}},
]


@pytest.mark.parametrize("content", VARIANTS, ids=str)
def test_variants_are_refused_as_the_loader_refuses_them(tmp_path: Path, content: dict[str, Any]):
    path = tmp_path / "variants" / "one.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(content))
    assert bool(refused(SCHEMAS["variants"], content)) == fails(lambda: read_variant(path))


@pytest.mark.parametrize("record", [CommandLeaf, Claim, Costs])
def test_an_unknown_key_is_refused(record: type[Record]):
    assert any("colour" in problem for problem in refused(record_schema(record), {"colour": "red"}))
