"""IoU and GIoU losses: values known by hand, the reference arrays, and no NaN anywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from replication.detectors.losses import giou, giou_loss, iou, iou_loss

Loss = Callable[..., Tensor]
LOSSES = [iou_loss, giou_loss]

# prediction, target, IoU, GIoU
BY_HAND = [
    ([0, 0, 2, 2], [0, 0, 2, 2], 1.0, 1.0),  # identical
    ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7, 1 / 7 - 2 / 9),  # overlap 1, union 7, enclosing 9
    ([0, 0, 1, 1], [2, 0, 3, 1], 0.0, -1 / 3),  # a gap of one box
    ([0, 0, 1, 1], [1, 0, 2, 1], 0.0, 0.0),  # touching edges
    ([0, 0, 1, 1], [1, 1, 2, 2], 0.0, -0.5),  # touching corners
    ([1, 1, 2, 2], [0, 0, 4, 4], 1 / 16, 1 / 16),  # inside: GIoU is IoU
    ([0, 0, 4, 4], [1, 1, 2, 2], 1 / 16, 1 / 16),
    ([2, 2, 0, 0], [1, 1, 3, 3], 1 / 7, 1 / 7 - 2 / 9),  # corners swapped: min and max put them in order
    ([2, 0, 0, 2], [0, 0, 2, 2], 1.0, 1.0),  # only x swapped
    ([1, 1, 1, 1], [0, 0, 2, 2], 0.0, 0.0),  # a point inside
    ([3, 0, 3, 2], [0, 0, 2, 2], 0.0, -1 / 3),  # a line beside: 4 / 6 - 1
    ([0, 0, 0, 0], [1, 1, 1, 1], 0.0, -1.0),  # two points
    ([0, 0, 2, 0], [0, 1, 2, 1], 0.0, -1.0),  # two lines
    ([1, 1, 1, 1], [1, 1, 1, 1], 0.0, 0.0),  # the same point
    ([0, 0, 2, 0], [1, 0, 3, 0], 0.0, 0.0),  # two lines on one line
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_known_by_hand(dtype: torch.dtype) -> None:
    pred = torch.tensor([row[0] for row in BY_HAND], dtype=dtype)
    target = torch.tensor([row[1] for row in BY_HAND], dtype=dtype)
    expected_iou = torch.tensor([row[2] for row in BY_HAND], dtype=dtype)
    expected_giou = torch.tensor([row[3] for row in BY_HAND], dtype=dtype)
    torch.testing.assert_close(iou(pred, target), expected_iou, rtol=0, atol=1e-6)
    torch.testing.assert_close(giou(pred, target), expected_giou, rtol=0, atol=1e-6)
    torch.testing.assert_close(iou_loss(pred, target), 1 - expected_iou, rtol=0, atol=1e-6)
    torch.testing.assert_close(giou_loss(pred, target), 1 - expected_giou, rtol=0, atol=1e-6)


def reference(golden: Path) -> dict[str, np.ndarray]:
    with np.load(golden / "parity" / "iou_losses.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.mark.parametrize(("precision", "rtol", "atol"), [("f64", 1e-12, 1e-12), ("f32", 2e-6, 2e-6)])
@pytest.mark.parametrize(
    ("loss", "eps", "value", "gradient"),
    [
        (giou_loss, 1e-6, "giou_loss", "giou_grad"),
        (giou_loss, 1e-7, "giou_eps7_loss", "giou_eps7_grad"),
        (iou_loss, 1e-6, "iou_linear_loss", "iou_linear_grad"),
    ],
)
def test_equals_the_reference(
    golden: Path, precision: str, rtol: float, atol: float, loss: Loss, eps: float, value: str, gradient: str
) -> None:
    """Values on all ordered pairs; gradients where they do not hang on a sub-gradient convention."""
    arrays = reference(golden)
    names = list(arrays["category_names"])
    ordered = arrays["category"] != names.index("pred_inverted")
    dtype = torch.float64 if precision == "f64" else torch.float32
    pred = torch.tensor(arrays["pred"][ordered], dtype=dtype, requires_grad=True)
    target = torch.tensor(arrays["target"][ordered], dtype=dtype)
    ours = loss(pred, target, eps=eps)
    theirs = torch.tensor(arrays[f"{value}_{precision}"][ordered], dtype=dtype)
    if loss is iou_loss:  # the reference floors the IoU itself at 1e-6, so that it has a logarithm
        ours_floored = torch.where(theirs == theirs.max(), ours.clamp(max=1 - 1e-6), ours)
        torch.testing.assert_close(ours_floored, theirs, rtol=rtol, atol=max(atol, 1e-9))
    else:
        torch.testing.assert_close(ours, theirs, rtol=rtol, atol=atol)
    (grad,) = torch.autograd.grad(ours.sum(), pred)
    both_zero = arrays["category"][ordered] == names.index("both_zero_area")
    smooth = torch.tensor(arrays["smooth"][ordered] & (both_zero & (precision == "f64") | ~both_zero))
    assert smooth.sum() > 400
    expected = torch.tensor(arrays[f"{gradient}_{precision}"][ordered], dtype=dtype)
    tight = {"rtol": 1e-9, "atol": 1e-12} if precision == "f64" else {"rtol": 2e-4, "atol": 1e-7}
    torch.testing.assert_close(grad[smooth], expected[smooth], **tight)


def test_inverted_predictions_follow_the_paper(golden: Path) -> None:
    """Algorithm 2 orders the prediction's corners, so a swapped box has the loss of the ordered one."""
    arrays = reference(golden)
    inverted = arrays["category"] == list(arrays["category_names"]).index("pred_inverted")
    assert inverted.sum() > 10
    pred = torch.tensor(arrays["pred"][inverted], dtype=torch.float64)
    target = torch.tensor(arrays["target"][inverted], dtype=torch.float64)
    ordered = torch.cat([torch.minimum(pred[:, :2], pred[:, 2:]), torch.maximum(pred[:, :2], pred[:, 2:])], dim=1)
    assert not torch.equal(pred, ordered)
    for loss in LOSSES:
        torch.testing.assert_close(loss(pred, target), loss(ordered, target), rtol=0, atol=0)
    assert ((giou_loss(pred, target) >= 0) & (giou_loss(pred, target) <= 2)).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_of_a_swapped_corner_reaches_it(loss: Loss) -> None:
    target = torch.tensor([[1.0, 1.0, 3.0, 3.0]], dtype=torch.float64)
    swapped = torch.tensor([[2.0, 2.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    ordered = torch.tensor([[0.0, 0.0, 2.0, 2.0]], dtype=torch.float64, requires_grad=True)
    (of_swapped,) = torch.autograd.grad(loss(swapped, target).sum(), swapped)
    (of_ordered,) = torch.autograd.grad(loss(ordered, target).sum(), ordered)
    torch.testing.assert_close(of_swapped[:, [2, 3, 0, 1]], of_ordered)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradcheck(loss: Loss) -> None:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(50, 2, generator=generator, dtype=torch.float64) * 10
    size = torch.rand(50, 2, generator=generator, dtype=torch.float64) * 8 + 0.5
    pred = torch.cat([corner, corner + size], dim=1)
    pred[::5] = pred[::5][:, [2, 3, 0, 1]]
    target = torch.cat([corner, corner + size], dim=1)[torch.randperm(50, generator=generator)]
    assert torch.autograd.gradcheck(lambda p: loss(p, target), (pred.requires_grad_(),))


def test_disjoint_boxes_have_a_gradient_with_giou_only() -> None:
    target = torch.tensor([[10.0, 0.0, 12.0, 2.0]])
    pred = torch.tensor([[0.0, 0.0, 2.0, 2.0]], requires_grad=True)
    (none,) = torch.autograd.grad(iou_loss(pred, target).sum(), pred)
    assert torch.equal(none, torch.zeros(1, 4))
    (pull,) = torch.autograd.grad(giou_loss(pred, target).sum(), pred)
    assert pull[0, 2] < 0  # a step against the gradient moves the right side to the target


@pytest.mark.parametrize("loss", LOSSES)
def test_identical_boxes_have_no_loss_and_no_gradient(loss: Loss) -> None:
    boxes = torch.tensor([[3.0, 4.0, 50.0, 60.0], [0.1, 0.2, 0.3, 0.4]])
    pred = boxes.clone().requires_grad_()
    value = loss(pred, boxes)
    assert torch.equal(value, torch.zeros(2))
    (grad,) = torch.autograd.grad(value.sum(), pred)
    torch.testing.assert_close(grad, torch.zeros(2, 4), rtol=0, atol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_reductions_and_empty_input(loss: Loss) -> None:
    pred, target = (torch.tensor([row[i] for row in BY_HAND], dtype=torch.float64) for i in (0, 1))
    each = loss(pred, target)
    assert each.shape == (len(BY_HAND),)
    torch.testing.assert_close(loss(pred, target, reduction="sum"), each.sum())
    torch.testing.assert_close(loss(pred, target, reduction="mean"), each.mean())
    for reduction in ("none", "sum", "mean"):
        empty = torch.zeros(0, 4, requires_grad=True)
        value = loss(empty, torch.zeros(0, 4), reduction=reduction)
        assert value.sum().item() == 0
        value.sum().backward()
        assert empty.grad is not None
        assert empty.grad.shape == (0, 4)
    with pytest.raises(ValueError, match="reduction is not one of none, sum, mean: avg"):
        loss(pred, target, reduction="avg")


coordinate = st.one_of(
    st.floats(-1e6, 1e6),
    st.floats(-1e18, 1e18),
    st.sampled_from([0.0, 1.0, 1e-6, 1e-20, 1e-38, 1e6, 1.0000001]),
)
box = st.tuples(coordinate, coordinate, coordinate, coordinate)


@settings(max_examples=300, deadline=None)
@given(pred=box, target=box, dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]))
def test_never_nan_and_always_in_bounds(pred: tuple[float, ...], target: tuple[float, ...], dtype: torch.dtype) -> None:
    p = torch.tensor([pred]).clamp(-6e4, 6e4).to(dtype) if dtype == torch.float16 else torch.tensor([pred]).to(dtype)
    t = (
        torch.tensor([target], dtype=torch.float64).clamp(-6e4, 6e4)
        if dtype == torch.float16
        else torch.tensor([target])
    )
    t = torch.cat([torch.minimum(t[:, :2], t[:, 2:]), torch.maximum(t[:, :2], t[:, 2:])], dim=1).to(dtype)
    p.requires_grad_()
    slack = 1e-5 if dtype != torch.float64 else 1e-12
    a, b = iou(p, t), giou(p, t)
    assert -1 - slack <= b.item() <= a.item() + slack
    assert 0 <= a.item() <= 1 + slack
    assert a.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    for loss in LOSSES:
        (grad,) = torch.autograd.grad(loss(p, t).sum(), p)
        assert not grad.isnan().any()


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    scale=st.floats(0.01, 1e4),
    shift=st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4)),
)
def test_invariant_to_scale_and_translation(seed: int, scale: float, shift: tuple[float, float]) -> None:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(8, 2, 2, generator=generator, dtype=torch.float64) * 100
    boxes = torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)
    pred, target = boxes[:4], boxes[4:]
    move = torch.tensor([*shift, *shift], dtype=torch.float64)
    for measure in (iou, giou):
        torch.testing.assert_close(
            measure(pred * scale + move, target * scale + move), measure(pred, target), rtol=1e-6, atol=1e-6
        )
        torch.testing.assert_close(measure(pred, target), measure(target, pred))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    """A box of 1000 x 1000 pixels has an area beyond float16."""
    pred = torch.tensor([[0.0, 0.0, 1000.0, 1000.0]], dtype=dtype, requires_grad=True)
    target = torch.tensor([[0.0, 0.0, 1000.0, 500.0]], dtype=dtype)
    loss = giou_loss(pred, target, reduction="sum")
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(0.5)
    loss.backward()
    assert pred.grad is not None
    assert pred.grad.dtype == dtype
    assert pred.grad.isfinite().all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("loss", LOSSES)
def test_torchscript(loss: Loss) -> None:
    pred, target = (torch.tensor([row[i] for row in BY_HAND], dtype=torch.float32) for i in (0, 1))
    scripted = torch.jit.script(loss)
    for reduction in ("none", "sum", "mean"):
        torch.testing.assert_close(scripted(pred, target, reduction), loss(pred, target, reduction))
    assert scripted(pred[:0], target[:0], "mean").item() == 0


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("loss", LOSSES)
def test_compiles_to_one_graph(loss: Loss, backend: str) -> None:
    """``fullgraph`` fails on any branch on values; backward runs through the compiled graph."""
    torch._dynamo.reset()
    compiled = torch.compile(loss, backend=backend, fullgraph=True)
    pred, target = (torch.tensor([row[i] for row in BY_HAND], dtype=torch.float64) for i in (0, 1))
    for count in (len(BY_HAND), 3, 1):
        ours, theirs = pred[:count].clone().requires_grad_(), pred[:count].clone().requires_grad_()
        value, expected = compiled(ours, target[:count], "mean"), loss(theirs, target[:count], "mean")
        torch.testing.assert_close(value, expected)
        value.backward()
        expected.backward()
        torch.testing.assert_close(ours.grad, theirs.grad)
