"""Every variant's config: it loads, builds at full size, says what the papers say, and takes a training step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetMapper
from detectron2.data.datasets import load_coco_json
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling import build_model
from detectron2.modeling.backbone.resnet import BottleneckBlock
from detectron2.solver import build_lr_scheduler
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from replication.catalog.variants import read_variant, resolve
from replication.detectors import BoxPredictor, ReplicationRetinaNet, add_replication_config, use_backbone
from replication.training.config import add_training_config
from replication.training.optimizer import build_optimizer

FOLDER = Path(__file__).parents[2] / "configs" / "variants"
# YOLOv3's, whose backbone is no ResNet, are tested in test_yolov3_variants.py.
LEAVES = sorted(path.stem for path in FOLDER.glob("*.yaml") if "yolov3" not in path.name and path.name[:4] != "Base")

GIOU = [
    f"{arch}_{loss}"
    for arch in ("faster_rcnn_R50", "mask_rcnn_R50", "faster_rcnn_R50_voc")
    for loss in ("smooth_l1", "iou", "giou")
]
BASELINES = ["retinanet_R50", "retinanet_R101", "retinanet_X101"]
FSAF_ALONE = ["fsaf_R50_heuristic", "fsaf_R50", "fsaf_R101", "fsaf_X101"]
FSAF_JOINT = ["fsaf_R50_joint_heuristic", "fsaf_R50_joint", "fsaf_R101_joint", "fsaf_X101_joint"]
FSAF_JITTER = ["fsaf_R101_joint_jitter", "fsaf_X101_joint_jitter", "fsaf_X101_joint_jitter_tta"]
BASELINES += ["faster_rcnn_R50", "faster_rcnn_R101", "faster_rcnn_R101_2x", "faster_rcnn_X101"]

# The same networks in torchvision, which counts their convolutions independently.
TORCHVISION = {"R-50": "resnet50", "R-101": "resnet101", "X-101-64x4d": "resnext101_64x4d"}


def load(path: Path) -> CfgNode:
    cfg = get_cfg()
    add_replication_config(cfg)
    add_training_config(cfg)
    cfg.merge_from_other_cfg(CfgNode(resolve(path)))
    return cfg


def variant(name: str) -> CfgNode:
    cfg = load(FOLDER / f"{name}.yaml")
    cfg.MODEL.DEVICE = "cpu"
    return cfg


def test_the_issue_s_variants_are_here() -> None:
    assert set(GIOU + BASELINES + FSAF_ALONE + FSAF_JOINT + FSAF_JITTER) <= set(LEAVES)


@pytest.mark.parametrize("name", LEAVES)
def test_every_leaf_builds_at_full_size(name: str) -> None:
    """On the meta device: every layer with its real shape, no memory."""
    cfg = variant(name)
    assert cfg.MODEL.WEIGHTS.startswith(("detectron2://ImageNetPretrained/", "catalog://ImageNetPretrained/"))
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        model = build_model(cfg)
    stages = model.backbone.bottom_up
    frozen = {n.split(".")[0] for n, p in stages.named_parameters() if not p.requires_grad}
    assert frozen == {"stem", "res2"}
    assert bool(cfg.DATASETS.PROPOSALS_FROM) == cfg.MODEL.LOAD_PROPOSALS == name.startswith("fast_")
    assert any(isinstance(m, FrozenBatchNorm2d) for m in stages.modules())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    first = stages.res3[0]
    strided = first.conv1 if cfg.MODEL.RESNETS.STRIDE_IN_1X1 else first.conv2
    assert strided.stride == (2, 2)
    with torch.device("meta"):
        classifier = getattr(torchvision.models, TORCHVISION[read_variant(FOLDER / f"{name}.yaml").backbone])()
    convolutions = sum(m.weight.numel() for m in classifier.modules() if isinstance(m, nn.Conv2d))
    assert sum(p.numel() for p in stages.parameters()) == convolutions


@pytest.mark.parametrize("name", GIOU)
def test_giou_variants_differ_in_the_loss_only(name: str) -> None:
    loss = next(loss for loss in ("smooth_l1", "giou", "iou") if name.endswith(loss))
    cfg, plain = variant(name), variant(name.removesuffix(loss) + "smooth_l1")
    head = cfg.MODEL.ROI_BOX_HEAD
    kind, weight = head.BBOX_REG_LOSS_TYPE, head.BBOX_REG_LOSS_WEIGHT
    assert kind == loss
    assert weight == (1.0 if loss == "smooth_l1" else 10.0)
    head.BBOX_REG_LOSS_TYPE, head.BBOX_REG_LOSS_WEIGHT = "smooth_l1", 1.0
    assert cfg == plain
    assert cfg.MODEL.RPN.BBOX_REG_LOSS_TYPE == "smooth_l1"
    assert cfg.MODEL.RPN.BBOX_REG_LOSS_WEIGHT == 1.0
    assert cfg.MODEL.MASK_ON is name.startswith("mask")


@pytest.mark.parametrize("name", FSAF_ALONE + FSAF_JOINT + FSAF_JITTER)
def test_fsaf_variants_differ_from_their_retinanet_in_the_branches_only(name: str) -> None:
    cfg, plain = variant(name), variant(f"retinanet_{name.split('_')[1]}")
    node = cfg.MODEL.FSAF
    alone = name in FSAF_ALONE
    assert (["anchor_free"] if alone else ["anchor_based", "anchor_free"]) == node.BRANCHES
    assert (1.0 if alone else 0.5) == node.LOSS_WEIGHT
    assert ("heuristic" if "heuristic" in name else "online") == node.LEVEL_SELECTION
    fixed = get_cfg()
    add_replication_config(fixed)
    fixed.MODEL.FSAF.BRANCHES, fixed.MODEL.FSAF.LOSS_WEIGHT = node.BRANCHES, node.LOSS_WEIGHT
    fixed.MODEL.FSAF.LEVEL_SELECTION = node.LEVEL_SELECTION
    assert node == fixed.MODEL.FSAF  # the defaults and the leaves' numbers are the same
    assert cfg.TEST.AUG.ENABLED is name.endswith("tta")
    if name in FSAF_JITTER:
        assert list(cfg.INPUT.MIN_SIZE_TRAIN) == list(range(640, 801, 32))
        # 18 epochs of 12: one and a half times as long, drops alike
        assert (cfg.SOLVER.MAX_ITER, *cfg.SOLVER.STEPS) == (135_000, 90_000, 120_000)
        cfg.INPUT.MIN_SIZE_TRAIN, cfg.SOLVER.MAX_ITER = plain.INPUT.MIN_SIZE_TRAIN, plain.SOLVER.MAX_ITER
        cfg.SOLVER.STEPS = plain.SOLVER.STEPS
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.FSAF = plain.MODEL.META_ARCHITECTURE, plain.MODEL.FSAF
    assert name.removesuffix("_tta") == (read_variant(FOLDER / f"{name}.yaml").weights_from or name)
    cfg.TEST.AUG = plain.TEST.AUG
    assert cfg == plain


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("faster_rcnn_R50_giou", {0: 0.02 / 3, 500: 0.02, 59_999: 0.02, 60_000: 0.002, 80_000: 0.0002}),
        ("faster_rcnn_R50_voc_iou", {0: 0.02 / 3, 500: 0.02, 13_332: 0.02, 13_333: 0.002, 17_778: 0.0002}),
        ("retinanet_X101", {0: 0.01 / 3, 500: 0.01, 59_999: 0.01, 60_000: 0.001, 80_000: 0.0001}),
        ("faster_rcnn_R101_2x", {0: 0.02 / 3, 117_279: 0.02, 117_280: 0.002, 161_260: 0.0002}),
        ("libra_rcnn_R50", {0: 0.02 / 3, 58_639: 0.02, 58_640: 0.002, 80_630: 0.0002, 87_959: 0.0002}),
        ("faster_rcnn_R50", {0: 0.02 / 3, 58_639: 0.02, 58_640: 0.002, 80_630: 0.0002, 87_959: 0.0002}),
    ],
)
def test_learning_rate_schedule(name: str, rates: dict[int, float]) -> None:
    cfg = variant(name)
    layer = nn.Conv2d(1, 1, 1)
    optimizer = build_optimizer(cfg, layer)
    scheduler = build_lr_scheduler(cfg, optimizer)
    for iteration, rate in rates.items():
        factor = scheduler._multiplier(iteration / cfg.SOLVER.MAX_ITER)
        assert cfg.SOLVER.BASE_LR * factor == pytest.approx(rate, rel=1e-6), iteration
    groups = {parameter.dim(): group for group in optimizer.param_groups for parameter in group["params"]}
    weight, bias = groups[4], groups[1]
    assert (weight["initial_lr"], weight["weight_decay"]) == (cfg.SOLVER.BASE_LR, 1e-4)
    detectron = "101_2x" not in name and name not in (
        "faster_rcnn_R50",
        "libra_rcnn_R50",
    )  # Detectron treats biases apart, mmdetection does not
    expected = (2 * cfg.SOLVER.BASE_LR, 0.0) if detectron else (cfg.SOLVER.BASE_LR, 1e-4)
    assert (bias["initial_lr"], bias["weight_decay"]) == expected


LIBRA_SWITCHES = {
    "MODEL.ROI_HEADS.SAMPLER.NEGATIVES": "iou_balanced",
    "MODEL.ROI_HEADS.SAMPLER.POSITIVES": "gt_balanced",
    "MODEL.BACKBONE.NAME": "build_balanced_pyramid_backbone",
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE": "balanced_l1",
}
NEGATIVES, POSITIVES, PYRAMID, LOSS = LIBRA_SWITCHES
BOX = "MODEL.ROI_BOX_HEAD."
FAST: dict[
    str, tuple[set[str], dict[str, Any]]
] = {  # row of Libra's tables 2, 4, 5, 6: switches, and what else differs
    "_sampling": ({NEGATIVES, POSITIVES}, {}),
    "_sampling_pyramid": ({NEGATIVES, POSITIVES, PYRAMID}, {}),
    "_libra": ({NEGATIVES, POSITIVES, PYRAMID, LOSS}, {}),
    "_pos_balance": ({POSITIVES}, {}),
    "_bins2": ({NEGATIVES}, {"MODEL.ROI_HEADS.SAMPLER.NUM_BINS": 2}),
    "_bins3": ({NEGATIVES}, {}),
    "_bins5": ({NEGATIVES}, {"MODEL.ROI_HEADS.SAMPLER.NUM_BINS": 5}),
    "_integration": ({PYRAMID}, {"MODEL.BALANCED_PYRAMID.REFINEMENT": "none"}),
    "_refinement": ({PYRAMID}, {}),
    "_pafpn": (set(), {PYRAMID: "build_pafpn_backbone"}),
    "_balanced_pafpn": ({PYRAMID}, {"MODEL.BALANCED_PYRAMID.BUILDER": "build_pafpn_backbone"}),
    "_smooth_l1_w15": (set(), {f"{BOX}BBOX_REG_LOSS_WEIGHT": 1.5}),
    "_smooth_l1_w20": (set(), {f"{BOX}BBOX_REG_LOSS_WEIGHT": 2.0}),
    "_l1": (set(), {f"{BOX}BBOX_REG_LOSS_TYPE": "l1"}),
    "_l1_w15": (set(), {f"{BOX}BBOX_REG_LOSS_TYPE": "l1", f"{BOX}BBOX_REG_LOSS_WEIGHT": 1.5}),
    "_l1_w20": (set(), {f"{BOX}BBOX_REG_LOSS_TYPE": "l1", f"{BOX}BBOX_REG_LOSS_WEIGHT": 2.0}),
    "_balanced_l1_a02_g10": ({LOSS}, {f"{BOX}BALANCED_L1.ALPHA": 0.2, f"{BOX}BALANCED_L1.GAMMA": 1.0}),
    "_balanced_l1_a03_g10": ({LOSS}, {f"{BOX}BALANCED_L1.ALPHA": 0.3, f"{BOX}BALANCED_L1.GAMMA": 1.0}),
    "_balanced_l1_a05_g10": ({LOSS}, {f"{BOX}BALANCED_L1.GAMMA": 1.0}),
    "_balanced_l1_a05_g15": ({LOSS}, {}),
    "_balanced_l1_a05_g20": ({LOSS}, {f"{BOX}BALANCED_L1.GAMMA": 2.0}),
}


def with_changes(cfg: CfgNode, switches: set[str], changes: dict[str, Any]) -> CfgNode:
    for key, value in ({key: LIBRA_SWITCHES[key] for key in switches} | changes).items():
        cfg.merge_from_list([key, value])
    return cfg


@pytest.mark.parametrize("row", FAST)
def test_ablation_rows_differ_from_fast_rcnn_in_their_switches_only(row: str) -> None:
    assert variant(f"fast_rcnn_R50{row}") == with_changes(variant("fast_rcnn_R50"), *FAST[row])


def test_every_fast_rcnn_is_a_row() -> None:
    assert {name for name in LEAVES if name.startswith("fast_")} == {
        "fast_rcnn_R50",
        *(f"fast_rcnn_R50{r}" for r in FAST),
        *(f"fast_rcnn_R50_sampling_pyramid_{loss}" for loss in ("l1", "smooth_l1_w15", "smooth_l1_w20")),
    }


@pytest.mark.parametrize("backbone", ["R50", "R101", "R101_2x", "X101"])
def test_libra_rcnn_is_faster_rcnn_with_all_switches_on(backbone: str) -> None:
    plain = variant(f"faster_rcnn_{backbone}")
    assert variant(f"libra_rcnn_{backbone}") == with_changes(plain, set(LIBRA_SWITCHES), {})


def test_fast_rcnn_is_faster_rcnn_without_its_rpn() -> None:
    cfg, plain = variant("fast_rcnn_R50"), variant("faster_rcnn_R50")
    assert cfg.MODEL.PROPOSAL_GENERATOR.NAME == "PrecomputedProposals"
    cfg.MODEL.PROPOSAL_GENERATOR.NAME, cfg.MODEL.LOAD_PROPOSALS = "ReplicationRPN", False
    cfg.DATASETS = plain.DATASETS
    assert cfg == plain


def test_libra_retinanet_is_retinanet_with_two_parts() -> None:
    cfg, plain = variant("libra_retinanet_R50"), variant("retinanet_R50")
    changes = {
        "MODEL.BACKBONE.NAME": "build_balanced_pyramid_backbone",
        "MODEL.BALANCED_PYRAMID.BUILDER": "build_retinanet_resnet_fpn_backbone",
        "MODEL.RETINANET.BBOX_REG_LOSS_TYPE": "balanced_l1",
        "MODEL.RETINANET.BALANCED_L1.FORM": "released",
        "MODEL.RETINANET.BALANCED_L1.BETA": 0.11,
    }
    assert cfg == with_changes(plain, set(), changes)


def small(name: str) -> CfgNode:
    cfg = variant(name)
    use_backbone(cfg, "efficientnet_lite0")
    cfg.MODEL.FPN.OUT_CHANNELS = 16
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 32
    cfg.MODEL.ROI_MASK_HEAD.CONV_DIM = 16
    cfg.MODEL.RETINANET.NUM_CONVS = 1
    if (
        "rcnn" in name or "rpn" in name
    ):  # anchors as small against the picture as at full size, or none of the large ones is inside
        cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[5], [10], [20], [40], [80]]
    cfg.MODEL.RPN.POST_NMS_TOPK_TRAIN = 100
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 32
    return cfg


def drawn_batch() -> list[dict[str, Any]]:
    """Two bright rectangles on noise, with masks; and an image without objects."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 100, (3, 128, 160), generator=generator, dtype=torch.uint8)
    boxes = torch.tensor([[16.0, 16.0, 80.0, 96.0], [70.0, 40.0, 150.0, 120.0]])
    masks = torch.zeros(2, 128, 160, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = True
        image[:, y1:y2, x1:x2] += 100
    objects, nothing = Instances((128, 160)), Instances((128, 160))
    for instances, count in ((objects, 2), (nothing, 0)):
        instances.gt_boxes = Boxes(boxes[:count])
        instances.gt_classes = torch.arange(2)[:count]
        instances.gt_masks = BitMasks(masks[:count])
    return [{"image": image, "instances": item, "height": 128, "width": 160} for item in (objects, nothing)]


def take_step(model: nn.Module, batch: list[dict[str, Any]]) -> tuple[dict[str, Tensor], float]:
    with EventStorage() as storage:
        losses = model.train()(batch)
        sum(losses.values()).backward()
        return losses, storage.latest().get("iou", (0.5,))[0]  # an RPN alone does not log it


def check_step(model: nn.Module, losses: dict[str, Tensor], mean_iou: float) -> None:
    for key, value in losses.items():
        assert value.isfinite(), key
        assert value > 0, key
    assert 0 < mean_iou <= 1
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name


def expected_losses(name: str) -> set[str]:
    expected = set() if "rpn" in name or name in FSAF_ALONE else {"loss_cls", "loss_box_reg"}
    if name.startswith("fsaf"):
        expected |= {"loss_af_cls", "loss_af_box_reg"}
    if "rpn" in name or ("rcnn" in name and not name.startswith("fast_")):
        expected |= {"loss_rpn_cls", "loss_rpn_loc"}
    return expected | ({"loss_mask"} if name.startswith("mask") else set())


STEPPED = ["faster_rcnn_R50_giou", "mask_rcnn_R50_iou", "retinanet_R50", "faster_rcnn_R50"]
STEPPED += ["fsaf_R50", "fsaf_R50_joint"]
STEPPED += ["libra_rcnn_R50", "libra_retinanet_R50", "fast_rcnn_R50_libra", "fast_rcnn_R50_balanced_pafpn"]


def give_proposals(batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fixed proposals: the objects moved a little, and boxes all over the image."""
    generator = torch.Generator().manual_seed(1)
    for item in batch:
        height, width = item["image"].shape[1:]
        corner = torch.rand(300, 2, generator=generator) * torch.tensor([width, height]) * 0.7
        anywhere = torch.cat([corner, corner + torch.tensor([width, height]) * 0.25], dim=1)
        near = item["instances"].gt_boxes.tensor.repeat(5, 1)
        boxes = Boxes(torch.cat([near + torch.randn(near.shape, generator=generator) * 3, anywhere]))
        boxes.clip((height, width))
        item["proposals"] = Instances((height, width), proposal_boxes=boxes)
        item["proposals"].objectness_logits = torch.zeros(len(boxes))
    return batch


@pytest.mark.parametrize("name", STEPPED)
def test_training_and_inference_step_with_the_stand_in(name: str) -> None:
    torch.manual_seed(0)
    model = build_model(small(name))
    if "rcnn" in name:  # or the added ground truth, the only foreground of an untrained RPN, is already regressed
        nn.init.normal_(model.roi_heads.box_predictor.bbox_pred.weight, std=1.0)
    losses, mean_iou = take_step(model, give_proposals(drawn_batch()))
    assert losses.keys() == expected_losses(name)
    check_step(model, losses, mean_iou)
    if "rcnn" in name:
        assert isinstance(model.roi_heads.box_predictor, BoxPredictor)
    else:
        assert isinstance(model, ReplicationRetinaNet)
    with torch.no_grad():
        one = give_proposals(drawn_batch())[0]
        results = model.eval()([{"image": one["image"], "proposals": one["proposals"], "height": 64, "width": 80}])
    detections = results[0]["instances"]
    assert detections.image_size == (64, 80)
    assert detections.has("pred_boxes")
    assert detections.has("pred_masks") == name.startswith("mask")


def photographs(root: Path, cfg: CfgNode) -> list[dict[str, Any]]:
    """Two photographs of a COCO folder through the variant's own augmentation."""
    records = load_coco_json(
        str(root / "annotations" / "instances_train2017_ccby.json"), str(root / "train2017"), "two_photographs"
    )
    chosen = [record for record in records if 4 <= len(record["annotations"]) <= 20][:2]
    mapper = DatasetMapper(cfg, is_train=True)
    batch = [mapper(record) for record in chosen]
    if cfg.MODEL.ROI_HEADS.NUM_CLASSES == 20:  # the VOC variants: any 20 classes do for one step
        for item in batch:
            item["instances"].gt_classes %= 20
    return batch


def damp_residuals(model: nn.Module) -> None:
    """Trained ResNets keep activations in scale; random ones under frozen BatchNorm double them at each block."""
    for module in model.modules():
        if isinstance(module, BottleneckBlock):
            nn.init.constant_(module.conv3.norm.weight, 0.2)


@pytest.mark.slow
@pytest.mark.parametrize("name", LEAVES)
def test_one_full_size_training_step(name: str, generated_coco: Path) -> None:
    """One GPU's share of the papers' batch, two photographs at 800 x 1333, through the whole network."""
    cfg = variant(name)
    torch.manual_seed(0)
    model = build_model(cfg)
    damp_residuals(model)
    batch = give_proposals(photographs(generated_coco, cfg))
    sizes, longest = cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN
    for item in batch:
        height, width = item["image"].shape[1:]
        assert max(height, width) == longest or min(height, width) in range(min(sizes), max(sizes) + 1)
    optimizer = build_optimizer(cfg, model)
    losses, mean_iou = take_step(model, batch)
    assert losses.keys() == expected_losses(name)
    check_step(model, losses, mean_iou)
    optimizer.step()
    assert all(parameter.isfinite().all() for parameter in model.parameters())
