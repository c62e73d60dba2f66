"""YOLOv3 learns four images by heart, with each box loss, end to end, to AP > 80."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode
from support.overfit import learn_by_heart, photographs

from replication.catalog import load_catalog, load_protocol
from replication.datasets import load_split
from replication.datasets.splits import coco_paths
from replication.training.config import run_config
from replication.training.run import on_device

ITERATIONS = 400
SIDE = 160


def config(loss: str, classes: int) -> CfgNode:
    """mini's scale, but for a larger loss of boxes, since AP at high overlaps counts here."""
    protocol = load_protocol("mini")
    cfg = run_config(load_catalog().variants[f"yolov3_D53_{loss}"], protocol, 0, classes, Path("unused"))
    cfg = on_device(cfg, torch.device("cpu"))
    cfg.defrost()
    for key in ("MIN_SIZE_TEST", "MAX_SIZE_TEST", "MAX_SIZE_TRAIN"):
        cfg.INPUT[key] = SIDE
    cfg.INPUT.MIN_SIZE_TRAIN = [SIDE]
    scale = SIDE / 416
    anchors = ((10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326))
    cfg.MODEL.YOLOV3.ANCHORS = [[round(side * scale, 1) for side in anchor] for anchor in anchors]
    cfg.MODEL.YOLOV3.BBOX_REG_LOSS_WEIGHT = 5.0
    cfg.MODEL.BACKBONE.FREEZE_AT = 2
    return cfg


def scenes() -> tuple[Path, list[dict[str, Any]]]:
    """Generated ones, for a checkout without photographs beside it: four of smoke's."""
    protocol = load_protocol("smoke")
    records = load_split(protocol, "train").records[:4]
    (truth, _), *_ = coco_paths(protocol.data, "train")
    return truth, records


@pytest.fixture(params=["scenes", "photographs"])
def images(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[dict[str, Any]]]:
    """Ground truth and records of four images."""
    if request.param == "photographs":
        return photographs(request.getfixturevalue("shared") / "data" / "coco_mini")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(request.getfixturevalue("datasets_root")))
    return scenes()


def classes(truth: Path) -> int:
    return len(json.loads(truth.read_text())["categories"])


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("loss", ["mse", "iou", "giou"])
def test_overfits_four_images(loss: str, images: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    truth, records = images
    metrics = learn_by_heart(config(loss, classes(truth)), ITERATIONS, truth, records, tmp_path)
    print(loss, truth, metrics)
    assert metrics["AP"] > 80


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("loss", "weight"), [("iou", 1.0), ("giou", 0.5)])
def test_overfits_with_the_authors_gradient(
    loss: str, weight: float, tmp_path: Path, request: Any, monkeypatch: Any
) -> None:
    """Their gradient is many times the exact one's, and their weights are smaller: 0.5 on COCO, on VOC 1.25 of IoU and
    0.25 of GIoU. At 0.5 IoU loss stays at AP 79 here, at 1 GIoU loss.
    """
    monkeypatch.setenv("DETECTRON2_DATASETS", str(request.getfixturevalue("datasets_root")))
    truth, records = scenes()
    cfg = config(loss, classes(truth))
    cfg.MODEL.YOLOV3.GRADIENT = "released"
    cfg.MODEL.YOLOV3.BBOX_REG_LOSS_WEIGHT = weight
    metrics = learn_by_heart(cfg, ITERATIONS, truth, records, tmp_path)
    print(loss, "released", metrics)
    assert metrics["AP"] > 80
