"""Optimisers: the papers' SGD as Detectron2 builds it, and AdamW for the small protocols."""

from __future__ import annotations

import torch
from detectron2.config import CfgNode
from detectron2.solver import build_optimizer as build_sgd
from detectron2.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping

from replication.errors import ConfigError


def build_optimizer(cfg: CfgNode, model: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimiser that ``SOLVER.OPTIMIZER`` names, with Detectron2's parameter groups and gradient clipping."""
    if cfg.SOLVER.OPTIMIZER == "sgd":
        sgd: torch.optim.Optimizer = build_sgd(cfg, model)
        return sgd
    if cfg.SOLVER.OPTIMIZER != "adamw":
        raise ConfigError(f"SOLVER.OPTIMIZER: {cfg.SOLVER.OPTIMIZER!r} is not known; use sgd or adamw")
    params = get_default_optimizer_params(model, base_lr=cfg.SOLVER.BASE_LR, weight_decay_norm=0.0)
    clipping = maybe_add_gradient_clipping(cfg, torch.optim.AdamW)
    adamw: torch.optim.Optimizer = clipping(params, lr=cfg.SOLVER.BASE_LR, weight_decay=cfg.SOLVER.WEIGHT_DECAY)
    return adamw
