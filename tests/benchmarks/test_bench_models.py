"""Whole models, rivals side by side: inference by stage and a training step, R-50 at 480x640, `make benchmarks`.

Weights are random, biased to 200 candidates a level. Rivals are this package's variant and what Detectron2 ships in its
place. `python -m replication time` is the measurement that counts: it takes rivals in turns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from torch import nn

from replication.catalog import load_catalog, load_protocol
from replication.timing.inputs import Source
from replication.timing.subjects import Subject, build_subject, subject_config

CATALOG, PROTOCOL = load_catalog(), load_protocol("paper")
SIZE = (480, 640)
SOURCE = Source("noise", 80, None, (), (SIZE,))
RIVALS = {
    "RetinaNet": ("retinanet_R50", "detectron2:retinanet_R50", "fsaf_R50", "fsaf_R50_joint"),
    "Faster R-CNN": ("faster_rcnn_R50", "detectron2:faster_rcnn_R50", "faster_rcnn_R50_giou"),
    "Mask R-CNN": ("mask_rcnn_R50_smooth_l1", "mask_rcnn_R50_giou"),
}
NAMES = [pytest.param(kind, name, id=name) for kind, names in RIVALS.items() for name in names]
OBJECTS = 7  # an image; COCO's mean


def make(name: str) -> Subject:
    torch.set_num_threads(1)
    cfg = subject_config(CATALOG, PROTOCOL, name, 80, torch.device("cpu"))
    return build_subject(name, cfg, SOURCE, SIZE, None, 200, "fp32")


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_inference(benchmark: Any, kind: str, name: str) -> None:
    subject = make(name)
    benchmark.group = f"{kind}, inference of one image"
    found = benchmark.pedantic(subject.run, (subject.inputs[0],), rounds=3, warmup_rounds=1)
    assert 0 < len(found[0]["instances"]) <= 100


@pytest.mark.parametrize("name", RIVALS["RetinaNet"])
def test_decoding_and_nms(benchmark: Any, name: str) -> None:
    subject = make(name)
    model: Any = subject.model
    benchmark.group = "RetinaNet, threshold, top k, decoding and NMS of one image"
    with torch.no_grad():
        images = model.preprocess_image(subject.inputs[0])
        features = [model.backbone(images.tensor)[level] for level in model.head_in_features]
        maps = model.head(features)

        def setup() -> tuple[tuple[Any, ...], dict[str, Any]]:
            # Scores are computed in place of the logits.
            return (images, features, [[one.clone() for one in levels] for levels in maps]), {}

        found = benchmark.pedantic(torch.no_grad()(model.forward_inference), setup=setup, rounds=10, warmup_rounds=1)
    assert len(found[0]) > 0


@pytest.mark.parametrize(("kind", "name"), [one for one in NAMES if one.values[0] != "Mask R-CNN"])
def test_training_step(benchmark: Any, kind: str, name: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build_model(subject_config(CATALOG, PROTOCOL, name, 80, torch.device("cpu")))
    benchmark.group = f"{kind}, forward and backward of one image with {OBJECTS} objects"
    image = torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    step = training_step(model, [{"image": image, "instances": objects()}])
    with EventStorage():
        total = benchmark.pedantic(step, rounds=2, warmup_rounds=1)
    assert torch.isfinite(total)
    assert any(parameter.grad is not None for parameter in model.parameters())


def objects() -> Instances:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(OBJECTS, 2, generator=generator) * 300
    side = 20 + torch.rand(OBJECTS, 2, generator=generator) * 150
    classes = torch.randint(0, 80, (OBJECTS,), generator=generator)
    return Instances(SIZE, gt_boxes=Boxes(torch.cat([corner, corner + side], dim=1)), gt_classes=classes)


def training_step(model: nn.Module, batch: list[dict[str, Any]]) -> Callable[[], torch.Tensor]:
    def step() -> torch.Tensor:
        model.zero_grad()
        losses = model(batch)
        total: torch.Tensor = torch.stack(list(losses.values())).sum()
        total.backward()
        return total.detach()

    return step
