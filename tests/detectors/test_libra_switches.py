"""Whole detectors: every switch off is Detectron2 bit for bit, and checkpoints go from switch to switch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from torch import nn

from replication.detectors import add_replication_config, use_backbone

VARIANTS = Path(__file__).parents[2] / "configs" / "variants"


def config(name: str, **changes: Any) -> CfgNode:
    cfg = get_cfg()
    add_replication_config(cfg)
    cfg.merge_from_file(str(VARIANTS / f"{name}.yaml"), allow_unsafe=False)
    use_backbone(cfg, "efficientnet_lite0")
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.FPN.OUT_CHANNELS = 16
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[8], [16], [32], [64], [128]]
    cfg.MODEL.RPN.BOUNDARY_THRESH = -1
    cfg.MODEL.RPN.POST_NMS_TOPK_TRAIN = 200
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 64
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 32
    cfg.MODEL.RETINANET.NUM_CONVS = 1
    for key, value in changes.items():
        cfg.merge_from_list([f"MODEL.{key.replace('__', '.')}", value])
    return cfg


def model(cfg: CfgNode) -> Any:
    torch.manual_seed(3)
    return build_model(cfg).train()


def batch() -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(4)
    inputs = []
    for count in (3, 0):
        corner = torch.rand(count, 2, generator=generator) * 60
        instances, proposals = Instances((96, 128)), Instances((96, 128))
        instances.gt_boxes = Boxes(torch.cat([corner, corner + 30], 1))
        instances.gt_classes = torch.arange(count)
        anywhere = torch.rand(200, 2, generator=generator) * 80
        near = instances.gt_boxes.tensor.repeat_interleave(torch.tensor([40, 5, 5][:count], dtype=torch.long), dim=0)
        near = near + torch.randn(near.shape, generator=generator) * 2
        proposals.proposal_boxes = Boxes(torch.cat([torch.cat([anywhere, anywhere + 20], 1), near]))
        proposals.objectness_logits = torch.zeros(200 + len(near))
        image = torch.randint(0, 256, (3, 96, 128), generator=generator, dtype=torch.uint8)
        inputs.append({"image": image, "instances": instances, "proposals": proposals, "height": 96, "width": 128})
    return inputs


def steps(net: nn.Module, count: int = 3) -> list[dict[str, float]]:
    """Losses of a few steps of descent, each keyed as the training loop keys them."""
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.01)
    history = []
    for iteration in range(count):
        torch.manual_seed(iteration)
        optimizer.zero_grad()
        with EventStorage():
            losses = net(batch())
        sum(losses.values(), torch.zeros(())).backward()
        optimizer.step()
        history.append({key: value.item() for key, value in losses.items()})
    return history


DETECTRON2 = {"ROI_HEADS__NAME": "StandardROIHeads", "PROPOSAL_GENERATOR__NAME": "RPN"}


@pytest.mark.parametrize(
    ("variant", "ours", "theirs"),
    [
        ("faster_rcnn_R50", {"PROPOSAL_GENERATOR__NAME": "ReplicationRPN"}, DETECTRON2),
        ("fast_rcnn_R50", {}, {"ROI_HEADS__NAME": "StandardROIHeads"}),
        ("retinanet_R50", {}, {"META_ARCHITECTURE": "RetinaNet"}),
    ],
)
def test_every_component_off_is_detectron2(variant: str, ours: dict[str, str], theirs: dict[str, str]) -> None:
    """Losses of three steps, then all weights and the detections, to the last bit."""
    one, other = model(config(variant, **ours)), model(config(variant, **theirs))
    assert one.state_dict().keys() - other.state_dict().keys() <= {"_extra_state"}
    assert steps(one) == steps(other)
    for (name, mine), (_, their) in zip(one.named_parameters(), other.named_parameters(), strict=True):
        assert torch.equal(mine, their), name
    with torch.no_grad():
        found = [net.eval()(batch())[0]["instances"] for net in (one, other)]
    assert torch.equal(found[0].pred_boxes.tensor, found[1].pred_boxes.tensor)
    assert torch.equal(found[0].scores, found[1].scores)


@pytest.mark.parametrize(
    "variant",
    ["sampling", "pos_balance", "bins5", "integration", "l1", "balanced_l1_a05_g15", "smooth_l1_w20"],
)
def test_each_switch_changes_the_training_and_no_checkpoint(variant: str, tmp_path: Path) -> None:
    """These add no parameter: the weights of Fast R-CNN load exactly, and the losses become others."""
    plain, switched = model(config("fast_rcnn_R50")), model(config(f"fast_rcnn_R50_{variant}"))
    nn.init.normal_(plain.roi_heads.box_predictor.bbox_pred.weight, std=0.3)
    DetectionCheckpointer(plain, str(tmp_path)).save("plain")
    switched.load_state_dict(torch.load(tmp_path / "plain.pth", weights_only=True)["model"])
    assert switched.state_dict().keys() == plain.state_dict().keys()
    assert steps(switched, 1) != steps(plain, 1)


def test_refinement_adds_its_block_alone(tmp_path: Path) -> None:
    plain, switched = model(config("faster_rcnn_R50")), model(config("libra_rcnn_R50"))
    DetectionCheckpointer(plain, str(tmp_path)).save("plain")
    state = torch.load(tmp_path / "plain.pth", weights_only=True)["model"]
    missing, unexpected = switched.load_state_dict(state, strict=False)
    assert not unexpected
    assert {name.rsplit(".", 2)[0] for name in missing} == {"backbone.refine"}
    assert len(missing) == 8


@pytest.mark.parametrize("variant", ["libra_rcnn_R50", "libra_retinanet_R50"])
def test_a_training_step_can_be_repeated(variant: str) -> None:
    assert steps(model(config(variant))) == steps(model(config(variant)))
