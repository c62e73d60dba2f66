"""Test-time augmentation: with a detector that finds painted rectangles exactly, every view must say the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import transforms as T
from detectron2.modeling.meta_arch.dense_detector import DenseDetector
from detectron2.structures import Boxes, Instances

from replication.detectors.multi_scale import DenseDetectorWithTTA
from replication.errors import ConfigError


class Finder(DenseDetector):
    """Finds the bright rectangle of each channel, class = channel; notes the views it was shown."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.test_nms_thresh, self.max_detections_per_image = 0.5, 100
        self.seen: list[tuple[int, int]] = []

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        image = batched_inputs[0]["image"]
        height, width = image.shape[1:]
        assert (batched_inputs[0]["height"], batched_inputs[0]["width"]) == (height, width)
        self.seen.append((height, width))
        boxes, classes = [], []
        for channel in range(3):
            rows, columns = torch.where(image[channel] > 127)
            if len(rows):
                boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
                classes.append(channel)
        # Larger views are surer, so that it is known which one is kept.
        scores = torch.tensor([height / 1000.0] * len(boxes))
        fields = {"scores": scores, "pred_classes": torch.tensor(classes, dtype=torch.int64)}
        box = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
        return [{"instances": Instances((height, width), pred_boxes=box, **fields)}]


def config(sizes: list[int], flip: bool, most: int = 2000) -> Any:
    cfg = get_cfg()
    cfg.TEST.AUG.MIN_SIZES, cfg.TEST.AUG.MAX_SIZE, cfg.TEST.AUG.FLIP = sizes, most, flip
    return cfg


def painted() -> dict[str, Any]:
    image = torch.zeros(3, 100, 200, dtype=torch.uint8)
    image[0, 20:60, 30:80] = 255
    image[2, 10:30, 150:190] = 255
    return {"image": image, "height": 100, "width": 200}


TRUTH = {0: [30.0, 20.0, 80.0, 60.0], 2: [150.0, 10.0, 190.0, 30.0]}


@pytest.mark.parametrize("flip", [True, False])
def test_views_are_mapped_back_and_merged(flip: bool) -> None:
    model = Finder()
    found = DenseDetectorWithTTA(config([50, 100, 200], flip), model)([painted()])[0]["instances"]
    sizes = [(50, 100), (100, 200), (200, 400)]
    assert model.seen == [size for size in sizes for _ in range(2 if flip else 1)]
    assert found.image_size == (100, 200)
    assert sorted(found.pred_classes.tolist()) == [0, 2]  # the same box in all views is one detection
    assert found.scores.tolist() == pytest.approx([0.2, 0.2])
    for label, box in zip(found.pred_classes.tolist(), found.pred_boxes.tensor.tolist(), strict=True):
        assert box == pytest.approx(TRUTH[label], abs=1.0)


def test_the_longer_side_is_limited() -> None:
    model = Finder()
    DenseDetectorWithTTA(config([400], False, most=300), model)([painted()])
    assert model.seen == [(150, 300)]


def test_a_flipped_view_really_is_flipped() -> None:
    """Only the mirrored view, mapped back by hand: x -> width - x."""
    predictor = DenseDetectorWithTTA(config([100], True), Finder())
    plain, mirrored = predictor.views(painted())
    assert np.array_equal(mirrored["image"].numpy()[:, :, ::-1], plain["image"].numpy())
    raw = predictor.model([{"image": mirrored["image"], "height": 100, "width": 200}])[0]["instances"]
    assert raw.pred_boxes.tensor[0].tolist() == [200 - 80.0, 20.0, 200 - 30.0, 60.0]
    assert isinstance(mirrored["transforms"], T.TransformList)
    back = predictor._detect(mirrored, 100, 200)
    assert back.pred_boxes.tensor[0].tolist() == TRUTH[0]


def test_nothing_found_in_any_view() -> None:
    empty = {**painted(), "image": torch.zeros(3, 100, 200, dtype=torch.uint8)}
    found = DenseDetectorWithTTA(config([50, 100], True), Finder())([empty])[0]["instances"]
    assert len(found) == 0


def test_the_best_are_kept() -> None:
    model = Finder()
    model.max_detections_per_image = 1
    assert len(DenseDetectorWithTTA(config([100], False), model)([painted()])[0]["instances"]) == 1


def test_other_detectors_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"TEST\.AUG\.ENABLED: .* not Linear"):
        DenseDetectorWithTTA(config([100], False), torch.nn.Linear(1, 1))
