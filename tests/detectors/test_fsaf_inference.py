"""Detections against Detectron2's decoding and a plain loop, in both memory layouts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from detectron2.layers import batched_nms
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.meta_arch import RetinaNet
from detectron2.structures import Boxes, Instances
from torch import Tensor

from replication.detectors.fsaf.cells import decode, levels_of, locations
from replication.detectors.fsaf.inference import Limits, detect_together

K, A, SCALE = 5, 3, 4.0
SHAPES, STRIDES = [(12, 16), (6, 8), (3, 4), (2, 2), (1, 1)], [8, 16, 32, 64, 128]
SIZES = [(96, 128), (80, 100)]
TRANSFORM = Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0))


def random_maps(seed: int, layout: torch.memory_format = torch.contiguous_format) -> list[list[Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    maps = []
    for channels, kind in ((A * K, "logits"), (A * 4, "deltas"), (K, "logits"), (4, "distances")):
        level = [torch.randn(2, channels, *shape, generator=generator) for shape in SHAPES]
        if kind == "logits":
            level = [each * 1.5 - 4 for each in level]
        if kind == "distances":
            level = [each.relu() for each in level]
        maps.append([each.contiguous(memory_format=layout) for each in level])
    return maps


def random_anchors(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    anchors = []
    for (height, width), stride in zip(SHAPES, STRIDES, strict=True):
        centre = torch.rand(height * width * A, 2, generator=generator) * 100
        half = torch.rand(height * width * A, 2, generator=generator) * stride * 2 + 1
        anchors.append(torch.cat([centre - half, centre + half], dim=1))
    return anchors


def rows(each: Tensor, image: int, width: int) -> Tensor:
    """(C, H, W) of one image -> (H W C / width, width), cell by cell."""
    return each[image].permute(1, 2, 0).reshape(-1, width)


def anchor_based(maps: list[list[Tensor]], anchors: list[Tensor], image: int, limits: Limits) -> Instances:
    """Detectron2's own per-level decoding, before NMS."""
    model: Any = RetinaNet.__new__(RetinaNet)
    torch.nn.Module.__init__(model)
    model.box2box_transform = TRANSFORM
    parts = [
        model._decode_per_level_predictions(
            Boxes(level),
            rows(scores, image, K).sigmoid(),
            rows(deltas, image, 4),
            limits.score_thresh,
            limits.topk,
            (1, 1),
        )
        for level, scores, deltas in zip(anchors, *maps, strict=True)
    ]
    return Instances.cat(parts)


def anchor_free(maps: list[list[Tensor]], image: int, limits: Limits) -> Instances:
    """The rule of the paper, level by level, cell by cell."""
    boxes, scores, classes = [], [], []
    for logits, distances, stride in zip(*maps, STRIDES, strict=True):
        found = []
        for row in range(logits.shape[2]):
            for column in range(logits.shape[3]):
                top, left, bottom, right = (distances[image, :, row, column] * SCALE).tolist()
                box = [
                    (column - left) * stride,
                    (row - top) * stride,
                    (column + right) * stride,
                    (row + bottom) * stride,
                ]
                found += [(logits[image, k, row, column].sigmoid().item(), k, box) for k in range(K)]
        best = sorted((each for each in found if each[0] > limits.score_thresh), key=lambda each: -each[0])
        for score, label, box in best[: limits.topk]:
            scores.append(score)
            classes.append(label)
            boxes.append(box)
    return Instances(
        (1, 1),
        pred_boxes=Boxes(torch.tensor(boxes).reshape(-1, 4)),
        scores=torch.tensor(scores),
        pred_classes=torch.tensor(classes, dtype=torch.int64),
    )


def expected(maps: list[list[Tensor]], anchors: list[Tensor], image: int, limits: Limits) -> Instances:
    parts = [anchor_based(maps[:2], anchors, image, limits)] if anchors else []
    union = Instances.cat([*parts, anchor_free(maps[-2:], image, limits)])
    keep = batched_nms(union.pred_boxes.tensor, union.scores, union.pred_classes, limits.nms_thresh)
    kept: Instances = union[keep[: limits.most]]
    return kept


def run(maps: list[list[Tensor]], anchors: list[Tensor], limits: Limits) -> list[Instances]:
    at = locations(levels_of(maps[-1], STRIDES), 0.0, torch.device("cpu"))
    return detect_together(maps, anchors, at, SCALE, K, TRANSFORM, limits, SIZES)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("limits", [Limits(0.05, 1000, 0.5, 100), Limits(0.02, 7, 0.6, 30)])
def test_union_of_both_branches_through_one_nms(layout: torch.memory_format, joint: bool, limits: Limits) -> None:
    for seed in range(3):
        maps, anchors = random_maps(seed, layout), random_anchors(seed)
        if not joint:
            maps, anchors = maps[2:], []
        for image, found in enumerate(run(maps, anchors, limits)):
            wanted = expected(maps, anchors, image, limits)
            assert len(wanted) > 10
            assert found.image_size == SIZES[image]
            assert found.pred_classes.tolist() == wanted.pred_classes.tolist()
            torch.testing.assert_close(found.scores, wanted.scores, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(found.pred_boxes.tensor, wanted.pred_boxes.tensor, rtol=1e-4, atol=1e-3)


def test_nothing_above_the_threshold() -> None:
    maps = [[each - 50 if place % 2 == 0 else each for each in level] for place, level in enumerate(random_maps(0))]
    for found in run(maps, random_anchors(0), Limits(0.05, 1000, 0.5, 100)):
        assert len(found) == 0
        assert found.pred_boxes.tensor.shape == (0, 4)


@pytest.mark.parametrize(("threshold", "some"), [(0.0, True), (1.0, False)])
def test_thresholds_at_the_ends(threshold: float, some: bool) -> None:
    for found in run(random_maps(1), random_anchors(1), Limits(threshold, 50, 0.5, 20)):
        assert (len(found) == 20) == some


def test_a_score_of_exactly_the_threshold_is_dropped() -> None:
    maps = random_maps(2)[2:]
    logits = [torch.full_like(each, -20.0) for each in maps[0]]
    logits[0][0, 1, 2, 3] = 0.0  # a score of 0.5
    at_half = run([logits, maps[1]], [], Limits(0.5, 10, 0.5, 10))[0]
    below = run([logits, maps[1]], [], Limits(0.4999, 10, 0.5, 10))[0]
    assert (len(at_half), len(below)) == (0, 1)
    assert below.pred_classes.item() == 1
    wanted = decode(maps[1][0][0, :, 2, 3], torch.tensor([[24.0, 16.0, 8.0]]), SCALE)
    assert torch.equal(below.pred_boxes.tensor, wanted)
