"""The same numbers on a GPU as on the CPU, and no wait for the GPU in target assignment.

Each test is made twice: marked ``cuda``, which is skipped where there is no GPU, and with the CPU in the GPU's place,
so that a test that cannot run is seen before a GPU is at hand (`make device-check`).
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from replication.catalog import load_catalog, load_protocol
from replication.detectors.fsaf.cells import CellRule, TargetAssigner, levels_of, locations, pad_objects
from replication.detectors.fsaf.losses import HeuristicSelection, OnlineSelection, anchor_free_loss
from replication.detectors.libra.sampling import (
    BalancedSampler,
    choose_balanced,
    choose_evenly,
    iou_bins,
    number_of_groups,
)
from replication.detectors.losses import BOX_REG_LOSS_REGISTRY, MatchedBoxes, build_box_reg_loss, iou
from replication.detectors.yolov3.grid import Grid
from replication.detectors.yolov3.losses import BoxLoss, yolo_losses
from replication.detectors.yolov3.targets import Objects, assign
from replication.timing.training_step import make_batch
from replication.training.config import run_config
from replication.training.devices import on_device
from replication.training.precision import compile_parts, prepare_model, products, use_bfloat16

GPU = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")]
on = pytest.mark.parametrize("place", [pytest.param("cuda", marks=GPU), "cpu"])
VARIANTS = (
    "faster_rcnn_R50_giou",
    "mask_rcnn_R50_iou",
    "fast_rcnn_R50_libra",
    "libra_rcnn_R50",
    "libra_rpn_R50",
    "retinanet_R50",
    "libra_retinanet_R50",
    "fsaf_R50_joint",
    "fsaf_R50_heuristic",
    "yolov3_D53_giou",
    "yolov3_D53_mse",
)
CLASSES = 7
SIZE = (96, 128)
STRIDES = (8, 16, 32)
SIDE = 128
ANCHORS = torch.tensor([[10.0, 13], [16, 30], [33, 23], [30, 61], [62, 45], [59, 119], [90, 90], [56, 98], [73, 126]])


@contextlib.contextmanager
def no_wait(place: str) -> Iterator[None]:
    """An error where the CPU waits for the GPU."""
    if place == "cpu":
        yield
        return
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.fixture(autouse=True)
def _float32() -> Iterator[None]:
    with products(rounded=False):
        yield


def boxes(count: int, seed: int, size: tuple[int, int] = SIZE) -> Tensor:
    """(count, 4) XYXY in pixels, within the image."""
    generator = torch.Generator().manual_seed(seed)
    whole = torch.tensor([size[1], size[0]])
    side = whole * (0.05 + 0.6 * torch.rand(count, 2, generator=generator))
    corner = torch.rand(count, 2, generator=generator) * (whole - side)
    return torch.cat([corner, corner + side], dim=1)


def instances(seed: int, count: int) -> Instances:
    labels = torch.arange(count) % CLASSES
    return Instances(SIZE, gt_boxes=Boxes(boxes(count, seed)), gt_classes=labels)


def close(found: Tensor, expected: Tensor, rtol: float = 1e-4) -> None:
    torch.testing.assert_close(found.detach().cpu(), expected.detach(), rtol=rtol, atol=1e-5)


@on
@pytest.mark.parametrize("name", [name for name, _ in BOX_REG_LOSS_REGISTRY])
def test_box_losses(place: str, name: str) -> None:
    cfg = config("retinanet_R50", "cpu")
    cfg.MODEL.RETINANET.BBOX_REG_LOSS_TYPE = name
    loss = build_box_reg_loss(cfg, "RETINANET")
    found = {}
    for device in ("cpu", place):
        deltas = (0.2 * boxes(50, 3) / 100).to(device).requires_grad_()
        matched = MatchedBoxes(deltas, boxes(50, 1).to(device), boxes(50, 2).to(device), Box2BoxTransform((1, 1, 1, 1)))
        with no_wait(device):
            total = loss.sum(matched)
            total.backward()  # type: ignore[no-untyped-call]
        found[device] = total, deltas.grad
    for value, expected in zip(found[place], found["cpu"], strict=True):
        assert value is not None
        assert expected is not None
        close(value, expected)


def fsaf(device: str) -> dict[str, Tensor]:
    """Selection, targets and losses of maps of noise, with three images of 5, 0 and 2 objects."""
    generator = torch.Generator().manual_seed(0)
    maps = [torch.empty(3, 1, SIZE[0] // stride, SIZE[1] // stride) for stride in STRIDES]
    levels = levels_of(maps, STRIDES)
    cells = sum(level.height * level.width for level in levels)
    logits = torch.randn(3, cells, CLASSES, generator=generator).to(device).requires_grad_()
    at = locations(levels, 0.0, torch.device("cpu"))
    shift = 4 + 20 * torch.rand(3, cells, 4, generator=generator)
    predicted = torch.cat([at[:, :2] - shift[..., :2], at[:, :2] + shift[..., 2:]], dim=-1).to(device).requires_grad_()
    truth = [instances(seed, count).to(device) for seed, count in ((1, 5), (2, 0), (3, 2))]
    rule = CellRule()
    online = OnlineSelection(rule, 0.2, 0.25, 2.0, all_classes=True)
    heuristic = HeuristicSelection(4, 56, 3, 5)
    assigner = TargetAssigner(CLASSES, rule, 0.2, 0.5, True, True)
    with no_wait(device):
        objects = pad_objects(truth)
        locations(levels, 0.0, logits.device)
        selected = online(objects, logits.detach(), predicted.detach(), levels)
        targets = assigner(objects, selected, levels)
        loss = anchor_free_loss(logits, predicted, targets, 0.25, 2.0)
        (loss.cls + loss.box_reg).backward()  # type: ignore[no-untyped-call]
        by_size = heuristic(objects)
    assert logits.grad is not None
    assert predicted.grad is not None
    return {
        "selected": selected,
        "by_size": by_size,
        "classes": targets.classes,
        "ignored": targets.ignored,
        "cls": loss.cls,
        "box_reg": loss.box_reg,
        "iou": loss.iou,
        "logits": logits.grad,
        "boxes": predicted.grad,
    }


@on
def test_fsaf(place: str) -> None:
    expected = fsaf("cpu")
    for name, value in fsaf(place).items():
        close(value, expected[name])


def yolov3(device: str, loss: str, released: bool) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    sides = [SIDE // stride for stride in reversed(STRIDES)]
    maps = [torch.empty(2, 1, side, side, device=device) for side in sides]
    slots = sum(3 * side * side for side in sides)
    raw = torch.randn(2, slots, 5 + CLASSES, generator=generator).to(device).requires_grad_()
    anchors = ANCHORS.to(device)
    truth = [boxes(count, seed, (SIDE, SIDE)).to(device) for count, seed in ((6, 1), (3, 2))]
    labels = [torch.arange(len(each), device=device) for each in truth]
    box_loss = BoxLoss(None if loss == "mse" else BOX_REG_LOSS_REGISTRY.get(loss), 1.0, released)
    with no_wait(device):
        grid = Grid.of(maps, tuple(reversed(STRIDES)), anchors)
        objects = Objects.of(truth, labels, (SIDE, SIDE))
        targets = assign(objects, grid.decode(raw.detach()), grid, CLASSES, 0.5)
        losses = yolo_losses(raw, objects, targets, grid, box_loss, (SIDE, SIDE))
        (losses.obj + losses.cls + losses.box).backward()  # type: ignore[no-untyped-call]
    assert raw.grad is not None
    parts = {name: getattr(losses, name) for name in ("obj", "cls", "box", "overlap", "deltas", "count")}
    return parts | {"slot": targets.slot, "owner": targets.owner, "ignored": targets.ignored, "raw": raw.grad}


@on
@pytest.mark.parametrize(("loss", "released"), [("mse", False), ("iou", False), ("giou", False), ("giou", True)])
def test_yolov3(place: str, loss: str, released: bool) -> None:
    expected = yolov3("cpu", loss, released)
    for name, value in yolov3(place, loss, released).items():
        close(value, expected[name])


@on
def test_balanced_choice(place: str) -> None:
    """What is drawn differs between devices; how many of each group does not."""
    overlaps = torch.rand(500, generator=torch.Generator().manual_seed(0)) * 0.5
    groups = torch.arange(60) % 7
    there, groups_there = overlaps.to(place), groups.to(place)
    with no_wait(place):
        bins = iou_bins(there, 0.5, 3)
        released = iou_bins(there, there.max(), 3)
        chosen = choose_balanced(bins, 20, 60)
        evenly = choose_evenly(groups_there, 21)
        number = number_of_groups(groups_there)
        shared = choose_balanced(groups_there, (21 / number.double()).round() + 1, 21)
    close(bins, iou_bins(overlaps, 0.5, 3))
    close(released, iou_bins(overlaps, overlaps.max(), 3))
    assert bins[chosen].bincount().tolist() == [20, 20, 20]
    assert groups_there[evenly].bincount().tolist() == [3] * 7
    assert (int(number), len(shared), len(shared.unique())) == (7, 21, 21)


@on
@pytest.mark.parametrize("released", [False, True])
def test_sampler(place: str, released: bool) -> None:
    """It has to wait twice for how many positives and negatives there are, and for nothing else."""
    generator = torch.Generator().manual_seed(0)
    overlaps = torch.rand(400, generator=generator).to(place)
    labels = (overlaps >= 0.5).long()
    matches = torch.randint(5, (400,), generator=generator).to(place)
    sampler = BalancedSampler(True, True, 3, released, 0.5)
    with waits(place) as counted:
        positive, negative = sampler(labels, matches, overlaps, 128, 0.25, 0)
    assert (len(positive), len(negative)) == (32, 96)
    assert len(counted) <= 2


@contextlib.contextmanager
def waits(place: str) -> Iterator[list[Any]]:
    """The list of the CPU's waits for the GPU, filled when left; empty on the CPU."""
    counted: list[Any] = []
    if place == "cpu":
        yield counted
        return
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield counted
        finally:
            torch.cuda.set_sync_debug_mode("default")
    counted += [one for one in seen if "called a synchronizing" in str(one.message)]


def config(variant: str, place: str, **keys: Any) -> CfgNode:
    """A variant under ``smoke``, sampling all there is, so that no random choice differs between devices."""
    cfg = run_config(load_catalog().variants[variant], load_protocol("smoke"), 0, CLASSES, Path("unused"))
    cfg = on_device(cfg, torch.device(place))
    cfg.defrost()
    for node in (cfg.MODEL.RPN, cfg.MODEL.ROI_HEADS):
        node.BATCH_SIZE_PER_IMAGE = 100_000
    for name, value in keys.items():
        cfg.SOLVER[name] = value
    return cfg


def step(
    cfg: CfgNode, state: dict[str, Tensor] | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor], nn.Module]:
    """Losses and gradients of one forward and backward pass on two images of noise."""
    torch.manual_seed(0)
    model = build_model(cfg).to(memory_format=torch.channels_last).train()
    if cfg.MODEL.DEVICE == "cpu" and cfg.SOLVER.PRECISION == "bf16":  # refused there, but it can be gone through
        use_bfloat16(model, "cpu")
    else:
        prepare_model(cfg, model)
    if state is not None:
        model.load_state_dict(state)
    generator = torch.Generator().manual_seed(1)
    images = [torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8, generator=generator) for _ in range(2)]
    batch = make_batch(cfg, [[{"image": image}] for image in images])
    with EventStorage():
        losses = model(batch)
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return losses, gradients, model


def cpu_state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.cpu() for name, value in model.state_dict().items()}


@on
@pytest.mark.parametrize("variant", VARIANTS)
def test_whole_models(place: str, variant: str) -> None:
    losses, gradients, model = step(config(variant, "cpu"))
    state = cpu_state(build_fresh(variant))
    found, there, moved = step(config(variant, place), state)
    assert found.keys() == losses.keys()
    for name, loss in losses.items():
        close(found[name], loss, rtol=5e-3)
    assert there.keys() == gradients.keys()
    for name, gradient in gradients.items():
        error = (there[name].cpu() - gradient).norm() / gradient.norm().clamp(min=1e-6)
        assert error < 0.05, name
    del model
    with torch.no_grad():
        output = moved.eval()(
            make_batch(config(variant, place), [[{"image": torch.zeros(3, 64, 64, dtype=torch.uint8)}]])
        )
    assert len(output) == 2


def build_fresh(variant: str) -> nn.Module:
    """The model as ``step`` starts it on the CPU."""
    torch.manual_seed(0)
    fresh: nn.Module = build_model(config(variant, "cpu"))
    return fresh


@on
@pytest.mark.parametrize("variant", ["libra_rcnn_R50", "fsaf_R50_joint", "yolov3_D53_giou"])
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_precisions(place: str, variant: str, precision: str) -> None:
    if place == "cpu" and precision == "tf32":
        precision = "fp32"
    state = cpu_state(build_fresh(variant))
    losses, _, _ = step(config(variant, place), state)
    with products(rounded=precision == "tf32"):
        found, gradients, _ = step(config(variant, place, PRECISION=precision), state)
    for name, loss in losses.items():
        assert found[name].dtype == torch.float32
        close(found[name], loss.cpu(), rtol=0.1)
    if place == "cuda":  # a CPU's bfloat16 gradient is wrong on maps of one cell
        assert all(gradient.isfinite().all() for gradient in gradients.values())


@on
def test_compiled(place: str) -> None:
    cfg, state = config("yolov3_D53_giou", place), cpu_state(build_fresh("yolov3_D53_giou"))
    losses, _, model = step(cfg, state)
    model.load_state_dict(state)
    before = torch._dynamo.config.recompile_limit, torch._dynamo.config.accumulated_recompile_limit
    try:
        compile_parts(model, backend="inductor" if place == "cuda" else "eager")
        generator = torch.Generator().manual_seed(1)
        images = [torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8, generator=generator) for _ in range(2)]
        with EventStorage():
            found = model(make_batch(cfg, [[{"image": image}] for image in images]))
    finally:
        torch._dynamo.config.recompile_limit, torch._dynamo.config.accumulated_recompile_limit = before
        torch._dynamo.reset()
    for name, loss in losses.items():
        close(found[name], loss.cpu(), rtol=0.02)


@on
def test_overlap_needs_no_wait(place: str) -> None:
    first, second = boxes(20, 1).to(place), boxes(20, 2).to(place)
    with no_wait(place):
        found = iou(first, second)
    close(found, iou(boxes(20, 1), boxes(20, 2)))
