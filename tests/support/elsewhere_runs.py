"""Results of the protocol `smoke` whose runs are simulated detections: prepared data, and files to import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.simulation import coco_documents, detector, population

from replication.results.files import write_json, write_text
from replication.results.layout import Layout

SKILLS = {"faster_rcnn_R50_smooth_l1": 0.8, "faster_rcnn_R50_iou": 0.9, "faster_rcnn_R50_giou": 1.4, "own": 1.6}
TRUTH = population(7, 40, 3, tail=0.6)


def records(variant: str, seed: int) -> list[dict[str, Any]]:
    """COCO's result list of one run."""
    place = list(SKILLS).index(variant)
    _, found = coco_documents(TRUTH, detector(TRUTH, 100 * seed + place, SKILLS[variant], per_image=10))
    return list(found)


def detections(folder: Path, variant: str, seed: int) -> Path:
    """The same in a file."""
    path = folder / f"{variant}_{seed}.json"
    write_text(path, json.dumps(records(variant, seed)))
    return path


def prepare(results: Path, data_hash: str = "d", protocol: str = "smoke") -> Layout:
    """What `replication prepare` leaves."""
    layout = Layout(results, protocol)
    document, _ = coco_documents(TRUTH, detector(TRUTH, 0, 1.0, per_image=1))
    write_text(layout.ground_truth, json.dumps(document))
    names = [one["name"] for one in document["categories"]]
    ids = [one["id"] for one in document["categories"]]
    splits = {name: {"folder": name} for name in ("train", "val")}
    write_json(layout.data, "data/1", {"data_hash": data_hash, "classes": names, "category_ids": ids, "splits": splits})
    return layout
