"""Darknet's files: the network that they describe, against two other implementations, and what is no such file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from replication.detectors import Darknet53
from replication.detectors.yolov3 import load_darknet, save_darknet
from replication.detectors.yolov3.head import YOLOv3Head
from replication.detectors.yolov3.weights import convolutions
from replication.errors import WeightsError

GOLDEN = Path(__file__).parents[1] / "golden" / "yolov3" / "parity_yolov3_arch.npz"
BYTES = {80: 248_007_048, 20: 246_714_648, 10: 246_499_248}  # 80, 20: of the published files
BACKBONE_BYTES = 162_482_580  # of the published darknet53.conv.74


class Network(torch.nn.Module):
    """Backbone and head alone."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.backbone = Darknet53()
        self.head = YOLOv3Head([1024, 512, 256], [512, 256, 128], num_classes)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        features = self.backbone(x)
        outputs: list[torch.Tensor] = self.head([features[name] for name in ("res5", "res4", "res3")])
        return outputs


def layers(classes: int) -> Iterator[tuple[int, int, int, bool]]:
    """(in, out, kernel, BatchNorm) of the file's convolutions, from the description of YOLOv3, not from the package."""
    yield 3, 32, 3, True
    for channels, blocks in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
        yield channels // 2, channels, 3, True
        for _ in range(blocks):
            yield channels, channels // 2, 1, True
            yield channels // 2, channels, 3, True
    for first, n, lateral in ((1024, 512, None), (768, 256, 512), (384, 128, 256)):
        if lateral:
            yield lateral, n, 1, True
        for channels_in, channels, kernel in (
            *((first, n, 1), (n, 2 * n, 3), (2 * n, n, 1), (n, 2 * n, 3)),
            *((2 * n, n, 1), (n, 2 * n, 3)),
        ):
            yield channels_in, channels, kernel, True
        yield 2 * n, 3 * (5 + classes), 1, False


def write_made_up(path: Path, classes: int, seed: int) -> None:
    """The file of the golden arrays: every value drawn from one stream, in the order of the file."""
    random = np.random.RandomState(seed)
    with path.open("wb") as file:
        np.array([0, 2, 0], "<i4").tofile(file)
        np.array([0], "<i8").tofile(file)
        for channels_in, channels, kernel, norm in layers(classes):
            ranges = [(-0.1, 0.1), *([(0.9, 1.1), (-0.1, 0.1), (0.5, 1.5)] if norm else [])]
            for low, high in ranges:
                random.uniform(low, high, channels).astype("<f4").tofile(file)
            bound = np.sqrt(3 / (channels_in * kernel * kernel))
            random.uniform(-bound, bound, (channels, channels_in, kernel, kernel)).astype("<f4").tofile(file)


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    golden = np.load(GOLDEN)
    path = tmp_path_factory.mktemp("darknet") / "made_up.weights"
    write_made_up(path, int(golden["classes"]), int(golden["seed"]))
    assert path.stat().st_size == int(golden["file_bytes"]) == BYTES[20]
    return path


def test_outputs_are_those_of_other_implementations(made_up: Path) -> None:
    golden = np.load(GOLDEN)
    size, seed = int(golden["size"]), int(golden["seed"])
    x = torch.from_numpy(np.random.RandomState(seed + 1).uniform(0, 1, (1, 3, size, size)))
    network = Network(int(golden["classes"]))
    load_darknet(network, made_up)
    with torch.no_grad():
        outputs = network.double().eval()(x)
    for number, output in enumerate(outputs):
        torch.testing.assert_close(output, torch.from_numpy(golden[f"out{number}"]), rtol=1e-9, atol=1e-9)


def test_a_file_that_is_read_is_written_again_with_the_same_bytes(made_up: Path, tmp_path: Path) -> None:
    network = Network(20)
    load_darknet(network, made_up)
    save_darknet(network, tmp_path / "again.weights")
    assert (tmp_path / "again.weights").read_bytes() == made_up.read_bytes()


def test_the_backbone_s_file_leaves_the_head_alone(made_up: Path, tmp_path: Path) -> None:
    start = made_up.read_bytes()[:BACKBONE_BYTES]
    (tmp_path / "darknet53.conv.74").write_bytes(start)
    network, whole = Network(10), Network(20)
    before = {name: value.clone() for name, value in network.head.state_dict().items()}
    load_darknet(network, tmp_path / "darknet53.conv.74")
    load_darknet(whole, made_up)
    for name, value in network.backbone.state_dict().items():
        assert torch.equal(value, whole.backbone.state_dict()[name]) or "num_batches" in name, name
    assert all(torch.equal(value, before[name]) for name, value in network.head.state_dict().items())


def test_the_older_header_has_four_bytes_less(made_up: Path, tmp_path: Path) -> None:
    content = made_up.read_bytes()[:BACKBONE_BYTES]
    old = tmp_path / "old.conv.74"
    old.write_bytes(np.array([0, 1, 0, 0], "<i4").tobytes() + content[20:])
    one, other = Network(20), Network(20)
    load_darknet(one, old)
    load_darknet(other, made_up)
    for mine, theirs in zip(one.backbone.parameters(), other.backbone.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("classes", BYTES)
def test_lengths_are_those_of_the_published_files(classes: int) -> None:
    with torch.device("meta"):
        network = Network(classes)
    for part, length in ((network, BYTES[classes]), (network.backbone, BACKBONE_BYTES)):
        found = list(convolutions(part))
        norms = sum(4 * layer.norm.num_features for layer in found if layer.norm is not None)
        others = sum(layer.conv.weight.numel() for layer in found)
        biases = sum(layer.conv.bias.numel() for layer in found if layer.conv.bias is not None)
        assert 20 + 4 * (norms + others + biases) == length
    assert len(list(convolutions(network))) == 75
    assert len(list(convolutions(network.backbone))) == 52


@pytest.fixture(scope="module")
def small() -> Any:
    """The whole backbone with a small head, so that broken files are quick to make."""
    network = Network(1)
    network.head = YOLOv3Head([1024, 512, 256], [16, 8, 4], 7)
    return network


@pytest.fixture
def file(small: Any, tmp_path: Path) -> Path:
    save_darknet(small, tmp_path / "whole.weights")
    return tmp_path / "whole.weights"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-4], "too short, or of another architecture: .* 4 fewer than needed"),
        (lambda content: content[: BACKBONE_BYTES - 40], "40 fewer than needed .* for the backbone alone"),
        (lambda content: content + bytes(8), "too long, or of another architecture: .* 8 more than needed"),
        (lambda content: content[:-2], "not a whole number of float32 values"),
        (lambda content: content[:10], "too short .10 bytes. for the header"),
        (lambda content: b"PK\x03\x04" + content[4:], r"not a Darknet weights file \(version"),
        (lambda content: content[:-4] + b"\x00\x00\xc0\x7f", "not finite"),
    ],
    ids=["cut", "backbone cut", "longer", "odd", "empty", "zip", "nan"],
)
def test_files_that_do_not_fit(small: Any, file: Path, change: Any, message: str) -> None:
    before = {name: value.clone() for name, value in small.state_dict().items()}
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(WeightsError, match=message) as caught:
        load_darknet(small, file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in small.state_dict().items())


def test_another_number_of_classes_is_named(small: Any, file: Path) -> None:
    other = Network(1)
    other.head = YOLOv3Head([1024, 512, 256], [16, 8, 4], 9)
    with pytest.raises(WeightsError, match="is of a YOLOv3 with 7 classes, the model has 9"):
        load_darknet(other, file)


def test_a_missing_file_and_another_backbone(small: Any, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"gone\.weights: cannot be read"):
        load_darknet(small, tmp_path / "gone.weights")
    save_darknet(small, tmp_path / "a.weights")
    with pytest.raises(WeightsError, match="needs a YOLOv3 with backbone D-53"):
        load_darknet(torch.nn.Linear(2, 2), tmp_path / "a.weights")
