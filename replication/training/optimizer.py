"""Optimisers: the papers' SGD, with Detectron2's parameter groups, and AdamW for the small protocols."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping, reduce_param_groups

from replication.errors import ConfigError


def build_optimizer(cfg: CfgNode, model: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimiser that ``SOLVER.OPTIMIZER`` names: ``sgd``, the same as Detectron2's, or ``adamw``.

    ``SOLVER.BACKBONE_LR_FACTOR`` multiplies the learning rate of the pretrained part, the backbone, below the FPN if
    there is one.
    ``SOLVER.CLIP_GRADIENTS.CLIP_TYPE`` is ``value`` or ``norm`` (each parameter by itself, Detectron2's) or
    ``full_model`` (the norm over all parameters together, as Libra R-CNN's released code clips).
    """
    params = get_default_optimizer_params(
        model,
        base_lr=cfg.SOLVER.BASE_LR,
        weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
        bias_lr_factor=cfg.SOLVER.BIAS_LR_FACTOR,
        weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
    )
    if cfg.SOLVER.BACKBONE_LR_FACTOR != 1.0:
        pretrained: Any = getattr(model.backbone, "bottom_up", model.backbone)
        params = _scaled(params, pretrained, cfg.SOLVER.BACKBONE_LR_FACTOR)
    common: dict[str, Any] = {"lr": cfg.SOLVER.BASE_LR, "weight_decay": cfg.SOLVER.WEIGHT_DECAY}
    if cfg.SOLVER.OPTIMIZER == "sgd":
        momentum = {"momentum": cfg.SOLVER.MOMENTUM, "nesterov": cfg.SOLVER.NESTEROV}
        return _clipping(cfg, torch.optim.SGD, params, **common, **momentum)
    if cfg.SOLVER.OPTIMIZER == "adamw":
        return _clipping(cfg, torch.optim.AdamW, params, **common)
    raise ConfigError(f"SOLVER.OPTIMIZER: {cfg.SOLVER.OPTIMIZER!r} is not known; use sgd or adamw")


def _scaled(groups: list[dict[str, Any]], pretrained: torch.nn.Module, factor: float) -> list[dict[str, Any]]:
    """The groups with the learning rate of the parameters of ``pretrained`` multiplied by ``factor``."""
    inside = {id(value) for value in pretrained.parameters()}
    single = [
        {**group, "params": [value], "lr": group["lr"] * (factor if id(value) in inside else 1.0)}
        for group in groups
        for value in group["params"]
    ]
    joined: list[dict[str, Any]] = reduce_param_groups(single)
    return joined


def _clipping(
    cfg: CfgNode, kind: type[torch.optim.Optimizer], params: list[dict[str, Any]], **settings: Any
) -> torch.optim.Optimizer:
    """An optimiser with the gradient clipping that the config asks for in its ``step``."""
    clip = cfg.SOLVER.CLIP_GRADIENTS
    if not clip.ENABLED or clip.CLIP_TYPE != "full_model":
        kind = maybe_add_gradient_clipping(cfg, kind)
        return kind(params, **settings)
    optimizer = kind(params, **settings)

    def clip_together(optimizer: torch.optim.Optimizer, arguments: Any, options: Any) -> None:
        every = itertools.chain.from_iterable(group["params"] for group in optimizer.param_groups)
        torch.nn.utils.clip_grad_norm_(every, clip.CLIP_VALUE, clip.NORM_TYPE)

    optimizer.register_step_pre_hook(clip_together)
    return optimizer
