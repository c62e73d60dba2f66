"""Balanced feature pyramid and PAFPN against their definitions, written again level by level and loop by loop."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone, build_backbone
from detectron2.modeling.backbone.fpn import FPN, LastLevelMaxPool
from torch import Tensor, nn

from replication.detectors import BalancedPyramid, BottomUpPath, add_replication_config, use_backbone
from replication.detectors.libra.pyramid import NonLocal, resize
from replication.errors import ConfigError

CHANNELS = 8


class Levels(Backbone):  # type: ignore[misc]
    """Stands for an FPN: gives out what it is told to."""

    def __init__(self, levels: dict[str, Tensor], strides: list[int] | None = None, channels: int = CHANNELS) -> None:
        super().__init__()
        self.levels = levels
        self.strides = strides or [4 * 2**k for k in range(len(levels))]
        self.channels = channels

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return dict(self.levels)

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {
            name: ShapeSpec(channels=self.channels, stride=s) for name, s in zip(self.levels, self.strides, strict=True)
        }


def levels(sizes: list[tuple[int, int]], dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        f"p{k + 2}": torch.randn(2, CHANNELS, *size, generator=generator, dtype=dtype) for k, size in enumerate(sizes)
    }


EVEN = [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]
ODD = [(29, 41), (15, 21), (8, 11), (4, 6), (2, 3)]
ONE = [(5, 3), (3, 2), (2, 1), (1, 1), (1, 1)]
SIZES = {"even": EVEN, "odd": ODD, "tiny": ONE}


def pooled(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Adaptive max-pooling by its definition: cell i covers floor(i h / H) to ceil((i + 1) h / H)."""
    (h, w), (to_h, to_w) = x.shape[-2:], size
    out = x.new_zeros(*x.shape[:2], to_h, to_w)
    for i in range(to_h):
        for j in range(to_w):
            rows = slice(i * h // to_h, math.ceil((i + 1) * h / to_h))
            columns = slice(j * w // to_w, math.ceil((j + 1) * w / to_w))
            out[:, :, i, j] = x[:, :, rows, columns].amax(dim=(2, 3))
    return out


def nearest(x: Tensor, size: tuple[int, int]) -> Tensor:
    (h, w), (to_h, to_w) = x.shape[-2:], size
    rows = torch.tensor([i * h // to_h for i in range(to_h)])
    columns = torch.tensor([j * w // to_w for j in range(to_w)])
    return x[:, :, rows][:, :, :, columns]


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_integration_is_the_average_of_all_levels_added_to_each(sizes: list[tuple[int, int]]) -> None:
    given = levels(sizes)
    got = BalancedPyramid(Levels(given), "none")(torch.zeros(0))
    resized = [pooled(x, sizes[2]) if k < 2 else nearest(x, sizes[2]) for k, x in enumerate(given.values())]
    average = sum(resized) / 5
    for k, (name, x) in enumerate(given.items()):
        back = nearest(average, sizes[k]) if k < 2 else pooled(average, sizes[k])
        torch.testing.assert_close(got[name], x + back, rtol=1e-12, atol=1e-12)


def test_retinanet_s_levels_meet_at_stride_16_too() -> None:
    given = dict(list(levels(EVEN).items())[1:])  # strides 8 .. 64, and one more
    pyramid = BalancedPyramid(Levels(given, [8, 16, 32, 64]), "none")
    assert pyramid.middle == 1
    assert [x.shape for x in pyramid(torch.zeros(0)).values()] == [x.shape for x in given.values()]


def explicit_attention(block: NonLocal, x: Tensor) -> Tensor:
    """The block with its H W x H W weights laid out, one image and position after the other."""
    out = x.clone()
    for n in range(len(x)):
        theta, phi, g = (
            torch.einsum("oc,chw->ohw", conv.weight[:, :, 0, 0], x[n]).flatten(1) + conv.bias[:, None]
            for conv in (block.theta, block.phi, block.g)
        )
        weights = torch.exp(theta.T @ phi)
        weights = weights / weights.sum(dim=1, keepdim=True)
        gathered = (weights @ g.T).T
        out[n] += (block.out.weight[:, :, 0, 0] @ gathered + block.out.bias[:, None]).view_as(x[n])
    return out


def non_local(dtype: torch.dtype, channels: int = CHANNELS) -> NonLocal:
    torch.manual_seed(1)
    block = NonLocal(channels).to(dtype)
    for conv in block.children():
        nn.init.normal_(conv.bias, std=0.3)
    return block


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("dtype", "close"), [(torch.float64, {"rtol": 1e-10, "atol": 1e-10}), (torch.float32, {"rtol": 2e-4, "atol": 2e-5})]
)
def test_fused_attention_gives_the_numbers_of_the_laid_out_one(dtype: torch.dtype, close: Any, memory: Any) -> None:
    block = non_local(dtype)
    x = torch.randn(2, CHANNELS, 7, 11, generator=torch.Generator().manual_seed(2), dtype=dtype)
    one, other = (x.clone().to(memory_format=memory).requires_grad_() for _ in range(2))
    fused, laid_out = block(one), explicit_attention(block, other)
    torch.testing.assert_close(fused, laid_out, **close)
    weight = torch.randn(fused.shape, generator=torch.Generator().manual_seed(3), dtype=dtype)
    gradients = []
    for out, source in ((fused, one), (laid_out, other)):
        block.zero_grad()
        (out * weight).sum().backward()
        gradients.append([source.grad, *(p.grad.clone() for p in block.parameters())])
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=10 * close["rtol"], atol=20 * close["atol"])


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_attention_never_lays_out_its_weights(memory: Any) -> None:
    """A map of 64 x 64: the weights alone would be 4096 x 4096 x 4 bytes."""
    block = NonLocal(32)
    x = torch.randn(1, 32, 64, 64).to(memory_format=memory)
    largest = 0

    def remember(tensor: Tensor) -> Tensor:
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        block(x.requires_grad_()).sum().backward()
    assert largest <= 32 * 64 * 64


@pytest.mark.parametrize("refinement", ["none", "conv", "non_local"])
def test_gradients_are_right_numerically(refinement: str) -> None:
    sizes = [(8, 8), (4, 4), (2, 2), (1, 1)]
    given = {name: x[:1, :2].clone().requires_grad_() for name, x in levels(sizes).items()}
    torch.manual_seed(0)
    pyramid = BalancedPyramid(Levels(given, channels=2), refinement).double()
    parameters = list(pyramid.parameters())

    def function(*inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(pyramid.balance(list(inputs[:4])))

    assert torch.autograd.gradcheck(function, (*given.values(), *parameters), atol=1e-6)


@pytest.mark.parametrize("refinement", ["none", "conv", "non_local"])
def test_sizes_stay_whatever_they_are(refinement: str) -> None:
    for sizes in SIZES.values():
        given = levels(sizes)
        pyramid = BalancedPyramid(Levels(given), refinement).double()
        got = pyramid(torch.zeros(0))
        assert {name: x.shape for name, x in got.items()} == {name: x.shape for name, x in given.items()}
        assert all(x.isfinite().all() for x in got.values())


def test_refined_average_is_what_is_added() -> None:
    given = levels(EVEN)
    pyramid = BalancedPyramid(Levels(given), "non_local").double()
    plain = BalancedPyramid(Levels(given), "none")(torch.zeros(0))["p4"] - given["p4"]
    torch.testing.assert_close(pyramid(torch.zeros(0))["p4"] - given["p4"], explicit_attention(pyramid.refine, plain))


def test_every_convolution_starts_with_xavier_and_no_bias() -> None:
    """Not from the identity: the authors' neck overwrites the zero of the block's last convolution."""
    torch.manual_seed(0)
    block = BalancedPyramid(Levels(levels(EVEN), channels=64), "non_local").refine
    assert len(list(block.children())) == 4
    for conv in block.children():
        limit = math.sqrt(6 / 128)
        assert conv.weight.abs().max() <= limit
        assert conv.weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.05)
        assert not conv.bias.any()


def test_the_identity_start_adds_the_plain_average() -> None:
    """Current mmdetection's start: the output convolution is 0, so the block gives back its input."""
    given = levels(EVEN, torch.float32)
    torch.manual_seed(0)
    refined = BalancedPyramid(Levels(given), "non_local", "identity")
    for got, plain in zip(
        refined(torch.zeros(0)).values(), BalancedPyramid(Levels(given), "none")(torch.zeros(0)).values(), strict=True
    ):
        assert torch.equal(got, plain)
    assert not any(part.weight.any() or part.bias.any() for part in [refined.refine.out])
    wide = BalancedPyramid(Levels(given, channels=256), "non_local", "identity").refine
    for part in (wide.theta, wide.phi, wide.g):
        assert part.weight.std().item() == pytest.approx(0.01, rel=0.02)
        assert not part.bias.any()


def test_an_unknown_start_and_one_without_a_residual_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"MODEL\.BALANCED_PYRAMID\.INIT: 'zero' is unknown; .* released, identity"):
        BalancedPyramid(Levels(levels(EVEN)), "non_local", "zero")
    with pytest.raises(ConfigError, match=r"INIT: 'identity' needs a residual, which REFINEMENT conv has not"):
        BalancedPyramid(Levels(levels(EVEN)), "conv", "identity")


def test_resize_to_its_own_size_is_itself() -> None:
    x = torch.zeros(1, 1, 3, 5)
    assert resize(x, (3, 5), down=True) is x


def test_what_cannot_be_balanced_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"REFINEMENT: 'gcn' is unknown; choose from none, conv, non_local"):
        BalancedPyramid(Levels(levels(EVEN)), "gcn")
    with pytest.raises(ConfigError, match=r"needs levels of one width with one of stride 16; found strides \[4, 8\]"):
        BalancedPyramid(Levels(levels(EVEN[:2])), "none")


def config(name: str = "build_resnet_fpn_backbone", **builders: str) -> CfgNode:
    cfg = get_cfg()
    add_replication_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.NAME = name
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.OUT_CHANNELS = 16
    for node, builder in builders.items():
        cfg.MODEL[node].BUILDER = builder
    use_backbone(cfg, "efficientnet_lite0")
    return cfg


def backbone(name: str, refinement: str = "non_local", **builders: str) -> Any:
    cfg = config(name, **builders)
    cfg.MODEL.BALANCED_PYRAMID.REFINEMENT = refinement
    torch.manual_seed(7)
    return build_backbone(cfg).eval()


IMAGE = torch.randn(1, 3, 96, 160, generator=torch.Generator().manual_seed(5))


def test_checkpoints_load_across_switches(tmp_path: Path) -> None:
    """Integration adds no parameter; refinement and PAFPN add only theirs to those of the plain FPN."""
    plain = backbone("build_resnet_fpn_backbone")
    integration = backbone("build_balanced_pyramid_backbone", "none")
    refined = backbone("build_balanced_pyramid_backbone")
    pafpn = backbone("build_pafpn_backbone")
    assert integration.state_dict().keys() == plain.state_dict().keys()
    assert {key.split(".")[0] for key in refined.state_dict().keys() - plain.state_dict().keys()} == {"refine"}
    assert {key.split(".")[0] for key in pafpn.state_dict().keys() - plain.state_dict().keys()} == {
        f"{part}_p{k}" for part in ("down", "fuse") for k in (3, 4, 5)
    }
    for parameter in plain.parameters():
        nn.init.normal_(parameter, std=0.05)
    DetectionCheckpointer(plain, str(tmp_path)).save("plain")
    for other in (integration, refined, pafpn):
        DetectionCheckpointer(other).load(str(tmp_path / "plain.pth"))
        assert all(torch.equal(other.state_dict()[key], value) for key, value in plain.state_dict().items())
    with torch.no_grad():
        raw, balanced = plain(IMAGE), integration(IMAGE)
        expected = integration.balance(list(raw.values()))
    assert all(torch.equal(one, other) for one, other in zip(balanced.values(), expected, strict=True))


def test_a_wrapper_trains_and_moves_as_one() -> None:
    """Parameters are registered once, and a copy has its own."""
    wrapped = backbone("build_balanced_pyramid_backbone", PAFPN="build_resnet_fpn_backbone")
    names = [name for name, _ in wrapped.named_parameters()]
    assert len(names) == len(set(names))
    twin = copy.deepcopy(wrapped)
    with torch.no_grad():
        before = wrapped(IMAGE)["p4"].clone()
        twin.fpn_output4.weight.zero_()
        assert torch.equal(wrapped(IMAGE)["p4"], before)
        assert not torch.equal(twin(IMAGE)["p4"], before)
        halved = wrapped.double()
        assert halved(IMAGE.double())["p4"].dtype == torch.float64
    wrapped.zero_grad()
    sum(x.sum() for x in wrapped(IMAGE.double()).values()).backward()
    assert all(p.grad is not None for p in wrapped.parameters() if p.requires_grad)


def test_pafpn_is_panet_s_bottom_up_path() -> None:
    pafpn = backbone("build_pafpn_backbone")
    assert isinstance(pafpn, BottomUpPath)
    assert isinstance(pafpn.inner, FPN)
    plain = backbone("build_resnet_fpn_backbone")
    plain.load_state_dict(pafpn.state_dict(), strict=False)
    with torch.no_grad():
        p, n = plain(IMAGE), pafpn(IMAGE)
        assert torch.equal(n["p2"], p["p2"])
        expected = p["p2"]
        for k in (3, 4, 5):
            conv = {part: getattr(pafpn, f"{part}_p{k}") for part in ("down", "fuse")}
            lowered = torch.relu(torch.conv2d(expected, conv["down"].weight, conv["down"].bias, stride=2, padding=1))
            fused = torch.conv2d(p[f"p{k}"] + lowered, conv["fuse"].weight, conv["fuse"].bias, padding=1)
            expected = torch.relu(fused)
            torch.testing.assert_close(n[f"p{k}"], expected)
        assert torch.equal(n["p6"], LastLevelMaxPool()(n["p5"])[0])


def test_pafpn_leaves_levels_convolved_from_c5_alone() -> None:
    cfg = config("build_pafpn_backbone", PAFPN="build_retinanet_resnet_fpn_backbone")
    cfg.MODEL.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    torch.manual_seed(0)
    pafpn = build_backbone(cfg).eval()
    with torch.no_grad():
        inner, outer = pafpn.inner(IMAGE), pafpn(IMAGE)
    assert list(outer) == ["p3", "p4", "p5", "p6", "p7"]
    assert [name for name in outer if torch.equal(inner[name], outer[name])] == ["p3", "p6", "p7"]


def test_balanced_pafpn_is_the_composition() -> None:
    both = backbone("build_balanced_pyramid_backbone", BALANCED_PYRAMID="build_pafpn_backbone")
    assert isinstance(both, BalancedPyramid)
    assert isinstance(both.inner, BottomUpPath)
    with torch.no_grad():
        expected = both.balance(list(both.inner(IMAGE).values()))
        assert all(torch.equal(one, other) for one, other in zip(both(IMAGE).values(), expected, strict=True))
    assert both.bottom_up is both.inner.bottom_up
    assert both.size_divisibility == 32


def test_the_stand_in_replaces_the_innermost_builder() -> None:
    cfg = config("build_balanced_pyramid_backbone", BALANCED_PYRAMID="build_pafpn_backbone")
    assert cfg.MODEL.BACKBONE.NAME == "build_balanced_pyramid_backbone"
    assert cfg.MODEL.BALANCED_PYRAMID.BUILDER == "build_pafpn_backbone"
    assert cfg.MODEL.PAFPN.BUILDER == "build_efficientnet_lite_fpn_backbone"


@pytest.mark.parametrize("builder", ["build_no_backbone", "build_balanced_pyramid_backbone"])
def test_a_builder_that_is_none_is_named(builder: str) -> None:
    cfg = config("build_balanced_pyramid_backbone")
    cfg.MODEL.BALANCED_PYRAMID.BUILDER = builder
    with pytest.raises(ConfigError, match=rf"MODEL\.BALANCED_PYRAMID\.BUILDER: '{builder}' is not a builder"):
        build_backbone(cfg)
