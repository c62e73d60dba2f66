"""IoU and GIoU of box pairs, with gradients that stay finite on degenerate boxes.

Boxes are XYXY, absolute pixels, (..., 4); pairs may be broadcast against each other. A prediction's corners are put
in order with min and max first (GIoU, algorithm 2), a target must be ordered already. Areas of the union and of the
enclosing box are floored at ``eps`` square pixels, which is the only departure from the definition and gives
degenerate pairs these values:

=====================================================  ===========  ==================
pair                                                   IoU          GIoU
=====================================================  ===========  ==================
one box of zero area, the other of area A > 0          0            A / enclosing - 1
both of zero area, enclosing box of area C > 0         0            eps / C - 1
both of zero area and enclosing box too (same point)   0            0
=====================================================  ===========  ==================

``eps`` is 1e-7, the constant of the GIoU authors' Detectron code (there added to the areas, here a floor).
Half-precision input is computed and returned in float32: 300 x 300 pixels overflow float16. In float32 coordinates
may be as large as 1e18. No step depends on the values in Python, so ``torch.jit.script`` and ``torch.compile`` apply.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _area(sides: Tensor) -> Tensor:
    # Not Tensor.prod: its backward looks at the values, which makes a GPU wait.
    return sides[..., 0] * sides[..., 1]


def areas(pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Areas (...) of intersection, union and smallest enclosing box of each pair, in square pixels."""
    if pred.dtype == torch.float16 or pred.dtype == torch.bfloat16:
        pred = pred.float()
    target = target.to(pred.dtype)
    p1, p2 = pred[..., :2], pred[..., 2:]
    # Not torch.minimum/maximum: they split the gradient of a tie, so a box of no width would never get any.
    swap = p2 < p1
    p1, p2 = torch.where(swap, p2, p1), torch.where(swap, p1, p2)
    t1, t2 = target[..., :2], target[..., 2:]
    intersection = _area((torch.minimum(p2, t2) - torch.maximum(p1, t1)).clamp(min=0))
    union = _area(p2 - p1) + _area(t2 - t1) - intersection
    enclosing = _area(torch.maximum(p2, t2) - torch.minimum(p1, t1))
    return intersection, union, enclosing


def iou(pred: Tensor, target: Tensor, eps: float = 1e-7) -> Tensor:
    """Intersection over union (...) of each pair (..., 4), (..., 4) of XYXY boxes, in [0, 1]."""
    intersection, union, _ = areas(pred, target)
    return intersection / union.clamp(min=eps)


def giou(pred: Tensor, target: Tensor, eps: float = 1e-7) -> Tensor:
    """Generalised IoU (...) of each pair (..., 4), (..., 4) of XYXY boxes, in [-1, 1] and at most the IoU.

    GIoU = IoU - (enclosing - union) / enclosing (GIoU, algorithm 1).
    """
    intersection, union, enclosing = areas(pred, target)
    union, enclosing = union.clamp(min=eps), enclosing.clamp(min=eps)
    return intersection / union - (enclosing - union) / enclosing


def reduce_loss(loss: Tensor, reduction: str) -> Tensor:
    """``none``: as is, ``sum``, or ``mean``; of no pairs both are 0 with a graph. Raises ValueError otherwise."""
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    if reduction == "mean":
        return loss.sum() / max(loss.numel(), 1)
    raise ValueError("reduction is not one of none, sum, mean: " + reduction)
