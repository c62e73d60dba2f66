"""Photographs through the protocol `custom`, end to end: a VOC folder with boxes and a COCO folder with masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.photographs import VocFolder

from replication import cli
from replication.catalog import CONFIGS
from replication.results.files import read_json

HEADS = ("GeneralizedRCNN", "ReplicationRetinaNet")


def protocol_file(folder: Path, data: dict[str, Any], iterations: int, size: int = 128) -> Path:
    """`custom.yaml` as a user would copy it: other data, and shorter and smaller for a test."""
    content = yaml.safe_load((CONFIGS / "protocols" / "custom.yaml").read_text())
    content |= {"name": "own", "data": data, "batch": 2, "iterations": dict.fromkeys(HEADS, iterations)}
    content["overrides"]["all"] |= {
        "INPUT.MIN_SIZE_TRAIN": [size],
        "INPUT.MAX_SIZE_TRAIN": 2 * size,
        "INPUT.MIN_SIZE_TEST": size,
        "INPUT.MAX_SIZE_TEST": 2 * size,
        "SOLVER.WARMUP_ITERS": min(50, iterations // 4),
    }
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def run(protocol: Path, results: Path, variant: str) -> dict[str, Any]:
    where = ["--protocol", str(protocol), "--results", str(results)]
    assert cli.main(["doctor", "--protocol", str(protocol)]) == 0
    assert cli.main(["prepare", *where]) == 0
    for verb in ("train", "detect", "evaluate"):
        assert cli.main([verb, *where, "--variant", variant]) == 0, verb
    assert cli.main(["tables", *where, "--tables", "giou-T5"]) == 0
    return read_json(results / "own" / "runs" / variant / "seed0" / "metrics.json", "metrics/1")


def voc(folder: VocFolder) -> dict[str, Any]:
    return {
        "kind": "voc",
        "root": str(folder.root),
        "train": [{"split": "train"}],
        "val": [{"split": "val"}],
    }


def test_voc_folder(voc_photographs: VocFolder, tmp_path: Path):
    metrics = run(protocol_file(tmp_path, voc(voc_photographs), 4), tmp_path / "results", "faster_rcnn_R50_giou")
    assert metrics["images"] == voc_photographs.images["val"]
    assert sorted(metrics["per_class"]) == list(voc_photographs.classes)
    assert metrics["mask_metrics"] is None


def test_coco_folder_with_masks(coco_photographs: Path, tmp_path: Path):
    """Category ids with gaps, crowds, polygons and run-length masks."""
    data = coco_photographs

    def split(name: str) -> dict[str, str]:
        file = f"instances_{name}2017_ccby.json"
        return {"annotations": str(data / "annotations" / file), "images": str(data / f"{name}2017")}

    protocol = protocol_file(tmp_path, {"kind": "coco", "train": split("train"), "val": split("val")}, 4)
    metrics = run(protocol, tmp_path / "results", "mask_rcnn_R50_giou")
    assert metrics["images"] == len(json.loads(Path(split("val")["annotations"]).read_text())["images"])
    assert metrics["mask_metrics"]["AP"] is not None
    found = json.loads((tmp_path / "results/own/runs/mask_rcnn_R50_giou/seed0/detections.json").read_text())
    truth = json.loads((tmp_path / "results/own/ground_truth.json").read_text())
    assert {one["category_id"] for one in found} <= {one["id"] for one in truth["categories"]}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_voc_folder_is_learnt(voc_photographs: VocFolder, tmp_path: Path):
    """A longer training; of BCCD, white cells are large and easy, so most are found."""
    protocol = protocol_file(tmp_path, voc(voc_photographs), 300, size=240)
    metrics = run(protocol, tmp_path / "results", "faster_rcnn_R50_giou")
    assert metrics["metrics"]["AP50"] > 40
