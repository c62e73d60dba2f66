"""The detector as a whole: size and operations, start, letterboxing, the stand-in backbone, wrong settings."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from replication.catalog import CONFIGS
from replication.catalog.variants import resolve
from replication.detectors import Darknet53, EfficientNetLite, add_replication_config, use_backbone
from replication.errors import ConfigError
from replication.training.config import add_training_config


def config(name: str = "yolov3_D53_giou", **yolov3: object) -> CfgNode:
    cfg = get_cfg()
    add_replication_config(cfg)
    add_training_config(cfg)
    cfg.merge_from_other_cfg(CfgNode(resolve(CONFIGS / "variants" / f"{name}.yaml")))
    cfg.MODEL.DEVICE = "cpu"
    for key, value in yolov3.items():
        cfg.MODEL.YOLOV3[key] = value
    return cfg


def small(**yolov3: object) -> CfgNode:
    """The stand-in backbone, untrained, under narrow heads, 64 x 64."""
    cfg = config(**{"WIDTHS": [16, 8, 8], "NUM_CLASSES": 3, **yolov3})
    use_backbone(cfg, "efficientnet_lite0")
    for key in ("MIN_SIZE_TEST", "MAX_SIZE_TEST", "MAX_SIZE_TRAIN"):
        cfg.INPUT[key] = 64
    cfg.INPUT.MIN_SIZE_TRAIN = [64]
    return cfg


def build(cfg: CfgNode) -> Any:
    torch.manual_seed(1)
    return build_model(cfg)


def photo(size: tuple[int, int], boxes: list[list[float]], seed: int = 3) -> dict[str, Any]:
    instances = Instances(size, gt_boxes=Boxes(torch.tensor(boxes).view(-1, 4)))
    instances.gt_classes = torch.arange(len(boxes)) % 3
    image = torch.randint(0, 256, (3, *size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return {"image": image, "instances": instances, "height": 2 * size[0], "width": 2 * size[1]}


def step(model: nn.Module, batch: list[dict[str, Any]]) -> tuple[dict[str, Tensor], dict[str, float]]:
    model.train().zero_grad()
    with EventStorage() as storage:
        losses: dict[str, Tensor] = model(batch)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        return losses, {key: value for key, (value, _) in storage.latest().items()}


@pytest.mark.parametrize(
    ("classes", "parameters", "operations"),
    [
        (80, 61_949_149, (38.973, 65.864, 140.692)),
        (20, 61_626_049, (38.715, 65.428, 139.760)),
        (10, 61_572_199, (38.672, 65.355, 139.605)),
    ],
)
def test_parameters_and_operations(classes: int, parameters: int, operations: tuple[float, ...]) -> None:
    """Against counts that fit the published files; operations are two a multiplication, of convolutions."""
    cfg = config(NUM_CLASSES=classes)
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        model = build(cfg)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert sum(p.numel() for p in model.backbone.parameters()) == 40_584_928
    norms = [m.num_features for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert (len(norms), sum(norms)) == (72, 26_304)
    assert all((m.eps, m.momentum) == (1e-5, 0.01) for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    backbone = {320: 29.013, 416: 49.032, 608: 104.736}
    for (side, below), expected, boxes in zip(backbone.items(), operations, (6_300, 10_647, 22_743), strict=True):
        counts: dict[nn.Module, int] = {}

        def count(module: Any, given: Any, output: Tensor, into: dict[nn.Module, int] = counts) -> None:
            into[module] = 2 * module.weight.numel() * output.shape[-2] * output.shape[-1]

        hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, nn.Conv2d)]
        raw, _ = model.predict(torch.empty(1, 3, side, side, device="meta"))
        for hook in hooks:
            hook.remove()
        assert raw.shape == (1, boxes, 5 + classes)
        assert sum(counts.values()) / 1e9 == pytest.approx(expected, abs=5e-4)
        inside = set(model.backbone.modules())
        assert sum(value for m, value in counts.items() if m in inside) / 1e9 == pytest.approx(below, abs=5e-4)


def test_how_weights_start() -> None:
    model = build(config(NUM_CLASSES=2, OUTPUT_SCALE=0.3, OBJECTNESS_BIAS=-4.6, CLASS_BIAS=-2.2))
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 50_000 and module.bias is None:
            fan_in = module.weight[0].numel()
            assert module.weight.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=0.02)
    for level in model.head.levels:
        fan_in = level.predict.weight[0].numel()
        assert level.predict.weight.std().item() == pytest.approx(0.3 * math.sqrt(2 / fan_in), rel=0.06)
        assert level.predict.bias.view(3, 7).tolist() == [pytest.approx([0, 0, 0, 0, -4.6, -2.2, -2.2])] * 3


def test_all_losses_start_from_the_same_weights() -> None:
    states = [build(small(BBOX_REG_LOSS_TYPE=loss)).state_dict() for loss in ("mse", "iou", "giou")]
    assert all(torch.equal(value, other[key]) for other in states[1:] for key, value in states[0].items())


def test_the_stand_in_backbone_stands_under_the_head() -> None:
    model = build(small())
    assert isinstance(model.backbone, EfficientNetLite)
    assert [level.block[0].conv.in_channels for level in model.head.levels] == [320, 112 + 8, 40 + 4]
    assert isinstance(build(config(NUM_CLASSES=1)).backbone, Darknet53)


def test_stages_of_darknet53_can_be_frozen() -> None:
    model = Darknet53(freeze_at=3)
    trained = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"res3", "res4", "res5"}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()(torch.rand(2, 3, 64, 64))
    changed = {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == trained


@pytest.mark.parametrize("loss", ["mse", "iou", "giou"])
@pytest.mark.parametrize("boxes", [[[10.0, 10, 30, 40], [12.0, 12, 30, 40], [40.0, 20, 60, 44]], []])
def test_a_step(loss: str, boxes: list[list[float]]) -> None:
    """Every parameter gets a finite gradient, and the same each time; without an object too."""
    model = build(small(BBOX_REG_LOSS_TYPE=loss))
    batch = [photo((48, 64), boxes), photo((64, 64), [], 5)]
    losses, logged = step(model, batch)
    assert set(losses) == {"loss_obj", "loss_cls", "loss_box"}
    assert set(logged) == ({"iou", "class_loss"} if boxes else set())
    first = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    missing = {name for name, p in model.named_parameters() if p.requires_grad} - first.keys()
    assert not missing
    assert all(gradient.isfinite().all() for gradient in first.values())
    again, _ = step(model, batch)
    for name, p in model.named_parameters():
        assert p.grad is None or torch.equal(p.grad, first[name]), name
    assert all(torch.equal(losses[key], again[key]) for key in losses)


def test_objects_move_with_their_letterboxed_image() -> None:
    """An image with its margin already around it has the same losses."""
    model = build(small())
    wide = photo((48, 64), [[10.0, 10, 30, 40]])
    square = photo((64, 64), [[10.0, 18, 30, 48]])
    margin = torch.full((3, 8, 64), 127.5)
    square["image"] = torch.cat([margin, wide["image"].float(), margin], dim=1)
    one, other = step(model, [wide, wide])[0], step(model, [square, square])[0]
    for key, value in one.items():
        torch.testing.assert_close(value, other[key])


def test_detections_are_in_pixels_of_the_original_image_and_do_not_depend_on_other_images() -> None:
    model = build(small(SCORE_THRESH_TEST=0.2)).eval()
    wide, tall = photo((48, 64), []), photo((64, 40), [], 7)
    with torch.no_grad():
        both, alone = model([wide, tall]), [model([wide]), model([tall])]
    for given, found, (single,) in zip((wide, tall), both, alone, strict=True):
        one, other = found["instances"], single["instances"]
        assert one.image_size == (given["height"], given["width"])
        assert len(one) == len(other) > 0
        torch.testing.assert_close(one.pred_boxes.tensor, other.pred_boxes.tensor, rtol=1e-4, atol=1e-3)
        assert (one.pred_boxes.tensor >= 0).all()
        assert (one.pred_boxes.tensor <= torch.tensor([one.image_size[1], one.image_size[0]] * 2)).all()
        assert one.scores.tolist() == sorted(one.scores.tolist(), reverse=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ANCHORS": [[10, 13]] * 8}, "MODEL.YOLOV3.ANCHORS: 8 anchors for 3 levels; give 9, 3 a level"),
        ({"ANCHORS": [[10, 13]] * 8 + [[10, 0]]}, "MODEL.YOLOV3.ANCHORS: entry 8: .*expected a positive width"),
        ({"ANCHORS": [[10, 13]] * 8 + [[10]]}, "MODEL.YOLOV3.ANCHORS: entry 8"),
        ({"STRIDES": [8, 16, 32]}, "MODEL.YOLOV3.STRIDES: .*from coarse to fine"),
        ({"STRIDES": [64, 32, 16]}, "MODEL.YOLOV3.IN_FEATURES: .*the backbone has .*res5 of stride 32"),
        ({"IN_FEATURES": ["res5", "res4", "p3"]}, "MODEL.YOLOV3.IN_FEATURES: .*p3.*the backbone has"),
        ({"WIDTHS": [512, 256]}, "MODEL.YOLOV3.WIDTHS: 2 entries for the 3 levels"),
        ({"WIDTHS": [512, 256, 3]}, "MODEL.YOLOV3.WIDTHS: .*even numbers"),
        ({"BBOX_REG_LOSS_TYPE": "diou"}, "BBOX_REG_LOSS_TYPE: 'diou' is unknown; choose from mse, iou, giou, log_iou"),
        ({"BBOX_REG_LOSS_TYPE": "smooth_l1"}, "MODEL.YOLOV3.BBOX_REG_LOSS_TYPE: 'smooth_l1' is unknown"),
        ({"GRADIENT": "best"}, "MODEL.YOLOV3.GRADIENT: 'best' is unknown"),
        ({"GRADIENT": "released", "BBOX_REG_LOSS_TYPE": "mse"}, "MODEL.YOLOV3.GRADIENT: released is for iou and giou"),
        ({"BBOX_REG_LOSS_WEIGHT": 0.0}, "MODEL.YOLOV3.BBOX_REG_LOSS_WEIGHT: 0.0: expected a positive number"),
        ({"IGNORE_THRESH": 1.5}, "MODEL.YOLOV3.IGNORE_THRESH: 1.5: expected a number from 0 to 1"),
    ],
)
def test_settings_that_do_not_fit_each_other(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        build(small(**change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("MIN_SIZE_TEST", 100, "INPUT.MIN_SIZE_TEST: 100 is not a multiple of 32, .*choose 96"),
        ("MIN_SIZE_TRAIN", [64, 90], "INPUT.MIN_SIZE_TRAIN: 90 is not a multiple of 32"),
        ("MAX_SIZE_TEST", 96, "INPUT.MAX_SIZE_TEST: 96: YOLOv3 letterboxes .*give the largest side .*64"),
        ("MAX_SIZE_TRAIN", 100, "INPUT.MAX_SIZE_TRAIN: 100: YOLOv3 letterboxes"),
    ],
)
def test_sides_that_do_not_fit_the_grid(key: str, value: object, message: str) -> None:
    cfg = small()
    cfg.INPUT[key] = value
    with pytest.raises(ConfigError, match=message):
        build(cfg)
