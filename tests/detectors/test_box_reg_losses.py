"""One registry of box losses for the RoI head, the RPN, RetinaNet and FSAF's anchor-based branch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.meta_arch import retinanet as detectron2_retinanet
from detectron2.modeling.proposal_generator import rpn as detectron2_rpn
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from fvcore.nn import smooth_l1_loss
from torch import Tensor, nn
from torchvision.ops import distance_box_iou_loss

from replication.detectors import add_replication_config, use_backbone
from replication.detectors.losses import (
    BOX_REG_LOSS_REGISTRY,
    MatchedBoxes,
    box_reg_loss,
    build_box_reg_loss,
    giou_loss,
    iou_loss,
)
from replication.errors import ConfigError

VARIANTS = Path(__file__).parents[2] / "configs" / "variants"
DETECTRON2 = {
    "faster_rcnn_R50": [
        "MODEL.ROI_HEADS.NAME",
        "StandardROIHeads",
        "MODEL.PROPOSAL_GENERATOR.NAME",
        "RPN",
    ],
    "retinanet_R50": ["MODEL.META_ARCHITECTURE", "RetinaNet"],
    "fsaf_R50_joint": ["MODEL.META_ARCHITECTURE", "RetinaNet"],
}
# The four heads: variant, node under MODEL, name of the loss value.
HEADS = [
    ("faster_rcnn_R50", "ROI_BOX_HEAD", "loss_box_reg"),
    ("faster_rcnn_R50", "RPN", "loss_rpn_loc"),
    ("retinanet_R50", "RETINANET", "loss_box_reg"),
    ("fsaf_R50_joint", "RETINANET", "loss_box_reg"),
]
each_head = pytest.mark.parametrize(("variant", "head", "value"), HEADS, ids=["roi", "rpn", "retinanet", "fsaf"])


@pytest.fixture
def own_losses() -> Iterator[None]:
    """Two losses of a user's own: one on deltas with a setting, one on boxes that another library wrote."""
    before = dict(BOX_REG_LOSS_REGISTRY)

    @box_reg_loss("scaled_l1", on="deltas", defaults={"SCALE": 3.0})
    def scaled_l1(pred: Tensor, target: Tensor, scale: float, reduction: str = "none") -> Tensor:
        assert reduction == "sum"
        return scale * (pred - target).abs().sum()

    box_reg_loss("diou", on="boxes")(distance_box_iou_loss)
    yield
    for name in dict(BOX_REG_LOSS_REGISTRY).keys() - before:
        del BOX_REG_LOSS_REGISTRY._obj_map[name]


def config(variant: str, *changes: Any) -> CfgNode:
    cfg = get_cfg()
    add_replication_config(cfg)
    cfg.merge_from_file(str(VARIANTS / f"{variant}.yaml"), allow_unsafe=False)
    use_backbone(cfg, "efficientnet_lite0")
    cfg.merge_from_list(
        [
            *("MODEL.DEVICE", "cpu", "MODEL.FPN.OUT_CHANNELS", 16, "MODEL.RETINANET.NUM_CONVS", 1),
            *("MODEL.ROI_BOX_HEAD.FC_DIM", 16, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 32),
            *("MODEL.RPN.BOUNDARY_THRESH", -1),
            *changes,
        ]
    )
    return cfg


def losses(variant: str, *changes: Any) -> dict[str, Tensor]:
    """One training step's losses, after their backward pass, of a model whose boxes are far from the anchors."""
    torch.manual_seed(3)
    net = build_model(config(variant, *changes)).train()
    generator = torch.Generator().manual_seed(5)
    for name, parameter in net.named_parameters():
        if name.endswith(("anchor_deltas.weight", "head.bbox_pred.weight", "box_predictor.bbox_pred.weight")):
            nn.init.normal_(parameter, std=0.2, generator=generator)
    instances = Instances((96, 128))
    instances.gt_boxes = Boxes(torch.tensor([[10.0, 10, 50, 60], [60, 20, 120, 90]]))
    instances.gt_classes = torch.tensor([0, 1])
    image = torch.randint(0, 256, (3, 96, 128), generator=generator, dtype=torch.uint8)
    torch.manual_seed(8)
    with EventStorage():
        values: dict[str, Tensor] = net([{"image": image, "instances": instances, "height": 96, "width": 128}])
        sum(values.values(), torch.zeros(())).backward()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)
    return values


@each_head
@pytest.mark.usefixtures("own_losses")
def test_a_new_loss_with_a_setting_is_usable_in_every_head(variant: str, head: str, value: str) -> None:
    kind, scale = f"MODEL.{head}.BBOX_REG_LOSS_TYPE", f"MODEL.{head}.SCALED_L1.SCALE"
    plain = losses(variant, kind, "l1")
    for changes, factor in (([], 3.0), ([scale, 0.5], 0.5)):
        new = losses(variant, kind, "scaled_l1", *changes)
        assert plain[value].item() > 0
        torch.testing.assert_close(new.pop(value), factor * plain[value])
        for name, other in new.items():
            assert torch.equal(other, plain[name]), name


@each_head
@pytest.mark.usefixtures("own_losses")
@pytest.mark.parametrize("loss", ["giou", "diou"])
def test_losses_on_boxes_are_those_of_detectron2(variant: str, head: str, value: str, loss: str) -> None:
    """Detectron2 has both for these heads, computed by fvcore."""
    kind = f"MODEL.{head}.BBOX_REG_LOSS_TYPE"
    ours, theirs = losses(variant, kind, loss), losses(variant, kind, loss, *DETECTRON2[variant])
    assert ours[value].item() > 0
    torch.testing.assert_close(ours[value], theirs[value], rtol=1e-5, atol=1e-7)


@each_head
def test_every_head_knows_every_loss_and_none_is_computed_twice(
    variant: str, head: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("Detectron2's own box loss was computed")

    monkeypatch.setattr(detectron2_rpn, "_dense_box_regression_loss", refuse)
    monkeypatch.setattr(detectron2_retinanet, "_dense_box_regression_loss", refuse)
    found = {
        loss: losses(variant, f"MODEL.{head}.BBOX_REG_LOSS_TYPE", loss)[value].item()
        for loss in ("smooth_l1", "l1", "balanced_l1", "iou", "giou", "log_iou")
    }
    assert len({round(number, 6) for number in found.values()}) == len(found), found


@each_head
def test_weight_and_beta_are_read_beside_the_loss(variant: str, head: str, value: str) -> None:
    beta = "SMOOTH_L1_LOSS_BETA" if head == "RETINANET" else "SMOOTH_L1_BETA"
    plain = losses(variant, f"MODEL.{head}.BBOX_REG_LOSS_TYPE", "l1")[value]
    as_smooth = losses(variant, f"MODEL.{head}.BBOX_REG_LOSS_TYPE", "smooth_l1", f"MODEL.{head}.{beta}", 0.0)[value]
    weighted = losses(variant, f"MODEL.{head}.BBOX_REG_LOSS_TYPE", "l1", f"MODEL.{head}.BBOX_REG_LOSS_WEIGHT", 4.0)
    assert torch.equal(plain, as_smooth)
    torch.testing.assert_close(weighted[value], 4 * plain)


@each_head
def test_a_wrong_value_is_named(variant: str, head: str, value: str) -> None:
    key = f"MODEL.{head}.BBOX_REG_LOSS_TYPE"
    with pytest.raises(ConfigError, match=rf"{key}: 'l3' is unknown; choose from .*smooth_l1"):
        build_model(config(variant, key, "l3"))
    name = "SMOOTH_L1_LOSS_BETA" if head == "RETINANET" else "SMOOTH_L1_BETA"
    with pytest.raises(ConfigError, match=rf"MODEL.{head}.{name}: -1.0 is less than 0"):
        build_model(config(variant, f"MODEL.{head}.{name}", -1.0))


def test_a_name_is_entered_once() -> None:
    with pytest.raises(AssertionError, match="already registered"):
        box_reg_loss("giou", on="boxes")(giou_loss)


class Corners:
    """A head that predicts the corners themselves as fractions of 100 pixels: no Box2BoxTransform."""

    def get_deltas(self, src_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        return target_boxes / 100

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        return deltas * 100


@pytest.mark.parametrize("transform", [Corners(), Box2BoxTransform((1.0, 1.0, 1.0, 1.0))], ids=["corners", "boxes"])
def test_a_loss_says_whether_it_is_on_deltas_or_on_boxes(transform: Any) -> None:
    generator = torch.Generator().manual_seed(1)
    corner = 50 * torch.rand(5, 2, generator=generator)
    anchors = torch.cat([corner, corner + 10], 1)
    matched = MatchedBoxes(torch.rand(5, 4, generator=generator), anchors, anchors + 2, transform)
    cfg = config("retinanet_R50")
    cfg.MODEL.RETINANET.BBOX_REG_LOSS_TYPE = "smooth_l1"
    expected = smooth_l1_loss(matched.deltas, transform.get_deltas(anchors, anchors + 2), 0.11, reduction="sum")
    torch.testing.assert_close(build_box_reg_loss(cfg, "RETINANET").sum(matched), expected)
    cfg.MODEL.RETINANET.BBOX_REG_LOSS_TYPE = "iou"
    expected = iou_loss(transform.apply_deltas(matched.deltas, anchors), anchors + 2, "sum")
    torch.testing.assert_close(build_box_reg_loss(cfg, "RETINANET").sum(matched), expected)
