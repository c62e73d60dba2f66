"""Darknet's augmentation: geometry on images whose answer is known, colours, sides by position, what is dropped."""

from __future__ import annotations

import colorsys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.config import CfgNode, get_cfg
from PIL import Image

from replication.catalog import CONFIGS
from replication.catalog.variants import resolve
from replication.detectors import add_replication_config
from replication.errors import ConfigError
from replication.training.augmentation import DarknetCrop, DarknetMapper, Sides, _factor, shift_colour, training_mapper
from replication.training.config import add_training_config
from replication.training.data import MappedRecords


def config(**darknet: object) -> CfgNode:
    cfg = get_cfg()
    add_replication_config(cfg)
    add_training_config(cfg)
    cfg.merge_from_other_cfg(CfgNode(resolve(CONFIGS / "variants" / "yolov3_D53_giou.yaml")))
    cfg.SEED = 0
    for key, value in darknet.items():
        cfg.INPUT.DARKNET[key] = value
    return cfg


@pytest.fixture
def record(tmp_path: Path) -> dict[str, Any]:
    pixels = np.zeros((80, 120, 3), np.uint8)
    pixels[20:60, 30:90] = (200, 40, 90)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    boxes = [[30, 20, 90, 60], [0, 0, 2, 2], [100, 70, 120, 80]]
    annotations = [{"bbox": box, "bbox_mode": 0, "category_id": n, "iscrowd": 0} for n, box in enumerate(boxes)]
    path = str(tmp_path / "image.png")
    return {"file_name": path, "width": 120, "height": 80, "image_id": 1, "annotations": annotations, "position": 0}


def mapped(cfg: CfgNode, record: dict[str, Any], seed: int) -> dict[str, Any]:
    np.random.seed(seed)
    result: dict[str, Any] = DarknetMapper(cfg)(record)
    return result


def test_an_object_s_box_stays_around_its_pixels(record: dict[str, Any]) -> None:
    cfg = config(HUE=0.0, SATURATION=1.0, EXPOSURE=1.0, SIDES=[320])
    for seed in range(20):
        one = mapped(cfg, record, seed)
        assert tuple(one["image"].shape) == (3, 320, 320)
        red = one["image"][0].numpy() > 100
        ys, xs = np.nonzero(red)
        box = one["instances"].gt_boxes.tensor[one["instances"].gt_classes == 0][0].tolist()
        assert box == pytest.approx([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], abs=4)


def test_the_crop_is_within_the_jitter_and_black_outside(record: dict[str, Any]) -> None:
    image = np.full((100, 200, 3), 255, np.uint8)
    rects = []
    for seed in range(200):
        np.random.seed(seed)
        transform = DarknetCrop(0.3, 64).get_transform(image)
        x0, y0, x1, y1 = transform.src_rect
        rects.append((x0 / 200, y0 / 100, (200 - x1) / 200, (100 - y1) / 100))
        assert all(isinstance(edge, int) for edge in transform.src_rect)
        out = transform.apply_image(image)
        outside = max(0, -x0) * 64 / (x1 - x0)
        assert out.shape == (64, 64, 3)
        assert (out[32, : int(outside)] == 0).all()
        assert (out[32, int(np.ceil(outside)) + 1 : 32] == 255).all()
    edges = np.array(rects)
    assert np.abs(edges).max() <= 0.3
    assert (edges.min(axis=0) < -0.28).all()
    assert (edges.max(axis=0) > 0.28).all()
    assert np.abs(edges.mean(axis=0)).max() < 0.04


def test_next_to_nothing_is_dropped_and_there_is_a_most(record: dict[str, Any]) -> None:
    seen = set()
    for seed in range(40):
        one = mapped(config(SIDES=[320]), record, seed)["instances"]
        sides = one.gt_boxes.tensor[:, 2:] - one.gt_boxes.tensor[:, :2]
        assert (sides >= 0.32).all()
        seen.add(tuple(one.gt_classes.tolist()))
    assert {(0, 1, 2), (0,)} <= seen
    one_object = config(MAX_OBJECTS=1, JITTER=0.0)
    kept = {tuple(mapped(one_object, record, seed)["instances"].gt_classes.tolist()) for seed in range(40)}
    assert kept == {(0,), (1,), (2,)}


@pytest.mark.parametrize(
    ("hue", "saturation", "value"), [(0.1, 1.0, 1.0), (-0.1, 1.5, 1.0), (0.05, 0.7, 0.8), (0, 1, 1.4)]
)
def test_colours_change_as_in_hsv(hue: float, saturation: float, value: float) -> None:
    """Against Python's own conversion, within the rounding of 8 bits; a hue below 0 goes round the circle."""
    generator = np.random.default_rng(0)
    image = generator.integers(60, 200, (16, 16, 3)).astype(np.uint8)
    changed = shift_colour(image, hue, saturation, value)
    for before, after in zip(image.reshape(-1, 3), changed.reshape(-1, 3), strict=True):
        h, s, v = colorsys.rgb_to_hsv(*(before / 255))
        expected = colorsys.hsv_to_rgb((h + hue) % 1, min(s * saturation, 1), min(v * value, 1))
        assert np.abs(after / 255 - np.array(expected)).max() < 0.03
    flipped = shift_colour(image[..., ::-1], hue, saturation, value, "BGR")
    assert np.array_equal(flipped[..., ::-1], changed)


def test_factors_are_as_often_inverted_as_not() -> None:
    np.random.seed(0)
    factors = np.array([_factor(1.5) for _ in range(2000)])
    assert 1 / 1.5 <= factors.min() < 0.68 < 1.48 < factors.max() <= 1.5
    assert (factors > 1).mean() == pytest.approx(0.5, abs=0.04)


def test_sides_belong_to_iterations() -> None:
    sides = Sides((320, 352, 608), every=10, last=200, batch=64, iterations=1000, seed=0)
    by_iteration = [sides.at(iteration * 64) for iteration in range(1000)]
    for iteration in (0, 9, 10, 799, 800):
        assert sides.at(iteration * 64 + 63) == by_iteration[iteration]
    for start in range(0, 1000, 10):
        assert len(set(by_iteration[start : start + 10])) == 1
    assert by_iteration[800:] == [608] * 200
    drawn = by_iteration[:800:10]
    assert {drawn.count(side) > 15 for side in (320, 352, 608)} == {True}
    assert by_iteration != [Sides((320, 352, 608), 10, 200, 64, 1000, 1).at(i * 64) for i in range(1000)]


def test_an_image_depends_on_its_position_alone(record: dict[str, Any]) -> None:
    """Not on what was mapped before, so neither workers nor an interruption change it."""
    cfg = config(SIDES=[64, 96])
    there = MappedRecords([record], DarknetMapper(cfg), seed=3)
    again = MappedRecords([record], DarknetMapper(cfg), seed=3)
    first = [there[position, 0] for position in (0, 5, 700)]
    for position, one in zip((700, 5, 0), reversed(first), strict=True):
        other = again[position, 0]
        assert np.array_equal(one["image"], other["image"])  # type: ignore[index]
    assert not np.array_equal(first[0]["image"], first[1]["image"])  # type: ignore[index]


def test_off_by_default(record: dict[str, Any]) -> None:
    cfg = config(ENABLED=False)
    assert not isinstance(training_mapper(cfg), DarknetMapper)
    assert isinstance(training_mapper(config()), DarknetMapper)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("INPUT.DARKNET.SIDES", [320, 330], "INPUT.DARKNET.SIDES: .330.: give multiples of 32"),
        ("INPUT.DARKNET.SIDES", [], "INPUT.DARKNET.SIDES: "),
        ("DATALOADER.ASPECT_RATIO_GROUPING", True, "DATALOADER.ASPECT_RATIO_GROUPING: true with INPUT.DARKNET"),
    ],
)
def test_settings_that_do_not_fit(key: str, value: object, message: str) -> None:
    cfg = config()
    cfg.merge_from_list([key, value])
    with pytest.raises(ConfigError, match=message):
        training_mapper(cfg)
