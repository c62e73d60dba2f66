"""Losses on box deltas: smooth L1, L1, and Libra R-CNN's balanced L1. Predictions and targets have one shape."""

from __future__ import annotations

import math
from typing import Any

import torch
from detectron2.config import CfgNode
from fvcore.nn import smooth_l1_loss as fvcore_smooth_l1
from torch import Tensor

from replication.detectors.losses.overlap import reduce_loss
from replication.detectors.losses.registry import box_reg_loss
from replication.errors import ConfigError

FORMS = ("paper", "released")


def _smooth_l1_settings(node: CfgNode, key: str) -> dict[str, Any]:
    """Detectron2's own keys: RetinaNet's node has another name for it than the other heads'."""
    name = "SMOOTH_L1_BETA" if "SMOOTH_L1_BETA" in node else "SMOOTH_L1_LOSS_BETA"
    if not node[name] >= 0:
        raise ConfigError(f"{key}.{name}: {node[name]} is less than 0")
    return {"beta": node[name]}


@box_reg_loss("smooth_l1", on="deltas", settings=_smooth_l1_settings)
def smooth_l1_loss(pred: Tensor, target: Tensor, beta: float, reduction: str = "none") -> Tensor:
    """x^2 / (2 beta) for errors |x| below ``beta``, |x| - beta / 2 from there on; with beta 0 it is L1."""
    loss: Tensor = fvcore_smooth_l1(pred, target, beta)
    return reduce_loss(loss, reduction)


@box_reg_loss("l1", on="deltas")
def l1_loss(pred: Tensor, target: Tensor, reduction: str = "none") -> Tensor:
    """The absolute error."""
    return reduce_loss((pred - target).abs(), reduction)


def _balanced_l1_settings(node: CfgNode, key: str) -> dict[str, Any]:
    """FORM ``paper`` is equations 9 and 10, whose beta is 1; ``released`` takes BETA as the authors' code does.

    Raises ConfigError for another form, for a beta that the paper's form does not have, and for values not above 0.
    """
    node, key = node.BALANCED_L1, f"{key}.BALANCED_L1"
    if node.FORM not in FORMS:
        raise ConfigError(f"{key}.FORM: {node.FORM!r} is unknown; choose from {', '.join(FORMS)}")
    if node.FORM == "paper" and node.BETA != 1.0:
        raise ConfigError(f"{key}.BETA: {node.BETA} needs {key}.FORM released; the paper's form has beta 1")
    for name in ("ALPHA", "GAMMA", "BETA"):
        if not node[name] > 0:
            raise ConfigError(f"{key}.{name}: {node[name]} is not greater than 0")
    return {"alpha": node.ALPHA, "gamma": node.GAMMA, "beta": node.BETA}


@box_reg_loss(
    "balanced_l1",
    on="deltas",
    defaults={"ALPHA": 0.5, "GAMMA": 1.5, "FORM": "paper", "BETA": 1.0},
    settings=_balanced_l1_settings,
)
def balanced_l1_loss(
    pred: Tensor, target: Tensor, alpha: float = 0.5, gamma: float = 1.5, beta: float = 1.0, reduction: str = "none"
) -> Tensor:
    """Balanced L1 of prediction minus target x, element by element (Libra R-CNN, section 3.3).

    Equation 10 with beta 1, whose gradient is equation 9: ``alpha ln(b|x| + 1)`` below 1 and ``gamma`` from 1 on::

        alpha / b (b|x| + 1) ln(b|x| + 1) - alpha|x|     |x| < 1
        gamma|x| + gamma / b - alpha                     else

    ``b = exp(gamma / alpha) - 1`` makes the two gradients meet at 1, the constant makes the two values meet.

    Another ``beta`` is what the authors' code does: the border becomes beta, but inside the first line beta divides
    under the logarithm only. The values still meet at beta; the gradient does not: it is alpha (1 / beta - 1) just off
    0, and jumps at beta. Their RetinaNet was trained so, with beta 0.11.

    Args:
        pred: predictions, of any shape; box deltas in the detectors. Half precision is computed in float32.
        target: what they should be, of the same shape.
        alpha: gradient of small errors; more raises it. Greater than 0.
        gamma: gradient of large errors, the bound of all. Greater than 0.
        beta: |x| from which the loss is linear. Greater than 0.
        reduction: ``none`` for the shape of ``pred``, ``sum`` or ``mean`` for a scalar (0 of nothing).
    """
    if pred.dtype == torch.float16 or pred.dtype == torch.bfloat16:
        pred = pred.float()
    b = math.expm1(gamma / alpha)
    error = (pred - target).abs()
    near = alpha / b * (b * error + 1) * torch.log1p(b / beta * error) - alpha * error
    far = gamma * error + (gamma / b - alpha * beta)
    return reduce_loss(torch.where(error < beta, near, far), reduction)
