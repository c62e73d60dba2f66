"""YOLOv3's configs: what tables 1 to 3 of GIoU say, and that the losses of a table differ in nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data.datasets import load_coco_json
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from torch import nn

from replication.catalog import EmbeddedData, VocData, load_catalog, load_protocol, select
from replication.catalog.protocols import VocSplit
from replication.datasets.embedded import embedded_folder
from replication.datasets.embedded_sources import CLASSES
from replication.formats.splits import training_split
from replication.formats.voc import read_voc
from replication.planning.costs import recorded_costs
from replication.training.augmentation import DarknetMapper
from replication.training.config import run_config
from replication.training.optimizer import build_optimizer
from replication.training.run import on_device

CATALOG = load_catalog()
LOSSES = ("mse", "iou", "giou")
NAMES = [f"yolov3_D53_{data}{loss}" for data in ("", "voc_") for loss in LOSSES]
PROTOCOL = {"": "paper", "voc_": "paper_voc0712"}


def config(name: str) -> CfgNode:
    voc = "_voc_" in name
    protocol = load_protocol(PROTOCOL["voc_" if voc else ""])
    return run_config(CATALOG.variants[name], protocol, 0, 20 if voc else 80, Path("unused"))


def test_every_row_of_the_tables_is_built_and_selected() -> None:
    rows = [row for table in ("giou-T1", "giou-T2", "giou-T3") for row in CATALOG.table(table).rows]
    assert {row.variant for row in rows} == set(NAMES)
    assert {CATALOG.row_state(row) for row in rows} == {"built"}
    assert {CATALOG.variants[name].backbone for name in NAMES} == {"D-53"}
    for data, protocol in PROTOCOL.items():
        runs = {variant.name for variant, _ in select(CATALOG, load_protocol(protocol))}
        assert {f"yolov3_D53_{data}{loss}" for loss in ("mse", "iou", "giou")} <= runs


@pytest.mark.parametrize("name", NAMES)
def test_what_the_tables_say(name: str) -> None:
    cfg = config(name)
    voc, loss = "_voc_" in name, name.rpartition("_")[2]
    node, solver = cfg.MODEL.YOLOV3, cfg.SOLVER
    classes, ignored, side = (20, 0.5, 416) if voc else (80, 0.7, 608)
    chosen = (node.BBOX_REG_LOSS_TYPE, node.GRADIENT, node.NUM_CLASSES, node.IGNORE_THRESH)
    assert chosen == (loss, "exact", classes, ignored)
    tested = (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)
    assert tested == (side, side)
    schedule = (solver.MAX_ITER, *solver.STEPS)
    assert schedule == ((50_000, 40_000, 45_000) if voc else (502_000, 400_000, 450_000))
    assert (solver.IMS_PER_BATCH, solver.IMS_PER_PASS, solver.BASE_LR, solver.WARMUP_ITERS) == (64, 4, 0.001, 1000)
    assert cfg.INPUT.DARKNET.ENABLED
    assert list(cfg.INPUT.DARKNET.SIDES) == list(range(320, 609, 32))


@pytest.mark.parametrize("name", NAMES)
def test_variants_of_a_table_differ_in_the_loss_only(name: str) -> None:
    cfg, plain = config(name), config(name.rpartition("_")[0] + "_mse")
    for each in (cfg, plain):
        each.defrost()
        each.MODEL.YOLOV3.BBOX_REG_LOSS_TYPE = "mse"
    assert cfg == plain


def test_weight_decay_is_on_convolutions_weights_alone() -> None:
    cfg = on_device(config("yolov3_D53_voc_giou"), torch.device("meta"))
    with torch.device("meta"):
        model = build_model(cfg)
    optimizer = build_optimizer(cfg, model)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for module in model.modules():
        for name, value in module.named_parameters(recurse=False):
            conv_weight = isinstance(module, nn.Conv2d) and name == "weight"
            assert decay[id(value)] == (0.0005 if conv_weight else 0.0), (type(module), name)
    assert {group["lr"] for group in optimizer.param_groups} == {0.001}
    assert optimizer.defaults["momentum"] == 0.9


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["yolov3_D53_giou", "yolov3_D53_voc_iou"])
def test_a_step_at_full_size_on_photographs(name: str, shared: Path) -> None:
    """With the paper's augmentation, its largest side and its whole network; every parameter gets a finite gradient."""
    torch.set_num_threads(1)
    cfg = on_device(config(name), torch.device("cpu"))
    cfg.defrost()
    cfg.INPUT.DARKNET.SIDES = [608]
    if "_voc_" in name:
        data = load_protocol("paper_voc0712").data
        assert isinstance(data, VocData)
        assert data.classes is not None
        root, part = shared / "data" / "voc_mini" / "VOCdevkit", VocSplit(folder="VOC2007", split="trainval")
        records = training_split("train", read_voc(root, [part], data.classes), root, "drop").records[:2]
    else:
        root = shared / "data" / "coco_mini"
        truth = root / "annotations" / "instances_train2017_ccby.json"
        records = load_coco_json(str(truth), str(root / "train2017"), "coco_mini_yolov3_step")[:2]
    mapper = DarknetMapper(cfg)
    np.random.seed(0)
    batch = [mapper({**record, "position": position}) for position, record in enumerate(records)]
    assert {tuple(one["image"].shape) for one in batch} == {(3, 608, 608)}
    assert all(len(one["instances"]) for one in batch)
    torch.manual_seed(0)
    model = build_model(cfg).train()
    with EventStorage():
        losses = model(batch)
    torch.stack(list(losses.values())).sum().backward()
    assert all(loss > 0 for loss in losses.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("protocol", ["mini", "smoke", "custom"])
@pytest.mark.parametrize("name", NAMES)
def test_small_protocols_build_it_on_the_stand_in(protocol: str, name: str) -> None:
    cfg = run_config(CATALOG.variants[name], load_protocol(protocol), 0, 10, Path("unused"))
    cfg = on_device(cfg, torch.device("cpu"))
    assert cfg.MODEL.BACKBONE.NAME == "build_efficientnet_lite_backbone"
    assert len(cfg.MODEL.YOLOV3.ANCHORS) == 9
    model = build_model(cfg)
    outside = sum(p.numel() for key, p in model.named_parameters() if not key.startswith("backbone"))
    assert {"mini": 900_000, "smoke": 10_000, "custom": 900_000}[protocol] < outside < 1_100_000


def test_mini_voc_is_mini_in_voc_s_form() -> None:
    mini, voc = load_protocol("mini"), load_protocol("mini_voc")
    assert (mini.area_ranges, mini.batch_of("YOLOv3"), mini.seeds) == (voc.area_ranges, voc.batch, voc.seeds)
    assert voc.overrides == {name: mini.overrides[name] for name in ("all", "YOLOv3")}
    assert voc.iterations_of("YOLOv3") == mini.iterations_of("YOLOv3")
    assert isinstance(mini.data, EmbeddedData)
    assert isinstance(voc.data, VocData)
    assert voc.data.root == f"{embedded_folder(mini.data).name}/voc"
    assert voc.data.classes == CLASSES
    assert {variant.name for variant, _ in select(CATALOG, voc)} == {f"yolov3_D53_voc_{n}" for n in LOSSES}


def test_mini_runs_table_2_by_its_name_alone() -> None:
    """Once it is among `tables`, and D-53 among `run_backbones`, nothing else is missing."""
    protocol = load_protocol("mini").model_copy(update={"tables": ("giou-T2",), "run_backbones": ("R-50", "D-53")})
    names = [variant.name for variant, _ in select(CATALOG, protocol)]
    assert sorted(names) == sorted(protocol.seeds * [f"yolov3_D53_{name}" for name in LOSSES])
    assert {("mini", f"yolov3_D53_{name}") for name in LOSSES} <= recorded_costs().keys()
