"""-ln(IoU) by hand, the branch's losses by hand, and where gradients go."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from replication.detectors.fsaf.cells import Targets
from replication.detectors.fsaf.losses import anchor_free_loss
from replication.detectors.losses import log_iou_loss

K = 2


@pytest.mark.parametrize(
    ("pred", "loss"),
    [
        ([0.0, 0.0, 2.0, 2.0], 0.0),
        ([0.0, 0.0, 2.0, 1.0], math.log(2)),
        ([1.0, 1.0, 3.0, 3.0], math.log(7)),  # 1 of 7
        ([2.0, 0.0, 0.0, 1.0], math.log(2)),  # corners in the other order
        ([5.0, 5.0, 6.0, 6.0], -math.log(1e-6)),
        ([1.0, 1.0, 1.0, 1.0], -math.log(1e-6)),
    ],
)
def test_log_iou_loss(pred: list[float], loss: float) -> None:
    target = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    assert log_iou_loss(torch.tensor([pred]), target).item() == pytest.approx(loss, abs=1e-6)


def test_log_iou_loss_reductions_floor_and_broadcast() -> None:
    pred = torch.tensor([[0.0, 0.0, 2.0, 1.0], [5.0, 5.0, 6.0, 6.0]])
    target = torch.tensor([0.0, 0.0, 2.0, 2.0])
    each = log_iou_loss(pred, target, floor=0.1)
    assert each.tolist() == pytest.approx([math.log(2), math.log(10)])
    assert log_iou_loss(pred, target, "sum", 0.1).item() == pytest.approx(each.sum().item())
    assert log_iou_loss(pred, target, "mean", 0.1).item() == pytest.approx(each.mean().item())
    table = log_iou_loss(pred[:, None], torch.stack([target, target / 2])[None])
    assert table.shape == (2, 2)
    assert table[0].tolist() == pytest.approx([math.log(2), math.log(2)])


def test_log_iou_loss_without_pairs_has_a_gradient() -> None:
    pred = torch.zeros(0, 4, requires_grad=True)
    log_iou_loss(pred, torch.zeros(0, 4), reduction="sum").backward()
    assert pred.grad is not None


def test_log_iou_gradient_is_that_of_the_formula() -> None:
    """IoU = w / 2 for a box of width w in one of width 2: d(-ln w)/dw = -1/w."""
    pred = torch.tensor([[0.0, 0.0, 0.5, 1.0]], requires_grad=True)
    log_iou_loss(pred, torch.tensor([[0.0, 0.0, 2.0, 1.0]]), reduction="sum").backward()
    assert pred.grad[0, 2].item() == pytest.approx(-2.0, rel=1e-5)


def example() -> tuple[Tensor, Tensor, Targets]:
    """Two images of three cells. Effective: cell 0 of image 0 (class 1), cells 1 and 2 of image 1 (class 0)."""
    logits = torch.tensor([[[0.5, -1.0], [0.2, 0.3], [-2.0, 1.0]], [[1.0, 0.0], [0.7, -0.7], [-0.3, 0.4]]])
    boxes = torch.tensor([0.0, 0.0, 4.0, 4.0]).repeat(2, 3, 1)
    boxes[1, 2] = torch.tensor([0.0, 0.0, 4.0, 2.0])
    ignored = torch.zeros(2, 3, K, dtype=torch.bool)
    ignored[0, 1, 1] = ignored[0, 2, 0] = True
    wanted = torch.tensor([0.0, 0.0, 4.0, 2.0]).repeat(2, 3, 1)
    return logits, boxes, Targets(torch.tensor([[1, K, K], [K, 0, 0]]), ignored, wanted)


def focal(logit: float, positive: bool) -> float:
    p = 1 / (1 + math.exp(-logit))
    return -0.25 * (1 - p) ** 2 * math.log(p) if positive else -0.75 * p**2 * math.log(1 - p)


def test_losses_by_hand() -> None:
    logits, boxes, targets = example()
    loss = anchor_free_loss(logits, boxes, targets, 0.25, 2.0)
    positives = {(0, 0, 1), (1, 1, 0), (1, 2, 0)}
    total = sum(
        focal(logits[place].item(), place in positives)
        for place in [(n, r, k) for n in range(2) for r in range(3) for k in range(K)]
        if not targets.ignored[place]
    )
    assert loss.cls.item() == pytest.approx(total / 3, rel=1e-5)
    assert loss.box_reg.item() == pytest.approx(2 * math.log(2) / 3, rel=1e-5)  # IoU 1/2, 1/2, 1
    assert loss.cells.item() == 3
    assert loss.iou.item() == pytest.approx(2 / 3, rel=1e-5)


def test_gradients_flow_only_where_the_paper_says() -> None:
    """Class logits: everywhere but where ignored. Boxes: effective cells alone."""
    logits, boxes, targets = example()
    loss = anchor_free_loss(logits.requires_grad_(), boxes.requires_grad_(), targets, 0.25, 2.0)
    (loss.cls + loss.box_reg).backward()
    assert torch.equal(logits.grad != 0, ~targets.ignored)
    moved = (boxes.grad != 0).any(dim=-1)
    assert moved.tolist() == [[True, False, False], [False, True, False]]  # cell 2 of image 1 is exact already
    positive = logits.grad[[0, 1, 1], [0, 1, 2], [1, 0, 0]]
    assert (positive < 0).all()
    assert (logits.grad > 0).sum() == (~targets.ignored).sum() - 3


@pytest.mark.parametrize("values", [float("inf"), 1e30])
def test_wild_boxes_elsewhere_do_not_spoil_the_gradient(values: float) -> None:
    logits, boxes, targets = example()
    boxes[0, 1] = values
    loss = anchor_free_loss(logits, boxes.requires_grad_(), targets, 0.25, 2.0)
    loss.box_reg.backward()
    assert loss.box_reg.isfinite()
    assert boxes.grad.isfinite().all()


def test_without_objects_the_losses_are_finite_and_have_gradients() -> None:
    logits, boxes, targets = example()
    nothing = Targets(torch.full((2, 3), K), torch.zeros(2, 3, K, dtype=torch.bool), targets.boxes)
    loss = anchor_free_loss(logits.requires_grad_(), boxes.requires_grad_(), nothing, 0.25, 2.0)
    (loss.cls + loss.box_reg).backward()
    expected = sum(focal(value, False) for value in logits.flatten().tolist())
    assert loss.cls.item() == pytest.approx(expected, rel=1e-5)
    assert loss.box_reg.item() == 0
    assert not boxes.grad.any()
    assert logits.grad.all()
