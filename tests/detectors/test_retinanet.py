"""RetinaNet is Detectron2's bit for bit; it only logs more and remembers its normalizer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from replication.detectors import add_replication_config, use_backbone
from replication.detectors.losses import iou

VARIANT = Path(__file__).parents[2] / "configs" / "variants" / "retinanet_R50.yaml"


def config(name: str) -> CfgNode:
    cfg = get_cfg()
    add_replication_config(cfg)
    cfg.merge_from_file(str(VARIANT), allow_unsafe=False)
    use_backbone(cfg, "efficientnet_lite0")
    cfg.MODEL.META_ARCHITECTURE = name
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.FPN.OUT_CHANNELS = 16
    cfg.MODEL.RETINANET.NUM_CONVS = 1
    return cfg


def model(name: str) -> nn.Module:
    torch.manual_seed(3)
    return build_model(config(name)).train()


def batch(boxes: list[list[float]]) -> list[dict[str, object]]:
    generator = torch.Generator().manual_seed(4)
    instances = Instances((96, 128))
    instances.gt_boxes = Boxes(torch.tensor(boxes).reshape(-1, 4))
    instances.gt_classes = torch.arange(len(boxes))
    image = torch.randint(0, 256, (3, 96, 128), generator=generator, dtype=torch.uint8)
    return [{"image": image, "instances": instances, "height": 96, "width": 128}]


OBJECTS = [[10.0, 10.0, 50.0, 60.0], [60.0, 20.0, 120.0, 90.0]]


def step(net: nn.Module, boxes: list[list[float]]) -> tuple[dict[str, Tensor], dict[str, float]]:
    net.zero_grad()
    with EventStorage() as storage:
        losses = net(batch(boxes))
        sum(losses.values()).backward()
        return losses, {key: value for key, (value, _) in storage.latest().items()}


@pytest.mark.parametrize("boxes", [OBJECTS, []])
def test_losses_and_gradients_are_detectron2s(boxes: list[list[float]]) -> None:
    ours, theirs = model("ReplicationRetinaNet"), model("RetinaNet")
    for _ in range(2):  # twice: the normalizer moves
        of_ours, logged = step(ours, boxes)
        of_theirs, logged_there = step(theirs, boxes)
        assert of_ours.keys() == of_theirs.keys()
        assert all(torch.equal(of_ours[key], of_theirs[key]) for key in of_ours)
        assert logged.keys() - {"iou"} == logged_there.keys()
    for (name, mine), (_, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert (mine.grad is None) == (other.grad is None), name
        assert mine.grad is None or torch.equal(mine.grad, other.grad), name


def test_mean_iou_of_positive_anchors_is_logged() -> None:
    """At the start all deltas are 0 and the predictions are the anchors, whose IoU is at least the threshold."""
    net = model("ReplicationRetinaNet")
    nn.init.zeros_(net.head.bbox_pred.weight)
    _, logged = step(net, OBJECTS)
    with torch.no_grad():
        features = net.backbone(net.preprocess_image(batch(OBJECTS)).tensor)
        anchors = net.anchor_generator([features[level] for level in net.head_in_features])
        labels, matched = net.label_anchors(anchors, [batch(OBJECTS)[0]["instances"]])
        positive = (labels[0] >= 0) & (labels[0] < net.num_classes)
        expected = iou(Boxes.cat(anchors).tensor[positive], matched[0][positive]).mean().item()
    assert logged["iou"] == pytest.approx(expected, abs=1e-6)
    assert 0.4 < expected < 1
    assert "iou" not in step(net, [])[1]


def test_normalizer_outlives_a_checkpoint(tmp_path: Path) -> None:
    """A model that resumes has the losses of the one that went on, and one from Detectron2's file starts anew."""
    first = model("ReplicationRetinaNet")
    checkpointer = DetectionCheckpointer(first, str(tmp_path))
    checkpointer.save("start")
    step(first, OBJECTS)
    checkpointer.save("one")
    resumed = model("ReplicationRetinaNet")
    DetectionCheckpointer(resumed).load(str(tmp_path / "one.pth"))
    assert resumed.loss_normalizer == first.loss_normalizer
    went_on, after_resume = step(first, OBJECTS)[0], step(resumed, OBJECTS)[0]
    assert all(torch.equal(went_on[key], after_resume[key]) for key in went_on)

    fresh = model("ReplicationRetinaNet")
    DetectionCheckpointer(fresh).load(str(tmp_path / "start.pth"))
    assert not hasattr(fresh, "loss_normalizer")
    plain = model("RetinaNet")
    DetectionCheckpointer(plain, str(tmp_path)).save("plain")
    DetectionCheckpointer(fresh).load(str(tmp_path / "plain.pth"))
    assert not hasattr(fresh, "loss_normalizer")
