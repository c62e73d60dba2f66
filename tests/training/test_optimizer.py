from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.solver import build_optimizer as detectron2_optimizer

from replication.catalog import load_catalog, load_protocol
from replication.errors import ConfigError
from replication.training.config import run_config
from replication.training.optimizer import build_optimizer


class Detector(torch.nn.Module):
    """The parts of a detector that an optimiser tells apart."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = torch.nn.Module()
        self.backbone.bottom_up = torch.nn.Conv2d(3, 4, 1)
        self.backbone.lateral = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 1), torch.nn.GroupNorm(2, 4))
        self.head = torch.nn.Linear(4, 2)


def config(**changes: Any) -> Any:
    cfg = run_config(load_catalog().variants["retinanet_R50"], load_protocol("smoke"), 0, 10, Path()).clone()
    cfg.defrost()
    for key, value in changes.items():
        cfg.SOLVER[key] = value
    return cfg


def described(optimizer: torch.optim.Optimizer) -> list[tuple[Any, ...]]:
    return [
        (group["lr"], group["weight_decay"], group.get("momentum"), [id(p) for p in group["params"]])
        for group in optimizer.param_groups
    ]


def test_sgd_is_detectron2s():
    model, cfg = Detector(), config()
    assert described(build_optimizer(cfg, model)) == described(detectron2_optimizer(cfg, model))
    assert isinstance(build_optimizer(cfg, model), torch.optim.SGD)


def test_backbone_learns_slower_and_nothing_else():
    model = Detector()
    cfg = config(OPTIMIZER="adamw", BASE_LR=1e-3, BACKBONE_LR_FACTOR=0.1, BIAS_LR_FACTOR=1.0)
    optimizer = build_optimizer(cfg, model)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    slow = {id(p) for p in model.backbone.bottom_up.parameters()}
    assert {key for key, rate in rates.items() if rate == pytest.approx(1e-4)} == slow
    assert len(rates) == len(list(model.parameters()))
    assert isinstance(optimizer, torch.optim.AdamW)


def stepped(kind: str, value: float) -> list[float]:
    """Norms of the steps that two parameters take with gradients of norm 3 and 4."""
    model = torch.nn.ParameterList([torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))])
    cfg = config(BASE_LR=1.0, MOMENTUM=0.0, WEIGHT_DECAY=0.0, BIAS_LR_FACTOR=1.0)
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = True
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = kind
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = value
    optimizer = build_optimizer(cfg, model)
    for parameter, gradient in zip(model, (3.0, 4.0), strict=True):
        parameter.grad = torch.tensor([gradient])
    optimizer.step()
    return [-parameter.item() for parameter in model]


def test_full_model_clips_all_gradients_together():
    assert stepped("full_model", 1.0) == pytest.approx([0.6, 0.8], abs=1e-5)
    assert stepped("full_model", 35.0) == pytest.approx([3.0, 4.0])
    assert stepped("norm", 1.0) == pytest.approx([1.0, 1.0], abs=1e-5)


def test_an_unknown_optimizer_is_named():
    with pytest.raises(ConfigError, match=r"SOLVER\.OPTIMIZER: 'lamb'"):
        build_optimizer(config(OPTIMIZER="lamb"), Detector())
