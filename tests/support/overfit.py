"""Training a detector on four images until it knows them by heart, and its AP on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.data.datasets import load_coco_json
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from torch import nn

from replication.evaluation import evaluate
from replication.inference.detect import detections


def photographs(root: Path) -> tuple[Path, list[dict[str, Any]]]:
    """The first four with at least two objects, all of them at least 60 pixels large."""
    truth = root / "annotations" / "instances_train2017_ccby.json"
    records = load_coco_json(str(truth), str(root / "train2017"), "coco_mini_overfit")
    by_image: dict[int, list[float]] = {}
    for each in json.loads(truth.read_text())["annotations"]:
        by_image.setdefault(each["image_id"], []).append(each["area"])
    chosen = [r for r in records if len(r["annotations"]) >= 2 and min(by_image[r["image_id"]]) >= 60**2]
    return truth, chosen[:4]


def learn_by_heart(
    cfg: CfgNode, iterations: int, truth: Path, records: list[dict[str, Any]], folder: Path
) -> dict[str, Any]:
    """The metrics on four images of a COCO file, trained on them alone with random numbers of seed 0."""
    assert len(records) == 4
    torch.set_num_threads(1)
    torch.manual_seed(0)
    mapper = DatasetMapper(cfg, is_train=True)
    model = build_model(cfg)
    fit(model, iterations, [mapper(record) for record in records])
    content = json.loads(truth.read_text())
    ids = tuple(sorted(category["id"] for category in content["categories"]))
    look, found = DatasetMapper(cfg, is_train=False), []
    with torch.no_grad():
        for record in records:
            instances = model.eval()([look(record)])[0]["instances"]
            found += detections(instances, record["image_id"], ids)
    chosen = {record["image_id"] for record in records}
    content["images"] = [each for each in content["images"] if each["id"] in chosen]
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] in chosen]
    (folder / "truth.json").write_text(json.dumps(content))
    (folder / "found.json").write_text(json.dumps(found))
    metrics: dict[str, Any] = evaluate(folder / "found.json", folder / "truth.json")["metrics"]
    return metrics


def fit(model: nn.Module, iterations: int, batch: list[dict[str, Any]]) -> None:
    """Train on one batch, AdamW with a one-cycle rate."""
    model = model.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=iterations, pct_start=0.15)
    for _ in range(iterations):
        with EventStorage():
            losses = model(batch)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        schedule.step()
