"""YOLOv3 learns four images by heart, with each box loss, end to end, to AP > 80."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.data.datasets import load_coco_json
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from torch import nn

from replication.catalog import load_catalog, load_protocol
from replication.datasets import load_split
from replication.datasets.splits import coco_paths
from replication.evaluation import evaluate
from replication.inference.detect import detections
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


def photographs(root: Path) -> tuple[Path, list[dict[str, Any]]]:
    """Of COCO, the first four with at least two objects, all of them at least 60 pixels large."""
    truth = root / "annotations" / "instances_train2017_ccby.json"
    records = load_coco_json(str(truth), str(root / "train2017"), "coco_mini_yolov3")
    by_image: dict[int, list[float]] = {}
    for each in json.loads(truth.read_text())["annotations"]:
        by_image.setdefault(each["image_id"], []).append(each["area"])
    return truth, [r for r in records if len(r["annotations"]) >= 2 and min(by_image[r["image_id"]]) >= 60**2][:4]


def scenes() -> tuple[Path, list[dict[str, Any]]]:
    """Generated ones, for a checkout without photographs beside it: four of smoke's."""
    protocol = load_protocol("smoke")
    records = load_split(protocol, "train").records[:4]
    (truth, _), *_ = coco_paths(protocol.data, "train")
    return truth, records


def fit(model: nn.Module, batch: list[dict[str, Any]]) -> None:
    model = model.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=ITERATIONS, pct_start=0.15)
    for _ in range(ITERATIONS):
        with EventStorage():
            losses = model(batch)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        schedule.step()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("loss", ["mse", "iou", "giou"])
@pytest.mark.parametrize("data", ["scenes", "photographs"])
def test_overfits_four_images(loss: str, data: str, tmp_path: Path, request: Any, monkeypatch: Any) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if data == "photographs":
        truth, records = photographs(request.getfixturevalue("shared") / "data" / "coco_mini")
    else:
        monkeypatch.setenv("DETECTRON2_DATASETS", str(request.getfixturevalue("datasets_root")))
        truth, records = scenes()
    assert len(records) == 4
    content = json.loads(truth.read_text())
    ids = tuple(sorted(category["id"] for category in content["categories"]))
    cfg = config(loss, len(ids))
    mapper = DatasetMapper(cfg, is_train=True)
    model = build_model(cfg)
    fit(model, [mapper(record) for record in records])

    look, found = DatasetMapper(cfg, is_train=False), []
    with torch.no_grad():
        for record in records:
            instances = model.eval()([look(record)])[0]["instances"]
            found += detections(instances, record["image_id"], ids)
    chosen = {record["image_id"] for record in records}
    content["images"] = [each for each in content["images"] if each["id"] in chosen]
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] in chosen]
    (tmp_path / "truth.json").write_text(json.dumps(content))
    (tmp_path / "found.json").write_text(json.dumps(found))
    metrics = evaluate(tmp_path / "found.json", tmp_path / "truth.json")["metrics"]
    print(loss, data, metrics)
    assert metrics["AP"] > 80
