"""The RPN is Detectron2's bit for bit until a switch is set; then its samples and its box loss are the paper's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances, pairwise_iou
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from replication.detectors import add_replication_config, use_backbone
from replication.detectors.libra.sampling import iou_bins
from replication.detectors.losses import balanced_l1_loss

VARIANTS = Path(__file__).parents[2] / "configs" / "variants"
LIBRA = {"SAMPLER.NEGATIVES": "iou_balanced", "SAMPLER.POSITIVES": "gt_balanced"}


def config(name: str, variant: str = "rpn_R50", **changes: Any) -> CfgNode:
    cfg = get_cfg()
    add_replication_config(cfg)
    cfg.merge_from_file(str(VARIANTS / f"{variant}.yaml"), allow_unsafe=False)
    use_backbone(cfg, "efficientnet_lite0")
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = name
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.FPN.OUT_CHANNELS = 16
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[8], [16], [32], [64], [128]]
    cfg.MODEL.RPN.BOUNDARY_THRESH = -1
    for key, value in changes.items():
        cfg.merge_from_list([f"MODEL.RPN.{key}", value])
    return cfg


def model(name: str, variant: str = "rpn_R50", **changes: Any) -> Any:
    torch.manual_seed(3)
    net = build_model(config(name, variant, **changes)).train()
    nn.init.normal_(net.proposal_generator.rpn_head.anchor_deltas.weight, std=0.3)
    return net


def batch(*objects: int) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(4)
    inputs = []
    for count in objects:
        corner = torch.rand(count, 2, generator=generator) * 60
        instances = Instances((96, 128))
        instances.gt_boxes = Boxes(torch.cat([corner, corner + 12 + 20 * torch.rand(count, 2, generator=generator)], 1))
        instances.gt_classes = torch.zeros(count, dtype=torch.long)
        image = torch.randint(0, 256, (3, 96, 128), generator=generator, dtype=torch.uint8)
        inputs.append({"image": image, "instances": instances, "height": 96, "width": 128})
    return inputs


def step(net: nn.Module, inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
    net.zero_grad()
    torch.manual_seed(8)
    with EventStorage():
        losses: dict[str, Tensor] = net(inputs)
        sum(losses.values(), torch.zeros(())).backward()
    return losses


@pytest.mark.parametrize("boundary", [-1, 0])
def test_off_is_detectron2s_bit_for_bit(boundary: int) -> None:
    ours, theirs = (model(name, BOUNDARY_THRESH=boundary) for name in ("ReplicationRPN", "RPN"))
    of_ours, of_theirs = step(ours, batch(3, 0)), step(theirs, batch(3, 0))
    assert of_ours.keys() == of_theirs.keys() == {"loss_rpn_cls", "loss_rpn_loc"}
    assert all(torch.equal(of_ours[key], of_theirs[key]) for key in of_ours)
    for (name, mine), (_, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert (mine.grad is None) == (other.grad is None), name
        assert mine.grad is None or torch.equal(mine.grad, other.grad), name


def labelled(net: Any, inputs: list[dict[str, Any]]) -> tuple[Boxes, list[Tensor], list[Tensor]]:
    rpn = net.proposal_generator
    features = net.backbone(torch.zeros(len(inputs), 3, 96, 128))
    anchors = rpn.anchor_generator([features[name] for name in rpn.in_features])
    torch.manual_seed(8)
    labels, boxes = rpn.label_and_sample_anchors(anchors, [one["instances"] for one in inputs])
    return Boxes.cat(anchors), labels, boxes


@pytest.mark.parametrize("boundary", [-1, 0])
def test_sampled_anchors_are_spread_over_the_negatives_range(boundary: int) -> None:
    inputs = batch(3, 0)
    net = model("ReplicationRPN", BOUNDARY_THRESH=boundary, **LIBRA)
    anchors, (labels, of_empty), (boxes, _) = labelled(net, inputs)
    assert (of_empty == 0).sum() == 256
    assert not (of_empty == 1).any()
    overlaps, best = pairwise_iou(inputs[0]["instances"].gt_boxes, anchors).max(dim=0)
    negative = labels == 0
    assert overlaps[negative].max() < 0.3
    counts = torch.bincount(iou_bins(overlaps[negative], 0.3, 3), minlength=3)
    candidates = (overlaps < 0.3) & (anchors.inside_box((96, 128), 0) if boundary == 0 else True)
    available = torch.bincount(iou_bins(overlaps[candidates], 0.3, 3), minlength=3)
    wanted = int(negative.sum()) // 3
    assert all(count >= min(wanted, there) for count, there in zip(counts, available, strict=True))
    plain = labelled(model("ReplicationRPN", BOUNDARY_THRESH=boundary), inputs)[1][0]
    at_random = torch.bincount(iou_bins(overlaps[plain == 0], 0.3, 3), minlength=3)
    assert counts[2] > 1.5 * at_random[2]
    assert torch.equal(boxes, inputs[0]["instances"].gt_boxes.tensor[best])
    assert (labels == 1).sum() + negative.sum() == 256
    if boundary == 0:
        inside = anchors.inside_box((96, 128), 0)
        assert inside[labels >= 0].all()


def test_box_loss_is_balanced_l1_over_all_sampled_anchors() -> None:
    inputs = batch(2, 3)
    changed = model("ReplicationRPN", BBOX_REG_LOSS_TYPE="balanced_l1", BBOX_REG_LOSS_WEIGHT=2.0)
    plain = model("ReplicationRPN")
    losses, of_plain = step(changed, inputs), step(plain, inputs)
    assert torch.equal(losses["loss_rpn_cls"], of_plain["loss_rpn_cls"])
    rpn = changed.proposal_generator
    images = changed.backbone((torch.stack([one["image"] for one in inputs]) - changed.pixel_mean) / changed.pixel_std)
    features = [images[name] for name in rpn.in_features]
    anchors = Boxes.cat(rpn.anchor_generator(features)).tensor
    deltas = torch.cat(
        [x.view(2, 3, 4, *x.shape[-2:]).permute(0, 3, 4, 1, 2).reshape(2, -1, 4) for x in rpn.rpn_head(features)[1]], 1
    )
    torch.manual_seed(8)
    labels, boxes = rpn.label_and_sample_anchors(rpn.anchor_generator(features), [one["instances"] for one in inputs])
    expected = torch.zeros(())
    for n in range(2):
        for a in (labels[n] == 1).nonzero().squeeze(1).tolist():
            target = rpn.box2box_transform.get_deltas(anchors[a : a + 1], boxes[n][a : a + 1])
            expected = expected + balanced_l1_loss(deltas[n, a : a + 1], target, reduction="sum")
    torch.testing.assert_close(losses["loss_rpn_loc"], 2 * expected / 512, rtol=1e-4, atol=1e-6)


def test_libra_rpn_has_all_three_parts() -> None:
    cfg = config("ReplicationRPN", "libra_rpn_R50")
    net = build_model(cfg)
    rpn = net.proposal_generator
    assert cfg.MODEL.BACKBONE.NAME == "build_balanced_pyramid_backbone"
    assert (rpn.sampler.negatives, rpn.sampler.positives, rpn.sampler.negative_below) == (True, True, 0.3)
    assert rpn.regression_loss.name == "balanced_l1"
    assert net.backbone.refined
    losses = step(net.train(), batch(3, 1))
    assert all(value.isfinite() for value in losses.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters() if p.requires_grad)


def test_proposals_come_out_sorted_in_the_image_s_own_size() -> None:
    net = model("ReplicationRPN").eval()
    with torch.no_grad():
        proposals = net([{**batch(1)[0], "height": 192, "width": 256}])[0]["proposals"]
    assert proposals.image_size == (192, 256)
    assert (proposals.objectness_logits.diff() <= 0).all()
    assert proposals.proposal_boxes.tensor.max() > 128
