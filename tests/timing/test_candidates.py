"""The number of candidates of calibrated random weights, counted by other means."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling import build_model
from torch import nn

from replication.catalog import Catalog, load_protocol
from replication.detectors.yolov3.inference import Limits, detect
from replication.detectors.yolov3.letterbox import letterbox, square_side
from replication.timing.candidates import LevelBias, _threshold, calibrate, count
from replication.timing.cost import flops, parameters
from replication.timing.inputs import Source, make_inputs
from replication.timing.stages import dissect
from replication.timing.subjects import Subject, build_subject, subject_config

LEVELS = 5


def survivors_by_level(subject: Subject) -> list[float]:
    """From the head's own output, which is (N, A K, H, W) a level."""
    totals = [0] * LEVELS
    for batch in subject.inputs:
        images = subject.model.preprocess_image(batch)
        features = subject.model.backbone(images.tensor)
        logits, _ = subject.model.head([features[name] for name in subject.model.head_in_features])
        for level, one in enumerate(logits):
            totals[level] += int((one.sigmoid() > 0.05).sum())
    return [total / len(subject.inputs) for total in totals]


@torch.no_grad()
@pytest.mark.parametrize("wanted", [1, 7, 30])
def test_a_dense_detector_lets_through_what_was_asked_for_on_each_level(subject: Callable[..., Subject], wanted: int):
    one = subject("retinanet_R50", wanted)
    assert survivors_by_level(one) == [wanted] * LEVELS
    assert one.candidates["per_level"] == {"head.cls_score": [float(wanted)] * LEVELS}
    assert one.candidates["per_image"] == LEVELS * wanted
    assert one.weights == {
        "kind": f"random, biased to {wanted} candidates per level and class layer",
        "candidates": wanted,
    }


def test_both_branches_let_through_what_was_asked_for(subject: Callable[..., Subject]):
    one = subject("fsaf_R50_joint", 6)
    assert one.candidates["per_level"] == {"head.cls_score": [6.0] * LEVELS, "head.af_cls_score": [6.0] * LEVELS}
    assert one.candidates["per_image"] == 2 * LEVELS * 6


@torch.no_grad()
def test_a_level_with_too_few_scores_lets_all_but_one_or_all_through(subject: Callable[..., Subject]):
    one = subject("retinanet_R50", 500)
    # The coarsest level of these images is one cell: 9 anchors by 10 classes.
    assert survivors_by_level(one)[0] == 500
    assert 85 <= survivors_by_level(one)[-1] <= 90
    assert one.candidates["per_level"]["head.cls_score"][-1] == survivors_by_level(one)[-1]


@torch.no_grad()
@pytest.mark.parametrize("wanted", [3, 12])
def test_an_rcnn_lets_through_what_was_asked_for_in_an_image(subject: Callable[..., Subject], wanted: int):
    one = subject("faster_rcnn_R50_giou", wanted)
    heads = one.model.roi_heads
    total = 0
    for batch in one.inputs:
        images = one.model.preprocess_image(batch)
        features = one.model.backbone(images.tensor)
        proposals, _ = one.model.proposal_generator(images, features, None)
        pooled = heads.box_pooler(
            [features[name] for name in heads.box_in_features], [p.proposal_boxes for p in proposals]
        )
        predictions = heads.box_predictor(heads.box_head(pooled))
        probabilities = heads.box_predictor.predict_probs(predictions, proposals)[0]
        total += int((probabilities[:, :-1] > 0.05).sum())
    assert total / len(one.inputs) == wanted == one.candidates["per_image"]
    assert 0 < one.candidates["detections"] <= wanted


@torch.no_grad()
@pytest.mark.parametrize("wanted", [1, 7, 30])
def test_yolov3_lets_through_what_was_asked_for_on_each_level(subject: Callable[..., Subject], wanted: int):
    """Counted from what the whole network puts out, by the detector's own rule of scores."""
    one = subject("yolov3_D53_giou", wanted)
    model, found, before_nms = one.model, torch.zeros(3, dtype=torch.long), 0
    for batch in one.inputs:
        side = square_side([tuple(batch[0]["image"].shape[1:])], 32)
        raw, grid = model.predict(letterbox([batch[0]["image"]], side, model.pixel_mean, model.pixel_std))
        objectness = raw[0, :, 4].sigmoid()
        passed = (objectness[:, None] * raw[0, :, 5:].sigmoid() > 0.005) & (objectness > 0.005)[:, None]
        found += torch.bincount(grid.level, passed.sum(dim=1), minlength=3).long()
        before_nms += len(detect(raw[0], grid, Limits(0.005, 1.0), (side, side)))
    assert found.tolist() == [wanted * len(one.inputs)] * 3
    assert before_nms == found.sum()
    layers = [f"head.levels.{number}.predict" for number in range(3)]
    assert one.candidates["per_level"] == {name: [float(wanted)] for name in layers}
    assert one.candidates["per_image"] == 3 * wanted
    assert one.weights["kind"] == f"random, biased to {wanted} candidates per level"


@torch.no_grad()
def test_random_darknet53_is_timed_with_boxes_of_its_anchors_sizes(catalog: Catalog, source: Source):
    """Without statistics of its features they grow from block to block, and boxes without limit."""
    cfg = subject_config(catalog, load_protocol("paper"), "yolov3_D53_mse", 80, torch.device("cpu"))
    one = build_subject("yolov3_D53_mse", cfg, source, (96, 96), None, 20, "fp32")
    assert one.candidates["per_image"] == pytest.approx(60, abs=1)  # a score next to the threshold is rounded to it
    image = one.inputs[0][0]["image"]
    raw, _ = one.model.predict(letterbox([image], 96, one.model.pixel_mean, one.model.pixel_std))
    assert raw[..., :4].abs().max() < 20
    assert parameters(one.model) == 61_949_149
    # A multiply-add is one operation here; the description counts it as two, of convolutions alone.
    operations = flops(one.model, one.inputs[0])
    convolutions = 65.864e9 / 2 * (96 * 96) / (416 * 416)
    assert operations["total"] == pytest.approx(convolutions, rel=0.03)
    assert set(operations["by_part"]) == {"backbone", "head"}


def test_without_calibration_next_to_nothing_survives(config: Callable[[str], CfgNode], source: Source):
    cfg = config("retinanet_R50")
    model = build_model(cfg).eval()
    inputs = make_inputs(source, cfg, None, torch.device("cpu"))
    found = count(torch.no_grad()(model), dissect(model, 0.01), inputs)
    assert found["per_image"] == found["detections"] == 0


def test_the_top_k_a_level_is_counted(subject: Callable[..., Subject]):
    one = subject("retinanet_R50", 30)
    object.__setattr__(one.anatomy, "top_k", 20)
    found = count(one.run, one.anatomy, one.inputs)
    assert found["per_image"] == 150
    # Each image's levels are cut apart, so of an uneven one more than 20 a level cannot be left.
    assert found["per_image_after_top_k"] <= 100


def test_level_bias_is_the_convolution_plus_an_offset_a_level():
    layer = nn.Conv2d(3, 4, 3, padding=1, stride=2)
    offsets = torch.tensor([0.5, -2.0])
    levelled = LevelBias(layer, offsets)
    for _ in range(2):
        for offset in offsets:
            features = torch.randn(1, 3, 9, 7)
            assert torch.allclose(levelled(features), layer(features) + offset, atol=1e-6)
    assert sum(p.numel() for p in levelled.parameters()) == sum(p.numel() for p in layer.parameters())


def test_the_bar_lies_between_two_values():
    images = [torch.tensor([5.0, 1.0, 3.0]), torch.tensor([4.0, 2.0])]
    assert float(_threshold(images, 1)) == 3.5  # two of 5, 4 | 3, 2, 1 in two images
    assert float(_threshold(images, 9)) == 1.5


def test_boxes_of_random_residual_networks_stay_at_their_anchors(catalog: Catalog, source: Source):
    """Caffe-style pixels reach a hundred; frozen statistics of 0 and 1 would let them through to the boxes."""
    cfg = subject_config(catalog, load_protocol("paper"), "retinanet_R50", 80, torch.device("cpu"))
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    inputs = make_inputs(source, cfg, (64, 96), torch.device("cpu"))
    spread: list[float] = []
    model.head.bbox_pred.register_forward_hook(lambda *call: spread.append(float(call[2].detach().std())))
    with torch.no_grad():
        model(inputs[0])
        before = spread[:]
        anatomy = calibrate(model, dissect(model, 0.01), inputs, 5)
        spread.clear()
        model(inputs[0])
    assert max(before) > 2
    assert max(spread) < 0.5
    assert all(bool((m.running_mean != 0).any()) for m in model.modules() if isinstance(m, FrozenBatchNorm2d))
    assert count(torch.no_grad()(model), anatomy, inputs)["per_level"] == {"head.cls_score": [5.0] * LEVELS}
