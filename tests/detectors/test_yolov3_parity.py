"""Targets, losses, gradients and detections against arrays that agree with the authors' C layer.

A part of the arrays lies in tests/golden; with the whole file beside the checkout its other cases run too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from replication.detectors.losses import BOX_REG_LOSS_REGISTRY
from replication.detectors.yolov3.grid import Grid, flatten
from replication.detectors.yolov3.inference import Limits, detect, remove_letterbox
from replication.detectors.yolov3.losses import BoxLoss, Losses, yolo_losses
from replication.detectors.yolov3.targets import Objects, Targets, assign

GOLDEN = Path(__file__).parents[1] / "golden" / "yolov3" / "parity_yolov3.npz"
WHOLE = Path(__file__).parents[3] / "shared" / "parity" / "parity_yolov3.npz"
PARITY = np.load(WHOLE if WHOLE.exists() else GOLDEN)
CASES = [str(name) for name in PARITY["cases"]]
STRIDES = (32, 16, 8)
# The arrays are float64 computed from float32 inputs by other expressions.
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def box_loss(kind: str, weight: float = 1.0, released: bool = False) -> BoxLoss:
    return BoxLoss(None if kind == "mse" else BOX_REG_LOSS_REGISTRY.get(kind), weight, released)


def cases_with(array: str) -> list[str]:
    return [name for name in CASES if f"{name}/{array}" in PARITY.files]


class Case:
    """One case in float64, with what this package makes of it. ``maps`` are leaves for gradients."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.size: tuple[int, int] = tuple(self["size"].tolist())
        self.maps = [torch.from_numpy(self[f"raw{level}"]).double().requires_grad_() for level in range(3)]
        self.num_classes = int(self["classes"])
        anchors = torch.from_numpy(self["anchors"])
        self.grid = Grid.of(self.maps, STRIDES, anchors)
        self.raw = flatten(self.maps, 5 + self.num_classes)
        truth = [torch.from_numpy(self[f"gt{n}"]).view(-1, 5) for n in range(int(self["num_images"]))]
        self.objects = Objects.of([one[:, :4] for one in truth], [one[:, 4].long() for one in truth], self.size)
        boxes = self.grid.decode(self.raw.detach())
        self.targets: Targets = assign(self.objects, boxes, self.grid, self.num_classes, float(self["ignore"]))

    def __getitem__(self, array: str) -> np.ndarray[Any, Any]:
        content: np.ndarray[Any, Any] = PARITY[f"{self.name}/{array}"]
        return content

    def losses(self, kind: str = "mse", released: bool = False) -> Losses:
        return yolo_losses(self.raw, self.objects, self.targets, self.grid, box_loss(kind, 1.0, released), self.size)

    def slots(self) -> tuple[Tensor, Tensor]:
        """Image and slot of each positive of the file."""
        level, image, anchor, row, column = torch.from_numpy(self["positive"]).T
        widths = torch.tensor([each.shape[-1] for each in self.maps])
        cells = torch.tensor([3 * each.shape[-1] * each.shape[-2] for each in self.maps])
        return image, (cells.cumsum(0) - cells)[level] + 3 * (row * widths[level] + column) + anchor

    def on_maps(self, array: str) -> Tensor:
        """(N, R) from the file's arrays (N, A, H, W), one a level."""
        parts = [torch.from_numpy(self[f"{array}{level}"].astype(float)) for level in range(3)]
        return torch.cat([part.permute(0, 2, 3, 1).flatten(1) for part in parts], dim=1)

    def gradient(self, loss: Tensor) -> Tensor:
        """(N, R, 5 + K) of a loss that is divided by the number of images."""
        (gradient,) = torch.autograd.grad(loss * len(self.raw), self.raw, retain_graph=True)
        return gradient


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def test_the_cases_are_there() -> None:
    assert {"wide", "one_slot", "ignored_50", "apart", "ties_and_borders"} <= set(CASES)
    assert "boxes0" in {name.split("/")[1] for name in PARITY.files if name.startswith("wide/")}


@pytest.mark.parametrize("name", cases_with("boxes0"))
def test_decoded_boxes(name: str) -> None:
    case = Case(name)
    parts = [torch.from_numpy(case[f"boxes{level}"]).permute(0, 2, 3, 1, 4).flatten(1, 3) for level in range(3)]
    expected = torch.cat(parts, dim=1).double()  # stored in float32
    torch.testing.assert_close(case.grid.decode(case.raw.detach()), expected, rtol=1e-6, atol=1e-4)


def test_objectness_targets(case: Case) -> None:
    expected = case.on_maps("obj_target")
    ours = case.targets.objectness.masked_fill(case.targets.ignored, -1)
    assert torch.equal(ours, expected)


def test_positives_owners_and_their_classes(case: Case) -> None:
    image, slot = case.slots()
    owner = torch.from_numpy(case["owner"])
    found = case.targets.owner.nonzero()
    assert {tuple(row) for row in found.tolist()} == set(zip(image.tolist(), owner.tolist(), strict=True))
    assert torch.equal(case.targets.slot[image, owner], slot)
    assert torch.equal(case.targets.classes[image, owner], torch.from_numpy(case["cls_target"]))


def test_values_of_the_losses(case: Case) -> None:
    for kind in ("mse", "iou", "giou"):
        losses = case.losses(kind)
        torch.testing.assert_close(losses.box.item(), float(case[f"loss_box_{kind}"]), **CLOSE)
    torch.testing.assert_close(losses.obj.item(), float(case["loss_obj"]), **CLOSE)
    torch.testing.assert_close(losses.cls.item(), float(case["loss_cls"]), **CLOSE)


@pytest.mark.parametrize("kind", ["mse", "iou", "giou"])
@pytest.mark.parametrize("released", [False, True])
def test_gradients_of_the_box_losses(case: Case, kind: str, released: bool) -> None:
    if kind == "mse" and released:
        return  # one gradient alone
    image, slot = case.slots()
    gradient = case.gradient(case.losses(kind, released).box)
    expected = torch.from_numpy(case[f"{kind}_released_grad" if released else f"{kind}_grad"])
    smooth = torch.from_numpy(case["smooth"]) if kind != "mse" else torch.ones(len(slot), dtype=torch.bool)
    torch.testing.assert_close(gradient[image, slot, :4][smooth], expected[smooth], **CLOSE)
    gradient[image, slot, :4] = 0
    assert not gradient.any()


def test_gradients_of_the_classes(case: Case) -> None:
    image, slot = case.slots()
    gradient = case.gradient(case.losses().cls)
    torch.testing.assert_close(gradient[image, slot, 5:], torch.from_numpy(case["d_cls"]), **CLOSE)
    gradient[image, slot, 5:] = 0
    assert not gradient.any()


@pytest.mark.parametrize("name", cases_with("d_obj0"))
def test_gradients_of_objectness(name: str) -> None:
    case = Case(name)
    gradient = case.gradient(case.losses().obj)
    torch.testing.assert_close(gradient[..., 4], case.on_maps("d_obj"), rtol=1e-6, atol=1e-7)  # stored in float32
    assert not gradient[..., [0, 1, 2, 3, *range(5, gradient.shape[-1])]].any()


def test_what_the_authors_log(case: Case) -> None:
    losses, levels = case.losses(), torch.from_numpy(case["log_count"])
    assert torch.equal(losses.count, levels.double())
    some = levels > 0
    torch.testing.assert_close(losses.overlap[some], torch.from_numpy(case["log_A"])[some], **CLOSE)
    torch.testing.assert_close(losses.deltas[some], torch.from_numpy(case["log_C"])[some], **CLOSE)


@pytest.mark.parametrize("name", cases_with("detections"))
def test_detections(name: str) -> None:
    """Of image 0, letterboxed: thresholds, all classes, NMS, and back to the original image, clipped."""
    case = Case(name)
    (side_y, side_x), (height, width) = case.size, case["original"].tolist()
    scale = min(side_x / width, side_y / height)
    inner = (int(height * scale), int(width * scale))
    assert (side_y == side_x) or inner == case.size  # a letterbox is square; the other fills its input
    found = detect(case.raw[0].detach(), case.grid, Limits(0.005, 0.45), inner)
    if side_y == side_x:
        found = remove_letterbox(found, side_x)
    boxes = found.pred_boxes.tensor * torch.tensor([width / inner[1], height / inner[0]] * 2)
    clipped = Boxes(boxes)
    clipped.clip((height, width))
    assert len(found) == int(case["num_detections"])
    ours = torch.cat([found.pred_classes[:, None], found.scores[:, None], clipped.tensor], dim=1)
    torch.testing.assert_close(ours[:200], torch.from_numpy(case["detections"]), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", ["mse", "iou", "giou"])
def test_gradients_by_central_differences(kind: str) -> None:
    """Of all losses together, in random directions, in float64."""
    case = Case("wide")
    generator = torch.Generator().manual_seed(5)

    def total(raw: Tensor) -> Tensor:
        losses = yolo_losses(raw, case.objects, case.targets, case.grid, box_loss(kind, 1.7), case.size)
        return losses.obj + losses.cls + losses.box

    raw = case.raw.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(total(raw), raw)
    with torch.no_grad():
        for _ in range(5):
            direction = torch.randn(raw.shape, generator=generator, dtype=raw.dtype)
            step = 1e-6 * direction
            difference = (total(raw + step) - total(raw - step)) / 2e-6
            torch.testing.assert_close(difference, (gradient * direction).sum(), rtol=1e-6, atol=1e-6)


def test_ignored_and_negative_slots_are_told_apart() -> None:
    """The objectness loss is the sum over what is not ignored, computed here without the package's loss."""
    case = Case("ignored_50")
    target = case.on_maps("obj_target")
    assert (target == -1).any()
    each = binary_cross_entropy_with_logits(case.raw[..., 4], target.clamp(min=0), reduction="none")
    expected = (each * (target >= 0)).sum() / len(case.raw)
    torch.testing.assert_close(case.losses().obj, expected)
