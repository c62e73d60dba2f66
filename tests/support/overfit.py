"""Training a detector on four images until it knows them by heart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from detectron2.data.datasets import load_coco_json
from detectron2.utils.events import EventStorage
from torch import nn


def photographs(root: Path) -> tuple[Path, list[dict[str, Any]]]:
    """The first four with at least two objects, all of them at least 60 pixels large."""
    truth = root / "annotations" / "instances_train2017_ccby.json"
    records = load_coco_json(str(truth), str(root / "train2017"), "coco_mini_overfit")
    by_image: dict[int, list[float]] = {}
    for each in json.loads(truth.read_text())["annotations"]:
        by_image.setdefault(each["image_id"], []).append(each["area"])
    chosen = [r for r in records if len(r["annotations"]) >= 2 and min(by_image[r["image_id"]]) >= 60**2]
    return truth, chosen[:4]


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
