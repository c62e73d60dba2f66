"""The protocol `night`: its hours, its part of the data, and its whole way on real photographs at smoke length."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from replication.catalog import Protocol, load_catalog, load_protocol
from replication.datasets import load_split, prepare
from replication.evaluation.runs import evaluate_run
from replication.inference.detect import detect
from replication.planning.output import plan_json, plan_table
from replication.planning.plan import make_plan
from replication.results.run import Run
from replication.training.config import run_config
from replication.training.run import train

NIGHT = load_protocol("night")
HOURS = 12


@pytest.mark.parametrize("table", ["giou-T5", "fsaf-T2"])
def test_a_table_of_three_detectors_fits_a_night(table: str, tmp_path: Path) -> None:
    plan = make_plan(load_catalog(), NIGHT, tmp_path, [table])
    document = plan_json(plan)
    assert len(document["runs"]) == 9
    assert document["unknown"] == 0
    assert 0.8 * HOURS < document["seconds"] / 3600 < HOURS
    slower, faster = document["seconds_on"]["A100 40 GB PCIe"], document["seconds_on"]["H100 80 GB SXM"]
    assert document["seconds"] > slower > faster > 0
    assert "h 30 min on one A100" in plan_table(plan) or "h 06 min on one A100" in plan_table(plan)


def test_every_planned_run_has_a_cost(tmp_path: Path) -> None:
    tables = [*NIGHT.tables, "giou-controls", "fsaf-controls"]
    assert plan_json(make_plan(load_catalog(), NIGHT, tmp_path, tables))["unknown"] == 0


def test_other_protocols_are_told_on_their_own_device_alone(tmp_path: Path) -> None:
    plan = make_plan(load_catalog(), load_protocol("paper"), tmp_path, ["giou-T5"])
    assert plan_json(plan)["seconds_on"] == {}
    assert "on other GPUs" not in plan_table(plan)


def test_the_schedule_is_1x_in_epochs(tmp_path: Path) -> None:
    assert NIGHT.data.kind == "coco"
    subset = NIGHT.data.train[0].subset
    assert subset is not None
    for name in ("faster_rcnn_R50_giou", "retinanet_R50"):
        cfg = run_config(load_catalog().variants[name], NIGHT, 0, 80, tmp_path).SOLVER
        assert pytest.approx(90_000 * 16 * subset.share) == cfg.MAX_ITER * cfg.IMS_PER_BATCH
        assert [step / cfg.MAX_ITER for step in cfg.STEPS] == pytest.approx([2 / 3, 8 / 9], abs=1e-3)
    assert not NIGHT.published_scale


def smoke(root: Path) -> Protocol:
    """`night` on the photographs of `coco_mini`, for two iterations of small images on a CPU."""
    splits = {
        split: {"annotations": f"{root}/annotations/instances_{split}2017_ccby.json", "images": f"{root}/{split}2017"}
        for split in ("train", "val")
    }
    data = {"kind": "coco", **splits, "train": splits["train"] | {"subset": {"share": 0.25}}}
    sizes = {"INPUT.MIN_SIZE_TRAIN": [96], "INPUT.MAX_SIZE_TRAIN": 160, "INPUT.MIN_SIZE_TEST": 96}
    changes = {
        "data": data,
        "benchmark": None,
        "iterations": dict.fromkeys(NIGHT.iterations or {}, 9),
        "batch": 2,
        "workers": 0,
        "threads": 1,
        "backbones": {"R-50": "efficientnet_lite0"},
        "overrides": {"all": NIGHT.overrides["all"] | sizes | {"INPUT.MAX_SIZE_TEST": 160, "SOLVER.PRECISION": "fp32"}},
    }
    return Protocol.model_validate(NIGHT.model_dump() | changes)


@pytest.mark.real
@pytest.mark.parametrize("variant", ["faster_rcnn_R50_giou", "fsaf_R50_joint"])
def test_the_whole_way_on_photographs(variant: str, shared: Path, tmp_path: Path) -> None:
    protocol = smoke(shared / "data" / "coco_mini")
    manifest = json.loads(prepare(protocol, tmp_path).read_text())
    assert manifest["splits"]["train"]["images"] == 11  # of 43
    assert len(manifest["splits"]["train"]["subset"]["list_sha256"]) == 64
    assert len(load_split(protocol, "val").records) == 47
    run = Run(load_catalog().variants[variant], protocol, 0, tmp_path)
    train(run)
    detect(run)
    metrics = evaluate_run(run)["metrics"]
    assert 0 <= metrics["AP"] <= 100
