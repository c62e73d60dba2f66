"""The gradient of IoU and GIoU loss as the GIoU authors' Darknet computes it, for comparison with the exact one.

Their code writes the gradient by hand. It differs from the loss's own in three ways: the intersection of boxes that lie
apart is not clamped at zero, so its product of two extents may be positive or negative; the centre's gradient lacks the
derivative of the sigmoid and the cell's side; the sides' gradient lacks the anchor's side.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from replication.detectors.constants import row_of


class ReleasedLoss(torch.autograd.Function):
    """Value of the true loss, gradient of the authors' code."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any, raw: Tensor, loss: Tensor, pred: Tensor, target: Tensor, size: tuple[int, int], enclosed: bool
    ) -> Tensor:
        height, width = size
        with torch.enable_grad():
            edges = (pred.detach() / row_of([width, height] * 2, pred)).requires_grad_()
            overlap = unclamped_overlap(edges, target / row_of([width, height] * 2, pred), enclosed)
            (left, top, right, bottom) = torch.autograd.grad(overlap.sum(), edges)[0].unbind(-1)
        ascent = [
            left + right,
            top + bottom,
            (right - left) / 2 * raw[..., 2].exp(),
            (bottom - top) / 2 * raw[..., 3].exp(),
        ]
        ctx.save_for_backward(-torch.stack(ascent, dim=-1))
        return loss.detach().clone()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        (gradient,) = ctx.saved_tensors
        return grad_outputs[0][..., None] * gradient, None, None, None, None, None


def released_loss(
    raw: Tensor, loss: Tensor, pred: Tensor, target: Tensor, size: tuple[int, int], enclosed: bool
) -> Tensor:
    """The loss (...) with a gradient to ``raw`` (..., 4) alone, t_x, t_y, t_w, t_h.

    ``pred`` and ``target`` (..., 4) XYXY in pixels of the input of ``size`` (height, width); the formula needs them
    relative to it. ``enclosed`` adds GIoU's term.
    """
    result: Tensor = ReleasedLoss.apply(raw, loss, pred, target, size, enclosed)  # type: ignore[no-untyped-call]
    return result


def unclamped_overlap(pred: Tensor, target: Tensor, enclosed: bool) -> Tensor:
    """IoU (...), or GIoU with ``enclosed``, of XYXY boxes (..., 4), extents of the intersection taken as they are.

    At an edge that both boxes share the prediction's has no gradient.
    """
    low, high = pred[..., :2], pred[..., 2:]
    target_low, target_high = target[..., :2], target[..., 2:]
    intersection = _area(_beyond(high, target_high, False) - _beyond(low, target_low, True))
    union = _area(high - low) + _area(target_high - target_low) - intersection
    # Boxes far apart in both axes have a union below 0; the authors' code then leaves out this term.
    positive = union > 0
    overlap = (intersection / union.where(positive, 1)).where(positive, 0)
    if not enclosed:
        return overlap
    enclosing = _area(_beyond(high, target_high, True) - _beyond(low, target_low, False))
    return overlap + union / enclosing - 1


def _beyond(pred: Tensor, target: Tensor, larger: bool) -> Tensor:
    """The larger or the smaller of two, the target's where they are equal."""
    return torch.where(pred > target if larger else pred < target, pred, target)


def _area(sides: Tensor) -> Tensor:
    return sides[..., 0] * sides[..., 1]
