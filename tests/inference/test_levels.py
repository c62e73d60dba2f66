"""Detection of a trained FSAF: the levels that objects select, and test-time augmentation, on the smoke data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import BoxMode

from replication.catalog import Protocol, load_catalog
from replication.datasets import load_split
from replication.inference import levels
from replication.inference.detect import detect
from replication.inference.levels import selects_online, write_levels
from replication.results.files import read_json
from replication.results.run import Run
from replication.training.config import run_config
from replication.training.data import training_records, val_loader
from replication.training.devices import on_device
from replication.training.run import train

VARIANTS = load_catalog().variants


def job_of(job: Run, name: str, **overrides: object) -> Run:
    groups = {group: dict(keys) for group, keys in job.protocol.overrides.items()}
    groups["FSAF"] |= overrides
    protocol = Protocol.model_validate({**job.protocol.model_dump(), "overrides": groups})
    return Run(VARIANTS[name], protocol, 0, job.results)


def test_detect_writes_the_level_and_side_of_every_object(job: Run) -> None:
    job = job_of(job, "fsaf_R50")
    train(job)
    detect(job)
    content = read_json(job.folder / "levels.json", "levels/1")
    split = load_split(job.protocol, "val")
    records = training_records(split.records)
    boxes = [
        BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYWH_ABS) for r in records for a in r["annotations"]
    ]  # no crowds in these data
    assert content["images"] == len(records)
    assert content["levels"] == [3, 4, 5, 6, 7]
    assert (content["heuristic_level"], content["heuristic_size"]) == (5, 28)
    assert len(content["objects"]) == len(boxes)
    assert {level for _, level in content["objects"]} <= {3, 4, 5, 6, 7}
    # Smoke images have 64 to 80 pixels and are resized to a short side of 64.
    scales = [64 / min(r["height"], r["width"]) for r in records for a in r["annotations"]]
    sides = sorted((w * h) ** 0.5 * scale for (_, _, w, h), scale in zip(boxes, scales, strict=True))
    assert sorted(side for side, _ in content["objects"]) == pytest.approx(sides, rel=0.05)


def test_levels_are_those_of_the_model(job: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose choice is known, and a limit on the number of images."""
    job = job_of(job, "fsaf_R50")
    split = load_split(job.protocol, "val")
    cfg = on_device(run_config(job.variant, job.protocol, 0, len(split.classes), tmp_path), torch.device("cpu"))
    model = build_model(cfg).eval()
    assert selects_online(model)
    monkeypatch.setattr(model, "select_levels", lambda batch: [torch.arange(len(batch[0]["instances"])) % 5])
    monkeypatch.setattr(levels, "IMAGES", 2)
    write_levels(model, cfg, split.records, tmp_path / "levels.json")
    content = json.loads((tmp_path / "levels.json").read_text())
    counts = [len(record["annotations"]) for record in training_records(split.records)[:2]]
    assert [level for _, level in content["objects"]] == [3 + i % 5 for count in counts for i in range(count)]


@pytest.mark.parametrize("name", ["fsaf_R50_heuristic", "retinanet_R50"])
def test_other_models_select_nothing(job: Run, name: str, tmp_path: Path) -> None:
    job = job_of(job, name)
    cfg = on_device(run_config(job.variant, job.protocol, 0, 10, tmp_path), torch.device("cpu"))
    assert not selects_online(build_model(cfg))


def test_augmented_test_takes_the_original_images_and_finds_more(job: Run, tmp_path: Path) -> None:
    plain = job_of(job, "fsaf_R50_joint", **{"MODEL.RETINANET.SCORE_THRESH_TEST": 0.0})
    settings = {"MODEL.RETINANET.SCORE_THRESH_TEST": 0.0, "TEST.AUG.ENABLED": True, "TEST.AUG.MIN_SIZES": [48, 96]}
    augmented = job_of(job, "fsaf_R50_joint", **settings)
    augmented = Run(augmented.variant, augmented.protocol, 0, job.results / "augmented")
    split = load_split(job.protocol, "val")
    cfg = run_config(augmented.variant, augmented.protocol, 0, len(split.classes), tmp_path)
    for record, batch in zip(split.records, val_loader(cfg, split.records), strict=True):
        assert tuple(batch[0]["image"].shape[1:]) == (record["height"], record["width"])
    found = []
    for one in (plain, augmented):
        train(one)
        found.append(json.loads(detect(one).read_text()))
    sizes = {record["image_id"]: (record["width"], record["height"]) for record in split.records}
    for each in found[1]:
        x, y, width, height = each["bbox"]
        limits = sizes[each["image_id"]]
        assert x >= 0
        assert y >= 0
        assert x + width <= limits[0] + 1e-3
        assert y + height <= limits[1] + 1e-3
    assert found[0] != found[1]
    assert {each["image_id"] for each in found[1]} == set(sizes)
