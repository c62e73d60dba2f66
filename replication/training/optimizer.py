"""Optimisers: the papers' SGD, with Detectron2's parameter groups, and AdamW for the small protocols."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.solver.build import (
    _generate_optimizer_class_with_gradient_clipping,
    get_default_optimizer_params,
    maybe_add_gradient_clipping,
    reduce_param_groups,
)

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
        return _clipping(cfg, torch.optim.SGD)(params, **common, **momentum)
    if cfg.SOLVER.OPTIMIZER == "adamw":
        return _clipping(cfg, torch.optim.AdamW)(params, **common)
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


def _clipping(cfg: CfgNode, optimizer: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """``optimizer`` with the gradient clipping that the config asks for in its ``step``."""
    clip = cfg.SOLVER.CLIP_GRADIENTS
    if clip.ENABLED and clip.CLIP_TYPE == "full_model":

        def clip_together(parameters: Iterable[torch.nn.Parameter]) -> None:
            torch.nn.utils.clip_grad_norm_(itertools.chain(parameters), clip.CLIP_VALUE, clip.NORM_TYPE)

        together: type[torch.optim.Optimizer] = _generate_optimizer_class_with_gradient_clipping(
            optimizer, global_clipper=clip_together
        )
        return together
    apart: type[torch.optim.Optimizer] = maybe_add_gradient_clipping(cfg, optimizer)
    return apart
