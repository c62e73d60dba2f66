"""YOLOv3 with a Darknet file on images that nothing was trained on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from PIL import Image

from replication import cli
from replication.catalog import Protocol, load_catalog, load_protocol
from replication.detectors.yolov3 import save_darknet
from replication.errors import ConfigError, WeightsError
from replication.inference.weights import detect_with_weights, model_with_weights
from replication.training.config import run_config
from replication.training.devices import on_device

VARIANT = load_catalog().variants["yolov3_D53_giou"]
IDS = [1, 2, 90]  # with a gap, and not in this order in the file


@pytest.fixture(scope="module")
def protocol() -> Protocol:
    """The paper's, at 64 pixels under narrow heads, so that a file is quick to make."""
    small = {
        "INPUT.MIN_SIZE_TRAIN": [64],
        "INPUT.MAX_SIZE_TRAIN": 64,
        "INPUT.MIN_SIZE_TEST": 64,
        "INPUT.MAX_SIZE_TEST": 64,
        "MODEL.YOLOV3.WIDTHS": [16, 8, 8],
    }
    paper = load_protocol("paper").model_dump()
    return Protocol.model_validate({**paper, "name": "own", "device": "cpu", "overrides": {"YOLOv3": small}})


def config(protocol: Protocol) -> CfgNode:
    return on_device(run_config(VARIANT, protocol, 0, len(IDS), Path("unused")), torch.device("cpu"))


@pytest.fixture(scope="module")
def weights(protocol: Protocol, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random ones, which find something everywhere."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "made_up.weights"
    save_darknet(build_model(config(protocol)), path)
    return path


@pytest.fixture
def images(tmp_path: Path) -> tuple[Path, Path]:
    folder = tmp_path / "images"
    folder.mkdir()
    generator = np.random.default_rng(0)
    listed = []
    for number, (width, height) in enumerate([(90, 60), (50, 100)], 7):
        Image.fromarray(generator.integers(0, 255, (height, width, 3), np.uint8)).save(folder / f"{number}.png")
        listed.append({"id": number, "file_name": f"{number}.png", "width": width, "height": height})
    categories = [{"id": one, "name": f"class {one}"} for one in reversed(IDS)]
    path = tmp_path / "info.json"
    path.write_text(json.dumps({"images": listed, "categories": categories}))
    return path, folder


def test_detections_without_a_training(protocol: Protocol, weights: Path, images: tuple[Path, Path]) -> None:
    found = detect_with_weights(VARIANT, protocol, weights, *images)
    assert {record["image_id"] for record in found} == {7, 8}
    assert {record["category_id"] for record in found} == set(IDS)
    sizes = {7: (90, 60), 8: (50, 100)}
    for record in found:
        x, y, width, height = record["bbox"]
        limit = sizes[record["image_id"]]
        assert min(x, y) >= 0
        assert x + width <= limit[0] + 1e-3
        assert y + height <= limit[1] + 1e-3
        assert 0.005 < record["score"] <= 1


def test_the_model_has_the_file_s_weights(protocol: Protocol, weights: Path) -> None:
    model = model_with_weights(config(protocol), weights)
    assert not model.training
    again = weights.with_name("again.weights")
    save_darknet(model, again)
    assert again.read_bytes() == weights.read_bytes()


def test_what_it_refuses(protocol: Protocol, weights: Path, images: tuple[Path, Path], tmp_path: Path) -> None:
    backbone = tmp_path / "darknet53.conv.74"
    backbone.write_bytes(weights.read_bytes()[:162_482_580])
    with pytest.raises(WeightsError, match=r"conv\.74: holds the backbone alone, which detects nothing"):
        detect_with_weights(VARIANT, protocol, backbone, *images)
    other = load_catalog().variants["retinanet_R50"]
    with pytest.raises(ConfigError, match="goes with a YOLOv3 variant, this is ReplicationRetinaNet"):
        detect_with_weights(other, protocol, weights, *images)
    with pytest.raises(ConfigError, match=r"--weights .*model_final\.pth: not named as a Darknet file"):
        detect_with_weights(VARIANT, protocol, tmp_path / "model_final.pth", *images)
    info = json.loads(images[0].read_text())
    info["categories"].append({"id": 5, "name": "more"})
    images[0].write_text(json.dumps(info))
    with pytest.raises(WeightsError, match="is of a YOLOv3 with 3 classes, the model has 4"):
        detect_with_weights(VARIANT, protocol, weights, *images)
    smoke = load_protocol("smoke")
    with pytest.raises(WeightsError, match="needs a YOLOv3 with backbone D-53"):
        detect_with_weights(VARIANT, smoke, weights, *images)


def test_the_command_line_writes_the_same_records(
    protocol: Protocol, weights: Path, images: tuple[Path, Path], tmp_path: Path
) -> None:
    own, out = tmp_path / "own.yaml", tmp_path / "found" / "detections.json"
    own.write_text(json.dumps(protocol.model_dump(mode="json")))
    given = ["detect", "--protocol", str(own), "--variant", VARIANT.name, "--weights", str(weights)]
    assert cli.main([*given, "--images", str(images[0]), "--image-folder", str(images[1]), "--out", str(out)]) == 0
    assert json.loads(out.read_text()) == detect_with_weights(VARIANT, protocol, weights, *images)


def test_the_command_line_asks_for_all_that_belongs_together(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["detect", "--variant", VARIANT.name, "--weights", str(weights)]) == 2
    assert "--weights, --images, --image-folder and --out belong together" in capsys.readouterr().err


def test_numbers_in_another_order_are_refused(protocol: Protocol, tmp_path: Path) -> None:
    """Of the right length, which is all that the file itself can say."""
    made = build_model(config(protocol))
    with torch.no_grad():
        made.head.levels[0].block[0].norm.running_var.fill_(-0.5)
    save_darknet(made, tmp_path / "other.weights")
    with pytest.raises(WeightsError, match=r"other\.weights: has negative running variances, so its numbers are in"):
        model_with_weights(config(protocol), tmp_path / "other.weights")
