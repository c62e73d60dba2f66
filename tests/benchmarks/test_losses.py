"""Forward and backward of the box losses, rivals side by side: `make benchmarks`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from fvcore.nn import giou_loss as fvcore_giou_loss
from fvcore.nn import smooth_l1_loss

from replication.detectors.losses import giou_loss, iou_loss

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
LOSSES: dict[str, Loss] = {
    "iou": lambda pred, target: iou_loss(pred, target, reduction="sum"),
    "giou": lambda pred, target: giou_loss(pred, target, reduction="sum"),
    "giou (fvcore)": lambda pred, target: fvcore_giou_loss(pred, target, reduction="sum"),
    "smooth L1 (fvcore)": lambda pred, target: smooth_l1_loss(pred, target, beta=1.0, reduction="sum"),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.benchmark(group="box loss, 2 images x 512 RoIs, forward and backward")
def test_box_loss(benchmark: Callable[..., object], name: str) -> None:
    torch.set_num_threads(1)
    corner = torch.rand(1024, 2, generator=torch.Generator().manual_seed(0)) * 600
    target = torch.cat([corner, corner + 100], dim=1)
    pred = (target + torch.randn(1024, 4, generator=torch.Generator().manual_seed(1)) * 10).requires_grad_()

    def step() -> None:
        pred.grad = None
        LOSSES[name](pred, target).backward()

    benchmark(step)
    assert pred.grad is not None
    assert torch.isfinite(pred.grad).all()
