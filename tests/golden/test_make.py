"""The golden files are what their script makes, and its plain-Python numbers agree with pycocotools'."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest
from golden import reference
from golden.make import make

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def files_of(folder: Path) -> dict[str, bytes]:
    made = [folder / "coco", folder / "voc"]
    return {str(path.relative_to(folder)): path.read_bytes() for part in made for path in part.rglob("*.*")}


def close(numbers: Any) -> Any:
    """Numbers to the last digits, which another order of summing may change."""
    if isinstance(numbers, dict):
        return {key: close(value) for key, value in numbers.items()}
    if isinstance(numbers, list):
        return [close(value) for value in numbers]
    return pytest.approx(numbers, abs=1e-9) if isinstance(numbers, float) else numbers


def test_the_script_makes_the_files(golden: Path, tmp_path: Path) -> None:
    make(tmp_path)
    assert files_of(tmp_path) == files_of(golden)
    numbers = json.loads((golden / "numbers.json").read_text())
    made = json.loads((tmp_path / "numbers.json").read_text())
    assert made.pop("pycocotools") == importlib.metadata.version("pycocotools")
    assert numbers.pop("pycocotools")
    assert made == close(numbers)


def test_the_plain_loops_agree_with_pycocotools(golden: Path) -> None:
    truth, found = (json.loads((golden / "coco" / f"{name}.json").read_text()) for name in ("truth", "boxes"))
    numbers = json.loads((golden / "numbers.json").read_text())
    honoured = {key: numbers["boxes, ignore honoured"]["metrics"][key] for key in METRICS}
    assert reference.coco_metrics(truth, found, reference.iou) == close(honoured)
    for one in truth["annotations"]:
        one.pop("ignore", None)
    plain = {key: numbers["boxes"]["metrics"][key] for key in METRICS}
    assert reference.coco_metrics(truth, found, reference.iou) == close(plain)


def test_the_data_have_what_real_data_have(golden: Path) -> None:
    truth, found = (json.loads((golden / "coco" / f"{name}.json").read_text()) for name in ("truth", "boxes"))
    objects = truth["annotations"]
    assert sum(one["iscrowd"] for one in objects) >= 5
    assert sum(one.get("ignore", 0) for one in objects) >= 5
    assert all(sum(low <= one["area"] <= high for one in objects) >= 10 for low, high in reference.RANGES.values())
    assert {image["id"] for image in truth["images"]} - {one["image_id"] for one in objects}
    per_class = {one["id"]: sum(other["category_id"] == one["id"] for other in objects) for one in truth["categories"]}
    assert 0 in per_class.values()
    assert {key for key, count in per_class.items() if count} - {one["category_id"] for one in found}
    assert len({one["score"] for one in found}) < len(found) / 2
    crowded = {}
    for one in found:
        place = one["image_id"], one["category_id"]
        crowded[place] = crowded.get(place, 0) + 1
    assert max(crowded.values()) > 100
    metrics = json.loads((golden / "numbers.json").read_text())["boxes"]["metrics"]
    assert metrics["AR1"] < metrics["AR10"] < metrics["AR100"]
    difficult = [one["difficult"] for one in json.loads((golden / "voc" / "truth.json").read_text())["annotations"]]
    assert 5 <= sum(difficult) < len(difficult)
