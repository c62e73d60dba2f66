"""Balanced L1 against its equations, a recorded independent implementation, and numerical gradients."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling.box_regression import Box2BoxTransform

from replication.detectors import ReplicationRetinaNet, add_replication_config
from replication.detectors.losses import balanced_l1_loss, build_box_reg_loss
from replication.errors import ConfigError

GRID = [(0.2, 1.0), (0.3, 1.0), (0.5, 1.0), (0.5, 1.5), (0.5, 2.0)]  # table 6


def gradient(x: torch.Tensor, **settings: float) -> torch.Tensor:
    x = x.clone().requires_grad_()
    balanced_l1_loss(x, torch.zeros_like(x), reduction="sum", **settings).backward()
    assert x.grad is not None
    return x.grad


@pytest.mark.parametrize(("alpha", "gamma"), GRID)
def test_gradient_is_equation_9(alpha: float, gamma: float) -> None:
    x = torch.linspace(-3, 3, 601, dtype=torch.float64)
    b = math.exp(gamma / alpha) - 1
    expected = torch.where(x.abs() < 1, alpha * torch.log(b * x.abs() + 1), torch.tensor(gamma).double()) * x.sign()
    torch.testing.assert_close(gradient(x, alpha=alpha, gamma=gamma), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("alpha", "gamma"), GRID)
def test_loss_is_the_integral_of_its_gradient(alpha: float, gamma: float) -> None:
    """Simpson's rule on equation 9 from 0 to x, below and above the border."""
    b = math.exp(gamma / alpha) - 1
    for end in (0.3, 1.0, 2.5):
        total = 0.0
        for low, high in ((0.0, min(end, 1.0)), (1.0, max(end, 1.0))):
            x = np.linspace(low, high, 20001)
            y = np.where(x < 1, alpha * np.log(b * x + 1), gamma) if high <= 1 else np.full_like(x, gamma)
            h = (high - low) / 20000
            total += h / 3 * (y[0] + y[-1] + 4 * y[1:-1:2].sum() + 2 * y[2:-1:2].sum())
        value = balanced_l1_loss(torch.tensor(end).double(), torch.tensor(0.0).double(), alpha, gamma)
        # at x = 1 the last sample is gamma, which equals alpha ln(b + 1)
        assert value.item() == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize(
    ("alpha", "gamma", "b", "constant"),
    [(0.2, 1.0, 147.41, -0.193), (0.3, 1.0, 27.03, -0.263), (0.5, 1.0, 6.389, -0.344), (0.5, 1.5, 19.086, -0.421),
     (0.5, 2.0, 53.60, -0.463)],
)  # fmt: skip
def test_values_by_hand(alpha: float, gamma: float, b: float, constant: float) -> None:
    """b of the constraint alpha ln(b + 1) = gamma and the constant of the linear branch."""
    value = balanced_l1_loss(torch.tensor(2.0).double(), torch.tensor(0.0).double(), alpha, gamma).item()
    assert value - 2 * gamma == pytest.approx(constant, abs=6e-4)
    assert alpha * math.log(b + 1) == pytest.approx(gamma, abs=1e-3)
    slope = gradient(torch.tensor([1e-6]).double(), alpha=alpha, gamma=gamma).item() / 1e-6
    assert slope == pytest.approx(alpha * b, rel=1e-3)


@pytest.mark.parametrize("beta", [1.0, 0.11, 0.5, 2.0])
def test_values_meet_at_the_border_and_only_with_beta_1_gradients_do(beta: float) -> None:
    near, far = torch.tensor([[beta * (1 - 1e-9)], [beta * (1 + 1e-9)]], dtype=torch.float64)
    zero = torch.zeros(1, dtype=torch.float64)
    assert balanced_l1_loss(near, zero, beta=beta).item() == pytest.approx(
        balanced_l1_loss(far, zero, beta=beta).item(), abs=1e-7
    )
    jump = (gradient(near, beta=beta) - gradient(far, beta=beta)).item()
    assert (abs(jump) < 1e-6) == (beta == 1.0)


def test_the_released_gradient_of_retinanet_is_neither_zero_nor_monotone() -> None:
    """alpha (1 / 0.11 - 1) = 4.05 off zero, a dip below 1.55, 1.70 below beta, 1.5 above."""
    got = gradient(torch.tensor([1e-9, 0.04, 0.1099999, 0.2]).double(), beta=0.11)
    assert got[0].item() == pytest.approx(0.5 * (1 / 0.11 - 1), rel=1e-3)
    lowest = gradient(torch.linspace(1e-4, 0.1099, 2000).double(), beta=0.11).min().item()
    assert lowest == pytest.approx(1.545, abs=0.001)
    assert got[2].item() == pytest.approx(1.70, abs=0.01)
    assert got[3].item() == pytest.approx(1.5)


def test_recorded_values_and_gradients(shared: Path) -> None:
    recorded = np.load(shared / "parity" / "balanced_l1.npz")
    for row, (alpha, gamma, beta) in enumerate(recorded["params"].tolist()):
        settings = {"alpha": alpha, "gamma": gamma, "beta": beta}
        for kind, dtype, close in (("f64", torch.float64, (1e-12, 1e-13)), ("f32", torch.float32, (2e-6, 3e-7))):
            x = torch.from_numpy(recorded["x"][row]).to(dtype)
            loss, grad = (torch.from_numpy(recorded[f"{name}_{kind}"][row]) for name in ("loss", "grad"))
            tolerance = {"rtol": close[0], "atol": close[1]}
            torch.testing.assert_close(balanced_l1_loss(x, torch.zeros_like(x), **settings), loss, **tolerance)
            torch.testing.assert_close(gradient(x, **settings), grad, rtol=1e-5, atol=2e-6)
    pred, target, weight = (torch.from_numpy(recorded[f"red_{name}"]) for name in ("pred", "target", "weight"))
    assert balanced_l1_loss(pred, target, reduction="mean").item() == pytest.approx(recorded["red_mean"].item())
    weighted = (balanced_l1_loss(pred, target) * weight).sum().item() / 512
    assert weighted == pytest.approx(recorded["red_weighted_avg512"].item(), rel=1e-6)
    assert balanced_l1_loss(pred[:0], target[:0], reduction="sum").item() == recorded["red_empty"].item() == 0


@pytest.mark.parametrize("beta", [1.0, 0.11])
def test_gradient_is_right_numerically(beta: float) -> None:
    x = torch.tensor([-3.0, -0.7, -0.02, 0.03, 0.08, 0.5, 0.97, 1.4], dtype=torch.float64, requires_grad=True)
    target = torch.full_like(x, 0.001)
    assert torch.autograd.gradcheck(lambda pred: balanced_l1_loss(pred, target, beta=beta), x)


def test_zero_error_has_no_gradient_and_halves_are_computed_in_float32() -> None:
    assert gradient(torch.zeros(3)).tolist() == [0, 0, 0]
    half = balanced_l1_loss(torch.tensor([0.5, 2.0]).half(), torch.zeros(2).half())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, balanced_l1_loss(torch.tensor([0.5, 2.0]), torch.zeros(2)))


def test_unknown_reduction() -> None:
    with pytest.raises(ValueError, match="none, sum, mean"):
        balanced_l1_loss(torch.zeros(1), torch.zeros(1), reduction="max")


def config(**changes: Any) -> CfgNode:
    cfg = get_cfg()
    add_replication_config(cfg)
    cfg.MODEL.RETINANET.BBOX_REG_LOSS_TYPE = "balanced_l1"
    for key, value in changes.items():
        cfg.MODEL.RETINANET.BALANCED_L1[key] = value
    return cfg


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"FORM": "mine"}, r"MODEL\.RETINANET\.BALANCED_L1\.FORM: 'mine' is unknown; choose from paper, released"),
        (
            {"BETA": 0.11},
            r"BALANCED_L1\.BETA: 0\.11 needs MODEL\.RETINANET\.BALANCED_L1\.FORM released",
        ),
        ({"ALPHA": 0.0}, r"MODEL\.RETINANET\.BALANCED_L1\.ALPHA: 0\.0 is not greater than 0"),
        ({"GAMMA": -1.0}, r"MODEL\.RETINANET\.BALANCED_L1\.GAMMA: -1\.0 is not greater than 0"),
        ({"FORM": "released", "BETA": float("nan")}, r"MODEL\.RETINANET\.BALANCED_L1\.BETA: nan is not greater than 0"),
    ],
)
def test_settings_that_make_no_loss(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_box_reg_loss(config(**changes), "RETINANET")


def test_forms() -> None:
    pred, target = torch.linspace(-3, 3, 24).view(6, 4), torch.zeros(6, 4)
    for changes, beta in (({}, 1.0), ({"FORM": "released", "BETA": 0.11}, 0.11)):
        loss = build_box_reg_loss(config(**changes), "RETINANET")
        assert torch.equal(loss.function(pred, target), balanced_l1_loss(pred, target, 0.5, 1.5, beta))


def test_retinanet_s_box_loss() -> None:
    """Two positive anchors of two images, from the deltas by hand, over the moving average of the positives."""
    from detectron2.structures import Boxes
    from detectron2.utils.events import EventStorage

    net = ReplicationRetinaNet.__new__(ReplicationRetinaNet)
    torch.nn.Module.__init__(net)
    net.num_classes, net.box2box_transform = 3, Box2BoxTransform((1.0, 1.0, 1.0, 1.0))
    net.regression_loss = build_box_reg_loss(config(FORM="released", BETA=0.11), "RETINANET")
    net.regression_weight, net.focal_loss_alpha, net.focal_loss_gamma = 1.0, 0.25, 2.0
    net.loss_normalizer, net.loss_normalizer_momentum = 100, 0.9
    anchors = [Boxes(torch.tensor([[0.0, 0, 10, 10], [5, 5, 15, 25]]))]
    deltas = torch.tensor([[[0.3, 0, 0, 0], [0, 0.05, 0, -2.0]], [[0.1, 0.1, 0.1, 0.1], [0, 0, 0, 0]]])
    deltas.requires_grad_()
    labels = [torch.tensor([1, 3]), torch.tensor([-1, 0])]
    with EventStorage():
        losses = net.losses(
            anchors, [torch.zeros(2, 2, 3)], labels, [deltas], [anchors[0].tensor, anchors[0].tensor + 0.0]
        )
    expected = balanced_l1_loss(torch.tensor(0.3), torch.tensor(0.0), beta=0.11).item()
    assert losses["loss_box_reg"].item() == pytest.approx(expected / net.loss_normalizer, rel=1e-5)
    losses["loss_box_reg"].backward()
    assert deltas.grad is not None
    assert deltas.grad.nonzero().tolist() == [[0, 0, 0]]
