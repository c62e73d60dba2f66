"""Whole models, rivals side by side: inference at 480x640, a training step at 320x416, R-50, `make benchmarks`.

Weights are random, biased to 200 candidates a level. Rivals are this package's variant and what Detectron2 ships in its
place. `replication time` is the measurement that counts: it interleaves rivals.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import pytest
import torch

from replication.catalog import load_catalog, load_protocol
from replication.timing.inputs import Source, make_inputs
from replication.timing.subjects import Subject, build_subject, subject_config
from replication.timing.training_step import IMAGES, OBJECTS, Learner, build_learner

CATALOG, PROTOCOL = load_catalog(), load_protocol("paper")
SIZE = (480, 640)
SOURCE = Source("noise", 80, None, (), (SIZE,))
RIVALS = {
    "RetinaNet and FSAF": ("detectron2:retinanet_R50", "retinanet_R50", "fsaf_R50", "fsaf_R50_joint"),
    "Faster R-CNN": ("faster_rcnn_R50", "detectron2:faster_rcnn_R50", "faster_rcnn_R50_giou"),
    "Mask R-CNN": ("mask_rcnn_R50_smooth_l1", "mask_rcnn_R50_giou"),
}
# An architecture's step beside the unmodified one of what Detectron2 ships nearest to it, on the same images.
STEPS = {
    "Faster R-CNN": ("faster_rcnn_R50_giou", "detectron2:faster_rcnn_R50"),
    "Mask R-CNN": ("mask_rcnn_R50_giou", "detectron2:mask_rcnn_R50_smooth_l1"),
    "Libra R-CNN": ("libra_rcnn_R50", "detectron2:faster_rcnn_R50"),
    "RetinaNet": ("retinanet_R50", "detectron2:retinanet_R50"),
    "FSAF": ("fsaf_R50_joint", "detectron2:retinanet_R50"),
    "YOLOv3": ("yolov3_D53_giou", "detectron2:retinanet_R50"),
}
STEP_SIZE = (320, 416)  # a step at the size of inference takes half a minute on one core
STEPS_TIMED = 3
NAMES = [pytest.param(kind, name, id=name) for kind, names in RIVALS.items() for name in names]


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


@pytest.mark.parametrize("name", RIVALS["RetinaNet and FSAF"])
def test_decoding_and_nms(benchmark: Any, name: str) -> None:
    subject = make(name)
    model: Any = subject.model
    benchmark.group = "RetinaNet and FSAF, threshold, top k, decoding and NMS of one image"
    with torch.no_grad():
        images = model.preprocess_image(subject.inputs[0])
        features = [model.backbone(images.tensor)[level] for level in model.head_in_features]
        predictions = model.head(features)

        def setup() -> tuple[tuple[Any, ...], dict[str, Any]]:
            # Scores are computed in place of the logits.
            return (images, features, [[one.clone() for one in maps] for maps in predictions]), {}

        found = benchmark.pedantic(torch.no_grad()(model.forward_inference), setup=setup, rounds=10, warmup_rounds=1)
    assert len(found[0]) > 0


@pytest.mark.parametrize(("name", "nearest"), STEPS.values(), ids=STEPS)
def test_training_step(benchmark: Any, name: str, nearest: str) -> None:
    """Before each step of ours, untimed by the fixture, one of Detectron2's; both medians and their ratio are kept."""
    torch.set_num_threads(1)
    ours, theirs = learner(name), learner(nearest)
    spent: list[float] = []

    def setup() -> None:
        begun = time.perf_counter()
        theirs.step()
        spent.append(time.perf_counter() - begun)

    benchmark.group = f"{name} beside {nearest}: training step of {IMAGES} images with {OBJECTS} objects each"
    assert torch.isfinite(benchmark.pedantic(ours.step, setup=setup, rounds=STEPS_TIMED, warmup_rounds=1))
    median = statistics.median(spent[-STEPS_TIMED:])
    benchmark.extra_info |= {nearest: median, "ratio of medians": benchmark.stats.stats.median / median}


def learner(name: str) -> Learner:
    cfg = subject_config(CATALOG, PROTOCOL, name, 80, torch.device("cpu"))
    inputs = make_inputs(Source("noise", 80, None, (), (STEP_SIZE,)), cfg, STEP_SIZE, torch.device("cpu"))
    return build_learner(name, cfg, inputs, None)
