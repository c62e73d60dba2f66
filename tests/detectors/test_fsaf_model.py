"""The detector: against Detectron2's RetinaNet, gradients through shared towers, resume, configuration."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from detectron2.modeling.meta_arch.retinanet import RetinaNetHead
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from replication.catalog import CONFIGS
from replication.catalog.variants import resolve
from replication.detectors import FSAF, add_replication_config, use_backbone
from replication.detectors.fsaf import FSAFHead
from replication.errors import ConfigError

JOINT, FREE, BASED = ["anchor_based", "anchor_free"], ["anchor_free"], ["anchor_based"]


def config(branches: list[str], architecture: str = "FSAF", **fsaf: object) -> CfgNode:
    cfg = get_cfg()
    add_replication_config(cfg)
    cfg.merge_from_other_cfg(CfgNode(resolve(CONFIGS / "variants" / "fsaf_R50_joint.yaml")))
    use_backbone(cfg, "efficientnet_lite0")
    cfg.MODEL.META_ARCHITECTURE = architecture
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.FPN.OUT_CHANNELS = 16
    cfg.MODEL.RETINANET.NUM_CONVS = 1
    cfg.MODEL.RETINANET.NUM_CLASSES = 7
    cfg.MODEL.FSAF.BRANCHES = branches
    for key, value in fsaf.items():
        cfg.MODEL.FSAF[key] = value
    return cfg


def build(branches: list[str], architecture: str = "FSAF", **fsaf: object) -> Any:
    torch.manual_seed(3)
    return build_model(config(branches, architecture, **fsaf))


OBJECTS = [[10.0, 10.0, 50.0, 60.0], [60.0, 20.0, 120.0, 90.0], [4.0, 70.0, 12.0, 80.0]]


def photo(boxes: list[list[float]], size: tuple[int, int] = (96, 128), seed: int = 4) -> dict[str, Any]:
    instances = Instances(size)
    instances.gt_boxes = Boxes(torch.tensor(boxes).reshape(-1, 4))
    instances.gt_classes = torch.arange(len(boxes))
    image = torch.randint(0, 256, (3, *size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return {"image": image, "instances": instances, "height": 2 * size[0], "width": 2 * size[1]}


def step(model: nn.Module, batch: list[dict[str, Any]], only: str = "") -> tuple[dict[str, Tensor], dict[str, float]]:
    """Losses and logged scalars; gradients of the losses whose name holds ``only``."""
    model.train().zero_grad()
    with EventStorage() as storage:
        losses = model(batch)
        sum(value for key, value in losses.items() if only in key).backward()
        return losses, {key: value for key, (value, _) in storage.latest().items()}


def gradients(model: nn.Module) -> dict[str, Tensor | None]:
    return {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}


def same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other is None or (one is not None and other is not None and torch.equal(one, other))


@pytest.mark.parametrize("boxes", [OBJECTS, []])
def test_the_anchor_based_branch_alone_is_detectron2s_retinanet(boxes: list[list[float]]) -> None:
    """Weights, losses, gradients and detections, bit for bit."""
    ours, theirs = build(BASED), build(BASED, "RetinaNet")
    assert ours.state_dict().keys() - {"_extra_state"} == theirs.state_dict().keys()
    assert all(torch.equal(value, ours.state_dict()[name]) for name, value in theirs.state_dict().items())
    batch = [photo(boxes), photo(OBJECTS[:1], (64, 96), seed=5)]
    for _ in range(2):
        expected, _ = step(theirs, batch)
        losses, _ = step(ours, batch)
        assert losses.keys() == expected.keys()
        assert all(torch.equal(losses[key], expected[key]) for key in losses)
    of_ours, of_theirs = gradients(ours), gradients(theirs)
    assert all(same(of_ours[name], of_theirs[name]) for name in of_theirs)
    for model in (ours, theirs):
        spread(model)
    with torch.no_grad():
        for one, other in zip(ours.eval()(batch), theirs.eval()(batch), strict=True):
            found, wanted = one["instances"], other["instances"]
            assert len(wanted) > 5
            assert torch.equal(found.pred_boxes.tensor, wanted.pred_boxes.tensor)
            assert torch.equal(found.scores, wanted.scores)
            assert torch.equal(found.pred_classes, wanted.pred_classes)


def spread(model: Any) -> None:
    """Give an untrained head scores on both sides of the threshold and boxes of all sizes."""
    generator = torch.Generator().manual_seed(8)
    for name, layer in model.head.named_children():
        if isinstance(layer, nn.Conv2d):
            scale = 5.0 if "cls" in name else 1.0
            layer.weight.data = torch.randn(layer.weight.shape, generator=generator) * scale
            layer.bias.data.fill_(math.log(0.05 / 0.95) if "cls" in name else 0.3)


def test_configurations_of_one_seed_start_from_the_same_shared_weights() -> None:
    plain = build(BASED, "RetinaNet").state_dict()
    for branches in (JOINT, FREE, BASED):
        state = build(branches).state_dict()
        shared = plain.keys() & state.keys()
        assert all(torch.equal(plain[name], state[name]) for name in shared)
        assert {name for name in plain if "subnet" in name or "backbone" in name} <= shared
    assert not any("cls_score" in name and "af_" not in name for name in build(FREE).state_dict())


def test_initialisation_of_the_two_layers() -> None:
    head = build(JOINT).head
    assert head.af_cls_score.out_channels == 7
    assert head.af_bbox_pred.out_channels == 4
    assert head.af_cls_score.bias.sigmoid().tolist() == pytest.approx([0.01] * 7)
    assert head.af_bbox_pred.bias.tolist() == pytest.approx([0.1] * 4)
    for layer in (head.af_cls_score, head.af_bbox_pred):
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.15)
        assert layer.kernel_size == (3, 3)


@pytest.mark.parametrize("branches", [JOINT, FREE])
@pytest.mark.parametrize("selection", ["online", "heuristic"])
def test_training_step(branches: list[str], selection: str) -> None:
    model = build(branches, LEVEL_SELECTION=selection)
    losses, logged = step(model, [photo(OBJECTS), photo([], (64, 96))])
    free = {"loss_af_cls", "loss_af_box_reg"}
    assert losses.keys() == (free | {"loss_cls", "loss_box_reg"} if branches is JOINT else free)
    assert all(value.isfinite() and value > 0 for value in losses.values())
    assert 0 < logged["iou"] < 1
    assert ("af_iou" in logged) == (branches is JOINT)
    assert logged["num_effective_cells"] > 0
    for name, grad in gradients(model).items():
        frozen = name.startswith(("backbone.bottom_up.stem", "backbone.bottom_up.res2"))
        assert frozen or (grad is not None and grad.isfinite().all() and grad.any()), name


def test_joint_loss_is_the_anchor_based_loss_plus_half_the_anchor_free_one() -> None:
    batch = [photo(OBJECTS)]
    joint, _ = step(build(JOINT), batch)
    based, _ = step(build(BASED), batch)
    # The layers of the anchor-free branch are drawn alike, whether or not the other branch's are kept.
    free, _ = step(build(FREE, LOSS_WEIGHT=1.0), batch)
    assert all(torch.equal(joint[key], based[key]) for key in based)
    assert all(joint[key].item() == pytest.approx(0.5 * free[key].item(), rel=1e-6) for key in free)


def test_each_branch_trains_its_own_layers_and_both_train_the_towers() -> None:
    model = build(JOINT)
    own = {"": ("cls_score", "bbox_pred"), "af_": ("af_cls_score", "af_bbox_pred")}
    step(model, [photo(OBJECTS)], only="af_")
    free = gradients(model)
    assert all(free[f"head.{name}.weight"].any() for name in own["af_"])
    assert all(free[f"head.{name}.weight"] is None for name in own[""])
    towers = [name for name in free if "subnet" in name and name.endswith("weight")]
    assert all(free[name].any() for name in towers)
    for name, other in (("loss_af_cls", "bbox"), ("loss_af_box_reg", "cls")):
        step(model, [photo(OBJECTS)], only=name)
        found = gradients(model)
        crossed = [key for key, grad in found.items() if f"head.{other}_subnet" in key and grad is not None]
        assert not any(found[key].any() for key in crossed), name


def test_same_seed_same_bits() -> None:
    runs = []
    for _ in range(2):
        model = build(JOINT)
        for _ in range(3):
            losses, _ = step(model, [photo(OBJECTS), photo(OBJECTS[1:], (64, 96))])
        runs.append((losses, gradients(model)))
    assert all(torch.equal(runs[0][0][key], runs[1][0][key]) for key in runs[0][0])
    assert all(same(runs[0][1][name], runs[1][1][name]) for name in runs[0][1])


def test_an_object_does_not_care_which_other_images_are_in_the_batch() -> None:
    """Levels selected in a batch of two sizes, with and without objects, are those selected alone."""
    model = build(JOINT).eval()
    spread(model)
    first, empty = photo(OBJECTS), photo([], seed=6)
    alone = model.select_levels([first])[0]
    together = model.select_levels([empty, first, photo(OBJECTS[::-1], seed=9)])
    assert together[0].shape == (0,)
    assert torch.equal(together[1], alone)


def test_selected_levels_come_in_the_order_of_the_annotations() -> None:
    model = build(FREE, LEVEL_SELECTION="heuristic", HEURISTIC_SIZE=40).eval()
    sides = [8.0, 90.0, 41.0]
    boxes = [[2.0, 2.0, 2.0 + side, 2.0 + side] for side in sides]
    assert model.select_levels([photo(boxes)])[0].tolist() == [0, 3, 2]  # 5 + floor(log2(side / 40)) - 3, at least 0
    with pytest.raises(RuntimeError, match="without the anchor-free branch"):
        build(BASED).select_levels([photo(boxes)])


def test_resume_keeps_the_normalizer(tmp_path: Path) -> None:
    batch = [photo(OBJECTS)]
    first = build(JOINT)
    step(first, batch)
    DetectionCheckpointer(first, str(tmp_path)).save("one")
    resumed = build(JOINT)
    DetectionCheckpointer(resumed).load(str(tmp_path / "one.pth"))
    assert resumed.loss_normalizer == first.loss_normalizer
    went_on, after_resume = step(first, batch)[0], step(resumed, batch)[0]
    assert all(torch.equal(went_on[key], after_resume[key]) for key in went_on)
    alone = build(FREE)
    step(alone, batch)
    DetectionCheckpointer(alone, str(tmp_path)).save("free")
    DetectionCheckpointer(build(FREE)).load(str(tmp_path / "free.pth"))


@pytest.mark.parametrize("norm", ["", "BN", lambda channels: nn.GroupNorm(1 if channels < 8 else 8, channels)])
def test_the_head_keeps_retinanets_towers_whatever_their_norm(norm: Any) -> None:
    torch.manual_seed(0)
    features = [torch.randn(2, 16, side, side) for side in (8, 4)]
    inner = RetinaNetHead(
        input_shape=[ShapeSpec(channels=16)] * 2, num_classes=7, num_anchors=3, conv_dims=[16, 16], norm=norm
    )
    head = FSAFHead(inner, branches=JOINT, num_classes=7, prior_prob=0.01, box_bias=0.1).eval()
    logits, deltas, free_logits, distances = head(features)
    expected = inner.eval()(features)
    for found, wanted in zip((logits, deltas), expected, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
    assert [tuple(each.shape) for each in free_logits] == [(2, 7, 8, 8), (2, 7, 4, 4)]
    assert [tuple(each.shape) for each in distances] == [(2, 4, 8, 8), (2, 4, 4, 4)]
    assert all((each >= 0).all() for each in distances)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("BRANCHES", [], "BRANCHES: .*give one or both of anchor_based, anchor_free"),
        ("BRANCHES", ["anchor_free", "anchor_free"], "BRANCHES"),
        ("BRANCHES", ["anchors"], "BRANCHES"),
        ("LEVEL_SELECTION", "best", "LEVEL_SELECTION: 'best' is unknown; choose from online, heuristic"),
        ("CELLS", "round", "CELLS: 'round' is unknown"),
        ("OTHER_LEVELS", "", "OTHER_LEVELS: '' is unknown"),
        ("SELECTION_CLASSES", "own", "SELECTION_CLASSES: 'own'"),
        ("EFFECTIVE_FRACTION", 0.0, "IGNORED_FRACTION"),
        ("IGNORED_FRACTION", 0.1, "IGNORED_FRACTION: 0.1: expected at least EFFECTIVE_FRACTION"),
        ("BOX_SCALE", 0.0, "BOX_SCALE: 0.0: expected a positive number"),
    ],
)
def test_wrong_settings_name_the_key(key: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"MODEL\.FSAF\.{message}"):
        build(JOINT, **{key: value})


def test_settings_reach_the_parts() -> None:
    model = build(
        JOINT, CELLS="touching", CELL_OFFSET=0.5, OTHER_LEVELS="ignored", IGNORE_ADJACENT_LEVELS=False,
        SELECTION_CLASSES="all", EFFECTIVE_FRACTION=0.3, IGNORED_FRACTION=0.4, BOX_SCALE=1.0, LOSS_WEIGHT=2.0,
    )  # fmt: skip
    assert isinstance(model, FSAF)
    assigner, selection = model.target_assigner, model.selection
    assert (assigner.cells.name, assigner.cells.offset) == ("touching", 0.5)
    assert (assigner.effective_fraction, assigner.ignored_fraction) == (0.3, 0.4)
    assert (assigner.ignore_other_levels, assigner.ignore_adjacent_levels) == (True, False)
    assert (selection.cells, selection.effective_fraction, selection.all_classes) == (assigner.cells, 0.3, True)
    assert (selection.alpha, selection.gamma) == (0.25, 2.0)
    assert (model.box_scale, model.loss_weight) == (1.0, 2.0)
    heuristic = build(FREE, LEVEL_SELECTION="heuristic").selection
    assert (heuristic.level, heuristic.size, heuristic.lowest, heuristic.highest) == (5, 224, 3, 7)
