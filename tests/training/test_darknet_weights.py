"""A training that starts from a Darknet file of the backbone, as the paper's do from darknet53.conv.74."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from replication.catalog import Protocol, load_catalog
from replication.datasets.weights import WEIGHTS
from replication.detectors.yolov3 import save_darknet
from replication.errors import WeightsError
from replication.results.files import read_json, sha256_file
from replication.results.run import Run
from replication.training.checkpoint import read_checkpoint
from replication.training.config import run_config
from replication.training.devices import on_device
from replication.training.run import train
from replication.training.trainer import build_model

BACKBONE_BYTES = 162_482_580


@pytest.fixture
def yolo(job: Run) -> Run:
    """smoke's data on the paper's backbone, with a learning rate of 0."""
    content = job.protocol.model_dump()
    own = {"SOLVER.BASE_LR": 0.0, "INPUT.DARKNET.SIDES": [64], "SOLVER.IMS_PER_PASS": 0}
    overrides = content["overrides"] | {"YOLOv3": content["overrides"]["YOLOv3"] | own}
    changes = {"backbones": {}, "overrides": overrides}
    protocol = Protocol.model_validate(content | changes)
    return Run(load_catalog().variants["yolov3_D53_giou"], protocol, 0, job.results)


def test_the_backbone_starts_from_the_file(yolo: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPLICATION_WEIGHTS", str(tmp_path))
    torch.manual_seed(5)
    made = build_model(on_device(run_config(yolo.variant, yolo.protocol, 0, 10, tmp_path), torch.device("cpu")))
    save_darknet(made, tmp_path / "made.weights")
    path = tmp_path / WEIGHTS["darknet53.conv.74"].path
    path.write_bytes((tmp_path / "made.weights").read_bytes()[:BACKBONE_BYTES])
    train(yolo)
    trained = read_checkpoint(yolo.files.model)["model"]
    for name, value in made.backbone.named_parameters():
        assert torch.equal(trained[f"backbone.{name}"], value), name
    assert not torch.equal(trained["head.levels.0.predict.weight"], made.head.levels[0].predict.weight)
    provenance = read_json(yolo.folder / "provenance.json", "provenance/1")
    assert (provenance["weights"], provenance["weights_sha256"]) == ("darknet53.conv.74", sha256_file(path))


def test_a_download_that_is_a_web_page_is_named(yolo: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPLICATION_WEIGHTS", str(tmp_path))
    path = tmp_path / WEIGHTS["darknet53.conv.74"].path
    path.write_text("<!DOCTYPE html>\n<title>moved</title>")
    with pytest.raises(WeightsError, match=r"darknet53\.conv\.74: not a Darknet weights file \(version"):
        train(yolo)
