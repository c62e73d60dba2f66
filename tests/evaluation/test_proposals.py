"""Average recall of proposals: by hand, and against a matching written again without pycocotools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from replication.errors import ResultError
from replication.evaluation.matching import COCO_AREAS
from replication.evaluation.proposals import describe_proposals, proposal_recall
from replication.formats.detections import read_detections
from replication.formats.truth import read_ground_truth

THRESHOLDS = np.arange(0.5, 0.96, 0.05)


def files(folder: Path, objects: list[dict[str, Any]], proposals: list[tuple[int, list[float], float]]) -> list[Path]:
    truth = {
        "images": [{"id": k} for k in (1, 2)],
        "categories": [{"id": 3, "name": "a"}, {"id": 5, "name": "b"}],
        "annotations": [{"id": k, "category_id": 3 + 2 * (k % 2), **one} for k, one in enumerate(objects, 1)],
    }
    found = [{"image_id": image, "category_id": 3, "bbox": box, "score": score} for image, box, score in proposals]
    paths = [folder / "proposals.json", folder / "truth.json"]
    for path, content in zip(paths, (found, truth), strict=True):
        path.write_text(json.dumps(content))
    return paths


def evaluated(proposals: Path, ground_truth: Path) -> dict[str, Any]:
    truth = read_ground_truth(ground_truth)
    return describe_proposals(truth, read_detections(proposals, truth), COCO_AREAS)


def test_by_hand(tmp_path: Path) -> None:
    """Two of three objects are hit, one exactly and one at IoU 0.6, whatever the class; the third is missed."""
    objects = [
        {"image_id": 1, "bbox": [0, 0, 10, 10]},
        {"image_id": 1, "bbox": [50, 50, 10, 10]},
        {"image_id": 2, "bbox": [0, 0, 20, 20]},
    ]
    proposals = [(1, [0, 0, 10, 10], 0.1), (1, [50, 50, 10, 6], -2.0), (2, [100, 100, 5, 5], 3.0)]
    result = evaluated(*files(tmp_path, objects, proposals))
    # IoU 1 counts at ten thresholds, IoU 0.6 at 0.50, 0.55 and 0.60.
    assert result["metrics"]["AR100"] == pytest.approx(100 * (10 + 3) / 30)
    assert result["metrics"]["AR1000"] == result["metrics"]["AR100"]
    assert result["metrics"]["AP"] is None
    assert (result["images"], result["objects"], result["per_class"]) == (2, 3, {})


def test_the_limit_takes_the_best_scores(tmp_path: Path) -> None:
    objects = [{"image_id": 1, "bbox": [0, 0, 10, 10]}]
    misses = [(1, [100.0 + k, 100, 5, 5], 10.0 - k / 100) for k in range(100)]
    paths = files(tmp_path, objects, [*misses, (1, [0, 0, 10, 10], -5.0)])
    metrics = evaluated(*paths)["metrics"]
    assert (metrics["AR100"], metrics["AR300"]) == (0, 100)


def test_one_proposal_finds_one_object(tmp_path: Path) -> None:
    twin = {"image_id": 1, "bbox": [0, 0, 10, 10]}
    paths = files(tmp_path, [twin, twin], [(1, [0, 0, 10, 10], 0.5)])
    assert evaluated(*paths)["metrics"]["AR100"] == 50


def test_crowds_are_neither_found_nor_missed(tmp_path: Path) -> None:
    objects = [{"image_id": 1, "bbox": [0, 0, 10, 10]}, {"image_id": 1, "bbox": [30, 30, 9, 9], "iscrowd": 1}]
    paths = files(tmp_path, objects, [(1, [0, 0, 10, 10], 0.5)])
    assert evaluated(*paths)["metrics"]["AR100"] == 100


def test_no_proposals_at_all(tmp_path: Path) -> None:
    paths = files(tmp_path, [{"image_id": 1, "bbox": [0, 0, 10, 10]}], [])
    assert evaluated(*paths)["metrics"]["AR300"] == 0


def test_broken_proposals_are_named(tmp_path: Path) -> None:
    paths = files(tmp_path, [{"image_id": 1, "bbox": [0, 0, 10, 10]}], [(9, [0, 0, 1, 1], 0.5)])
    with pytest.raises(ResultError, match=r"proposals\.json: detections\[0\]: image_id 9"):
        evaluated(*paths)


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(axis=2)
    area = [(x[:, 2:] - x[:, :2]).prod(axis=1) for x in (a, b)]
    return both / (area[0][:, None] + area[1][None] - both)


def recalled(truth: dict[int, np.ndarray], proposals: dict[int, np.ndarray], limit: int) -> float:
    """COCO's greedy matching again; proposals are x1, y1, x2, y2, score."""
    found = total = 0
    for image, boxes in truth.items():
        total += len(boxes) * len(THRESHOLDS)
        best = proposals[image][np.argsort(-proposals[image][:, 4], kind="stable")][:limit]
        ious = overlap(best[:, :4], boxes)
        for threshold in THRESHOLDS:
            free = np.ones(len(boxes), dtype=bool)
            for row in ious:
                able = np.where(free & (row >= threshold - 1e-10), row, -1.0)
                if able.max() >= 0:
                    free[able.argmax()] = False
            found += (~free).sum()
    return 100 * found / total


def test_against_another_implementation(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    truth, proposals, objects, records = {}, {}, [], []
    for image in (1, 2):
        corner = random.uniform(0, 150, (12, 2))
        truth[image] = np.hstack([corner, corner + random.uniform(10, 60, (12, 2))])
        near = truth[image][random.integers(0, 12, 400)] + random.normal(0, 6, (400, 4))
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        proposals[image] = np.hstack([near, random.normal(0, 3, (400, 1))])
        for x1, y1, x2, y2 in truth[image].tolist():
            objects.append({"image_id": image, "bbox": [x1, y1, x2 - x1, y2 - y1]})
        for x1, y1, x2, y2, score in proposals[image].tolist():
            records.append((image, [x1, y1, x2 - x1, y2 - y1], score))
    paths = files(tmp_path, objects, records)
    ground_truth = read_ground_truth(paths[1])
    got = proposal_recall(ground_truth, read_detections(paths[0], ground_truth), counts=(10, 100, 300))
    for limit in (10, 100, 300):
        assert got[f"AR{limit}"] == pytest.approx(recalled(truth, proposals, limit), abs=1e-9)
    assert 0 < got["AR10"] < got["AR100"] < got["AR300"] < 100
