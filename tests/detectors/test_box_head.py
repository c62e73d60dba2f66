"""The box head's loss switch: Detectron2's own with smooth L1, the paper's with IoU and GIoU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.roi_heads import FastRCNNOutputLayers, StandardROIHeads
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from torch import Tensor

from replication.detectors import BoxPredictor, ReplicationROIHeads, add_replication_config
from replication.detectors.losses import balanced_l1_loss, build_box_reg_loss, giou_loss, iou, iou_loss
from replication.errors import ConfigError

CLASSES, FEATURES = 3, 8
TRANSFORM = Box2BoxTransform(weights=(10.0, 10.0, 5.0, 5.0))


def predictor(kind: type, loss: str, weight: float = 1.0, agnostic: bool = False) -> Any:
    torch.manual_seed(0)
    head = kind(
        ShapeSpec(channels=FEATURES),
        box2box_transform=TRANSFORM,
        num_classes=CLASSES,
        cls_agnostic_bbox_reg=agnostic,
        smooth_l1_beta=1.0,
        **({"regression_loss": build_box_reg_loss(roi_config(loss), "ROI_BOX_HEAD")} if kind is BoxPredictor else {}),
        loss_weight={"loss_box_reg": weight},
    )
    torch.nn.init.normal_(head.bbox_pred.weight, std=0.3)  # far from the start, where every delta is 0
    return head


def proposals(classes: list[list[int]]) -> list[Instances]:
    """Sampled RoIs of as many images as lists; class 3 is background. Seeded."""
    generator = torch.Generator().manual_seed(1)
    sampled = []
    for labels in classes:
        corner = torch.rand(len(labels), 2, generator=generator) * 50
        boxes = torch.cat([corner, corner + 5 + torch.rand(len(labels), 2, generator=generator) * 40], dim=1)
        jitter = torch.randn(len(labels), 4, generator=generator)
        instances = Instances((100, 100))
        instances.proposal_boxes = Boxes(boxes)
        instances.gt_boxes = Boxes(boxes + jitter)
        instances.gt_classes = torch.tensor(labels, dtype=torch.int64)
        sampled.append(instances)
    return sampled


MIXED = [[0, 3, 2, 3, 1], [3, 2, 3]]


def features(count: int) -> Tensor:
    return torch.randn(count, FEATURES, generator=torch.Generator().manual_seed(2))


def losses(head: Any, sampled: list[Instances]) -> tuple[dict[str, Tensor], dict[str, float]]:
    with EventStorage() as storage:
        values = head.losses(head(features(sum(map(len, sampled)))), sampled)
        return values, {key: value for key, (value, _) in storage.latest().items()}


def decoded_foreground(head: Any, sampled: list[Instances]) -> tuple[Tensor, Tensor]:
    """Predicted boxes of the true class and their ground truth, RoI by RoI."""
    _, deltas = head(features(sum(map(len, sampled))))
    boxes = torch.cat([p.proposal_boxes.tensor for p in sampled])
    targets = torch.cat([p.gt_boxes.tensor for p in sampled])
    labels = torch.cat([p.gt_classes for p in sampled]).tolist()
    rows = [i for i, label in enumerate(labels) if label < CLASSES]
    pred = [
        TRANSFORM.apply_deltas(deltas[i : i + 1, 4 * labels[i] : 4 * labels[i] + 4], boxes[i : i + 1]) for i in rows
    ]
    return torch.cat(pred), targets[rows]


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("classes", [MIXED, [[3, 3], [3]], [[], [1]]])
def test_smooth_l1_is_detectron2s(classes: list[list[int]], agnostic: bool) -> None:
    sampled = proposals(classes)
    ours, theirs = (predictor(kind, "smooth_l1", agnostic=agnostic) for kind in (BoxPredictor, FastRCNNOutputLayers))
    of_ours, logged = losses(ours, sampled)
    of_theirs, logged_there = losses(theirs, sampled)
    assert of_ours.keys() == of_theirs.keys()
    for key in of_ours:
        assert torch.equal(of_ours[key], of_theirs[key])
    assert logged.keys() - {"iou"} == logged_there.keys()
    sum(of_ours.values(), torch.zeros(())).backward()
    sum(of_theirs.values(), torch.zeros(())).backward()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine.grad, other.grad)


@pytest.mark.parametrize(("loss", "function"), [("iou", iou_loss), ("giou", giou_loss)])
def test_decoded_loss_is_over_all_sampled_rois_times_ten(loss: str, function: Any) -> None:
    """Four foreground RoIs of eight: their sum over eight, times the paper's 10."""
    head, sampled = predictor(BoxPredictor, loss, weight=10.0), proposals(MIXED)
    values, _ = losses(head, sampled)
    pred, target = decoded_foreground(head, sampled)
    assert len(pred) == 4
    torch.testing.assert_close(values["loss_box_reg"], 10 * function(pred, target).sum() / 8)
    values["loss_box_reg"].backward()
    gradient = head.bbox_pred.bias.grad.view(CLASSES, 4)
    assert (gradient != 0).any(dim=1).all()  # classes 0, 1 and 2 all occur


def test_balanced_l1_is_on_the_deltas_over_all_sampled_rois() -> None:
    """Four foreground RoIs of eight; targets are deltas in units of the papers' standard deviations."""
    head, sampled = predictor(BoxPredictor, "balanced_l1"), proposals(MIXED)
    values, _ = losses(head, sampled)
    _, deltas = head(features(8))
    labels = torch.cat([p.gt_classes for p in sampled]).tolist()
    boxes, targets = (torch.cat([p.get(k).tensor for p in sampled]) for k in ("proposal_boxes", "gt_boxes"))
    rows = [i for i, label in enumerate(labels) if label < CLASSES]
    pred = torch.stack([deltas[i, 4 * labels[i] : 4 * labels[i] + 4] for i in rows])
    expected = balanced_l1_loss(pred, TRANSFORM.get_deltas(boxes[rows], targets[rows]), reduction="sum") / 8
    torch.testing.assert_close(values["loss_box_reg"], expected)
    values["loss_box_reg"].backward()
    assert (head.bbox_pred.bias.grad.view(CLASSES, 4) != 0).any(dim=1).all()


def test_only_the_true_class_is_trained() -> None:
    head = predictor(BoxPredictor, "giou", weight=10.0)
    values, _ = losses(head, proposals([[1, 3, 1]]))
    values["loss_box_reg"].backward()
    gradient = head.bbox_pred.bias.grad.view(CLASSES, 4)
    assert (gradient[1] != 0).any()
    assert torch.equal(gradient[[0, 2]], torch.zeros(2, 4))


@pytest.mark.parametrize("loss", ["smooth_l1", "l1", "balanced_l1", "iou", "giou"])
@pytest.mark.parametrize("classes", [[[3, 3, 3]], [[], []]])
def test_without_foreground_the_loss_is_zero_with_a_graph(loss: str, classes: list[list[int]]) -> None:
    head = predictor(BoxPredictor, loss, weight=10.0)
    values, logged = losses(head, proposals(classes))
    assert values["loss_box_reg"].item() == 0
    assert "iou" not in logged
    values["loss_box_reg"].backward()
    assert torch.equal(head.bbox_pred.weight.grad, torch.zeros_like(head.bbox_pred.weight))


@pytest.mark.parametrize("loss", ["smooth_l1", "l1", "balanced_l1", "iou", "giou"])
def test_mean_iou_is_logged(loss: str) -> None:
    head, sampled = predictor(BoxPredictor, loss), proposals(MIXED)
    _, logged = losses(head, sampled)
    expected = iou(*decoded_foreground(head, sampled)).mean().item()
    assert 0 < expected < 1
    assert logged["iou"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("loss", ["iou", "giou"])
def test_descent_on_the_loss_raises_iou(loss: str) -> None:
    head, sampled = predictor(BoxPredictor, loss, weight=10.0), proposals(MIXED)
    before = iou(*decoded_foreground(head, sampled)).mean()
    optimizer = torch.optim.SGD(head.bbox_pred.parameters(), lr=0.05)
    for _ in range(50):
        optimizer.zero_grad()
        losses(head, sampled)[0]["loss_box_reg"].backward()
        optimizer.step()
    assert iou(*decoded_foreground(head, sampled)).mean() > before + 0.1


def roi_config(loss: str, mask: bool = True) -> CfgNode:
    cfg = get_cfg()
    add_replication_config(cfg)
    cfg.MODEL.MASK_ON = mask
    cfg.MODEL.ROI_HEADS.IN_FEATURES = ["p2"]
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = CLASSES
    cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    cfg.MODEL.ROI_BOX_HEAD.NUM_FC = 1
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 16
    cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 4
    cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE = loss
    cfg.MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA = 1.0
    cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT = 10.0
    cfg.MODEL.ROI_MASK_HEAD.NUM_CONV = 1
    cfg.MODEL.ROI_MASK_HEAD.CONV_DIM = 8
    return cfg


def test_roi_heads_start_with_detectron2s_weights() -> None:
    cfg, shapes = roi_config("smooth_l1"), {"p2": ShapeSpec(channels=4, stride=4)}
    torch.manual_seed(5)
    ours = ReplicationROIHeads(cfg, shapes)
    after = torch.rand(1)
    torch.manual_seed(5)
    theirs = StandardROIHeads(cfg, shapes)
    assert torch.equal(after, torch.rand(1))
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, value in ours.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[name])


def test_config_selects_the_loss() -> None:
    heads = ReplicationROIHeads(roi_config("giou", mask=False), {"p2": ShapeSpec(channels=4, stride=4)})
    assert isinstance(heads.box_predictor, BoxPredictor)
    assert heads.box_predictor.regression_loss.name == "giou"
    assert heads.box_predictor.loss_weight == {"loss_box_reg": 10.0}


def test_unknown_loss_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"ROI_BOX_HEAD\.BBOX_REG_LOSS_TYPE: 'l3' is unknown; choose from .*giou"):
        ReplicationROIHeads(roi_config("l3"), {"p2": ShapeSpec(channels=4, stride=4)})
