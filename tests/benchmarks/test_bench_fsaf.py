"""FSAF's parts and whole models beside RetinaNet as Detectron2 ships it: `make benchmarks`.

Whole models: R-50, one image of 480 x 640, random weights scaled so that a stated number of candidates passes the score
threshold, as it would after training: 1000 anchor-based and, of a ninth as many boxes, 111 anchor-free.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from detectron2.modeling.backbone.resnet import BottleneckBlock
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn

from replication.catalog import CONFIGS
from replication.catalog.variants import resolve
from replication.detectors import add_replication_config
from replication.detectors.fsaf.grid import CellRule, Level, decode, locations
from replication.detectors.fsaf.losses import anchor_free_loss
from replication.detectors.fsaf.selection import HeuristicSelection, OnlineSelection
from replication.detectors.fsaf.targets import Objects, TargetAssigner, Targets, pad_objects
from replication.detectors.losses import giou_loss, iou_loss, log_iou_loss

Benchmark = Callable[..., Any]
K = 80
SIZE = (480, 640)
LEVELS = [Level(stride, math.ceil(SIZE[0] / stride), math.ceil(SIZE[1] / stride)) for stride in (8, 16, 32, 64, 128)]
CELLS = sum(level.height * level.width for level in LEVELS)
CANDIDATES = {"cls_score": 1000, "af_cls_score": 111}

# name -> (variant, meta-architecture that replaces its own)
MODELS = {
    "RetinaNet (Detectron2)": ("retinanet_R50", "RetinaNet"),
    "RetinaNet (ours)": ("retinanet_R50", None),
    "FSAF, anchor-free": ("fsaf_R50", None),
    "FSAF, joint": ("fsaf_R50_joint", None),
}


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
    model, _ = whole("RetinaNet (Detectron2)")
    anchors = model.anchor_generator([torch.zeros(1, 1, level.height, level.width) for level in LEVELS])
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


def config(name: str) -> CfgNode:
    variant, architecture = MODELS[name]
    cfg = get_cfg()
    add_replication_config(cfg)
    cfg.merge_from_other_cfg(CfgNode(resolve(CONFIGS / "variants" / f"{variant}.yaml")))
    cfg.MODEL.META_ARCHITECTURE = architecture or cfg.MODEL.META_ARCHITECTURE
    cfg.MODEL.DEVICE = "cpu"
    return cfg


@functools.cache
def whole(name: str) -> tuple[Any, list[dict[str, Any]]]:
    """A full-size model with its candidates set, and a batch of one image."""
    torch.manual_seed(0)
    model = build_model(config(name))
    for module in model.modules():
        if isinstance(module, BottleneckBlock):  # or random residuals double at each block
            nn.init.constant_(module.conv3.norm.weight, 0.2)
    image = torch.randint(0, 256, (3, *SIZE), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    batch = [{"image": image, "instances": instances(7), "height": SIZE[0], "width": SIZE[1]}]
    set_candidates(model.eval(), batch)
    return model, batch


@torch.no_grad()
def run_maps(model: Any, batch: list[dict[str, Any]]) -> tuple[Any, list[Tensor], list[list[Tensor]]]:
    images = model.preprocess_image(batch)
    features = model.backbone(images.tensor)
    features = [features[level] for level in model.head_in_features]
    return images, features, list(model.head(features))


def set_candidates(model: Any, batch: list[dict[str, Any]]) -> None:
    """Scale each class layer to logits of deviation 1 and set its bias for the stated number of candidates."""
    layers = [(getattr(model.head, key), count) for key, count in CANDIDATES.items() if hasattr(model.head, key)]
    maps = run_maps(model, batch)[2]
    for place, (layer, count) in enumerate(layers):
        flat = torch.cat([each.flatten() for each in maps[2 * place]]) - layer.bias[0].detach()
        scale = 1 / flat.std()
        edge = (flat * scale).topk(count + 1).values[-2:].mean()
        layer.weight.data.mul_(scale)
        layer.bias.data.fill_(math.log(0.05 / 0.95) - edge.item())


@pytest.mark.parametrize("name", MODELS)
def test_stated_number_of_candidates_passes(name: str) -> None:
    model, batch = whole(name)
    maps = run_maps(model.eval(), batch)[2]
    expected = [count for key, count in CANDIDATES.items() if hasattr(model.head, key)]
    found = [sum((each.sigmoid() > 0.05).sum().item() for each in level) for level in maps[0::2]]
    assert found == pytest.approx(expected, abs=3)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.benchmark(group="inference, R-50, 480 x 640: whole model")
def test_inference(benchmark: Benchmark, name: str) -> None:
    model, batch = whole(name)
    model.eval()
    with torch.no_grad():
        found = benchmark.pedantic(model, (batch,), rounds=5, warmup_rounds=1)
    assert len(found[0]["instances"]) > 0
    _, features, _ = run_maps(model, batch)
    flops = [FlopCountAnalysis(model.backbone, torch.zeros(1, 3, *SIZE)), FlopCountAnalysis(model.head, (features,))]
    total = sum(each.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total() for each in flops)
    benchmark.extra_info["GMAC"] = round(total / 1e9, 2)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.benchmark(group="inference, R-50, 480 x 640: backbone and head")
def test_model_part(benchmark: Benchmark, name: str) -> None:
    model, batch = whole(name)
    benchmark.pedantic(run_maps, (model.eval(), batch), rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.benchmark(group="inference, R-50, 480 x 640: decoding and NMS")
def test_post_processing(benchmark: Benchmark, name: str) -> None:
    model, batch = whole(name)
    images, features, maps = run_maps(model.eval(), batch)

    def fresh() -> tuple[tuple[Any, ...], dict[str, Any]]:
        # RetinaNet applies its sigmoid in place where transposing was no copy.
        return (images, features, [[each.clone() for each in level] for level in maps]), {}

    with torch.no_grad():
        found = benchmark.pedantic(model.forward_inference, setup=fresh, rounds=20, warmup_rounds=2)
    assert len(found[0]) > 0


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.benchmark(group="training step, R-50, 480 x 640, forward and backward")
def test_training_step(benchmark: Benchmark, name: str) -> None:
    model, batch = whole(name)
    model.train()

    def step() -> None:
        model.zero_grad()
        with EventStorage():
            sum(model(batch).values()).backward()

    benchmark.pedantic(step, rounds=3, warmup_rounds=1)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
