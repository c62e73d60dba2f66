"""FSAF's parts, rivals side by side: `make benchmarks`. Whole models stand in ``test_bench_models.py``."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.meta_arch import RetinaNet
from detectron2.structures import Boxes, Instances
from torch import Tensor

from replication.detectors.fsaf.cells import (
    CellRule,
    Level,
    Objects,
    TargetAssigner,
    Targets,
    decode,
    locations,
    pad_objects,
)
from replication.detectors.fsaf.losses import HeuristicSelection, OnlineSelection, anchor_free_loss
from replication.detectors.losses import giou_loss, iou_loss, log_iou_loss

Benchmark = Callable[..., Any]
K = 80
SIZE = (480, 640)
LEVELS = [Level(stride, math.ceil(SIZE[0] / stride), math.ceil(SIZE[1] / stride)) for stride in (8, 16, 32, 64, 128)]
CELLS = sum(level.height * level.width for level in LEVELS)


def instances(count: int = 8, seed: int = 0) -> Instances:
    """As many objects as a COCO image has on average, of all sizes."""
    generator = torch.Generator().manual_seed(seed)
    side = 2 ** (3 + 5.5 * torch.rand(count, 2, generator=generator))
    corner = torch.rand(count, 2, generator=generator) * (torch.tensor(SIZE[::-1]) - side).clamp(min=0)
    objects = Instances(SIZE)
    objects.gt_boxes = Boxes(torch.cat([corner, torch.minimum(corner + side, torch.tensor(SIZE[::-1]))], dim=1))
    objects.gt_classes = torch.randint(K, (count,), generator=generator)
    return objects


@functools.cache
def outputs() -> tuple[Tensor, Tensor, Objects]:
    """Logits and boxes of two images, and their objects."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, CELLS, K, generator=generator) - 4
    distances = torch.rand(2, CELLS, 4, generator=generator)
    return (
        logits,
        decode(distances, locations(LEVELS, 0.0, torch.device("cpu")), 4.0),
        pad_objects([instances(), instances(seed=1)]),
    )


ASSIGNER = TargetAssigner(K, CellRule(), 0.2, 0.5, ignore_adjacent_levels=True, ignore_other_levels=False)
SELECTIONS = {
    "online": OnlineSelection(CellRule(), 0.2, 0.25, 2.0, all_classes=False),
    "online, all classes": OnlineSelection(CellRule(), 0.2, 0.25, 2.0, all_classes=True),
    "heuristic": HeuristicSelection(5, 224, 3, 7),
}


def targets() -> Targets:
    return ASSIGNER(outputs()[2], HeuristicSelection(5, 224, 3, 7)(outputs()[2]), LEVELS)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("name", SELECTIONS)
@pytest.mark.benchmark(group="level selection, 2 images of 480 x 640, 8 objects each")
def test_selection(benchmark: Benchmark, name: str) -> None:
    logits, boxes, objects = outputs()
    selection = SELECTIONS[name]
    arguments = (objects,) if isinstance(selection, HeuristicSelection) else (objects, logits, boxes, LEVELS)
    assert benchmark(selection, *arguments).shape == (2, 8)


@pytest.mark.benchmark(group="target assignment, 2 images of 480 x 640, 8 objects each")
def test_assignment(benchmark: Benchmark) -> None:
    objects = outputs()[2]
    selected = HeuristicSelection(5, 224, 3, 7)(objects)
    assert benchmark(ASSIGNER, objects, selected, LEVELS).classes.shape == (2, CELLS)


@pytest.mark.benchmark(group="target assignment, 2 images of 480 x 640, 8 objects each")
def test_assignment_of_retinanet(benchmark: Benchmark) -> None:
    """Detectron2's matching of 9 anchors a cell, for comparison."""
    sizes = [[4 * level.stride * 2 ** (octave / 3) for octave in range(3)] for level in LEVELS]
    strides = [level.stride for level in LEVELS]
    generator = DefaultAnchorGenerator(sizes=sizes, aspect_ratios=[[0.5, 1.0, 2.0]], strides=strides)
    anchors = generator([torch.zeros(1, 1, level.height, level.width) for level in LEVELS])
    model: Any = RetinaNet.__new__(RetinaNet)
    torch.nn.Module.__init__(model)
    model.num_classes, model.anchor_matcher = K, Matcher([0.4, 0.5], [0, -1, 1], allow_low_quality_matches=True)
    labels, _ = benchmark(model.label_anchors, anchors, [instances(), instances(seed=1)])
    assert labels[0].shape == (9 * CELLS,)


@pytest.mark.benchmark(group="losses of the anchor-free branch, 2 images of 480 x 640, forward and backward")
def test_losses(benchmark: Benchmark) -> None:
    logits, boxes, _ = outputs()
    logits, boxes, wanted = logits.clone().requires_grad_(), boxes.clone().requires_grad_(), targets()

    def step() -> None:
        logits.grad = boxes.grad = None
        loss = anchor_free_loss(logits, boxes, wanted, 0.25, 2.0)
        (loss.cls + loss.box_reg).backward()

    benchmark(step)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


BOX_LOSSES = {"-ln IoU": log_iou_loss, "IoU": iou_loss, "GIoU": giou_loss}


@pytest.mark.parametrize("name", BOX_LOSSES)
@pytest.mark.benchmark(group="IoU losses over the cells of 2 images, forward and backward")
def test_box_losses(benchmark: Benchmark, name: str) -> None:
    boxes, wanted = outputs()[1].reshape(-1, 4).clone().requires_grad_(), targets().boxes.reshape(-1, 4)

    def step() -> None:
        boxes.grad = None
        BOX_LOSSES[name](boxes, wanted, reduction="sum").backward()

    benchmark(step)
    assert boxes.grad is not None
