"""Balanced L1 loss (Libra R-CNN, section 3.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from replication.detectors.losses.boxes import reduce_loss
from replication.errors import ConfigError

FORMS = ("paper", "released")


def balanced_l1_loss(
    pred: Tensor, target: Tensor, alpha: float = 0.5, gamma: float = 1.5, beta: float = 1.0, reduction: str = "none"
) -> Tensor:
    """Balanced L1 of prediction minus target x, element by element.

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


@dataclass(frozen=True)
class BalancedL1:
    """The loss with its settings, as a box head holds it."""

    alpha: float
    gamma: float
    beta: float

    @classmethod
    def from_config(cls, node: Any, key: str) -> BalancedL1:
        """From a node with ALPHA, GAMMA, FORM and BETA that lies at ``key``.

        FORM ``paper`` is equations 9 and 10, whose beta is 1; ``released`` takes BETA as the authors' code does.
        Raises ConfigError for another form, for a beta that the paper's form does not have, and for values below 0.
        """
        form: Literal["paper", "released"] = node.FORM
        if form not in FORMS:
            raise ConfigError(f"{key}.FORM: {form!r} is unknown; choose from {', '.join(FORMS)}")
        if form == "paper" and node.BETA != 1.0:
            raise ConfigError(f"{key}.BETA: {node.BETA} needs {key}.FORM released; the paper's form has beta 1")
        for name in ("ALPHA", "GAMMA", "BETA"):
            if not node[name] > 0:
                raise ConfigError(f"{key}.{name}: {node[name]} is not greater than 0")
        return cls(node.ALPHA, node.GAMMA, node.BETA)

    def sum(self, pred: Tensor, target: Tensor) -> Tensor:
        """The loss summed over all elements of two tensors of one shape."""
        return balanced_l1_loss(pred, target, self.alpha, self.gamma, self.beta, reduction="sum")
