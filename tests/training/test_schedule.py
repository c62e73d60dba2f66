"""Darknet's burn-in, and that it goes on where it was after a resume."""

from __future__ import annotations

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.solver import LRMultiplier

from replication.catalog import CONFIGS
from replication.catalog.variants import resolve
from replication.detectors import add_replication_config
from replication.training.config import add_training_config
from replication.training.schedule import build_schedule, burn_in_factor


def config(name: str) -> CfgNode:
    cfg = get_cfg()
    add_replication_config(cfg)
    add_training_config(cfg)
    cfg.merge_from_other_cfg(CfgNode(resolve(CONFIGS / "variants" / f"{name}.yaml")))
    return cfg


def optimizer(cfg: CfgNode) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=cfg.SOLVER.BASE_LR)


@pytest.mark.parametrize(
    ("update", "rate"),
    [
        *((1, 1e-15), (500, 6.25e-5), (999, 0.001 * 0.999**4), (1000, 0.001), (399_999, 0.001)),
        *((400_000, 1e-4), (449_999, 1e-4), (450_000, 1e-5), (502_000, 1e-5)),
    ],
)
def test_rates_of_the_paper_s_schedule(update: int, rate: float) -> None:
    assert 0.001 * burn_in_factor(update, 1000, (400_000, 450_000), 0.1) == pytest.approx(rate, rel=1e-12)


def test_the_optimizer_s_rates_are_those_of_its_updates() -> None:
    cfg = config("yolov3_D53_voc_iou")
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS, cfg.SOLVER.WARMUP_ITERS = 60, (40, 50), 20
    made = optimizer(cfg)
    schedule = build_schedule(cfg, made)
    rates = []
    for _ in range(60):
        rates.append(made.param_groups[0]["lr"])
        made.step()
        schedule.step()
    assert rates == pytest.approx([0.001 * burn_in_factor(k, 20, (40, 50), 0.1) for k in range(1, 61)], rel=1e-12)
    assert rates[9] == pytest.approx(0.001 / 16)


def test_a_resumed_schedule_goes_on() -> None:
    cfg = config("yolov3_D53_mse")
    made = optimizer(cfg)
    schedule = build_schedule(cfg, made)
    for _ in range(700):
        made.step()
        schedule.step()
    other = optimizer(cfg)
    resumed = build_schedule(cfg, other)
    resumed.load_state_dict(schedule.state_dict())
    resumed.step()
    schedule.step()
    assert other.param_groups[0]["lr"] == made.param_groups[0]["lr"] == pytest.approx(0.001 * 0.702**4)


def test_other_variants_keep_detectron2_s() -> None:
    cfg = config("faster_rcnn_R50_giou")
    made = optimizer(cfg)
    assert isinstance(build_schedule(cfg, made), LRMultiplier)
    assert made.param_groups[0]["lr"] == pytest.approx(0.02 / 3)
