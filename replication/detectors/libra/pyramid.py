"""Balanced feature pyramid (Libra R-CNN, section 3.2) and PAFPN, each a backbone around another builder's FPN."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from torch import Tensor, nn

from replication.detectors.wrappers import PyramidWrapper, build_inner, own_random_numbers, register_wrapper
from replication.errors import ConfigError

REFINEMENTS = ("none", "conv", "non_local")
INITIALISATIONS = ("released", "identity")
BALANCED_STRIDE = 16  # the level that all are resized to: P4 (section 3.2; the authors' code for RetinaNet too)


class NonLocal(nn.Module):
    """Embedded-Gaussian non-local block with a residual, all in C channels.

    ``x + out(softmax(theta(x)^T phi(x)) g(x))`` over the H W positions of each image: no reduction of channels, no
    scaling of the scores (as the authors' code). The weights are never laid out: a map of 50 x 84, P4 of an image of
    800 x 1333, would need 50 84 50 84 x 4 bytes = 70 MB for the scores of an image, again for their softmax, and
    again in the backward pass; the fused attention keeps O(H W C) numbers and gives the same ones.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.theta, self.phi, self.g, self.out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        query, key, value = (_positions(part(x)) for part in (self.theta, self.phi, self.g))
        gathered = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        # Seen as channels last, which is how it lies in memory.
        refined: Tensor = x + self.out(gathered.view(len(x), *x.shape[-2:], -1).permute(0, 3, 1, 2))
        return refined


def _positions(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, 1, H W, C), one attention head, laid out as the fused attention demands it."""
    return x.flatten(2).transpose(1, 2).contiguous().unsqueeze(1)


class Conv(nn.Module):
    """Refinement by a 3x3 convolution with ReLU, which the paper mentions and its code has as an option."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        return F.relu(self.conv(x))


class BalancedPyramid(PyramidWrapper):
    """Integrates all levels into one, refines it, and adds it back to each.

    Levels are resized to the one of stride 16, by adaptive max-pooling down and nearest interpolation up, and averaged
    (equation 4); the refined average is resized the same way to each level and added. Without refinement it has no
    parameters. ``released``: every convolution starts with Xavier's weights and no bias, as in the authors' code.
    ``identity``: the non-local block starts as the identity, as in mmdetection 3; its output convolution is 0, its
    other weights are drawn with standard deviation 0.01.
    """

    def __init__(self, inner: Any, refinement: str, initialisation: str = "released") -> None:
        """``refinement`` is none, conv or non_local, ``initialisation`` released or identity.

        Raises ConfigError for others, for ``conv``, which has no residual, with ``identity``, and without a level to
        use.
        """
        super().__init__(inner)
        _check_choice("REFINEMENT", refinement, REFINEMENTS)
        _check_choice("INIT", initialisation, INITIALISATIONS)
        if (refinement, initialisation) == ("conv", "identity"):
            raise ConfigError(
                "MODEL.BALANCED_PYRAMID.INIT: 'identity' needs a residual, which REFINEMENT conv has not; use released"
            )
        shapes = self.output_shape()
        strides, channels = [shape.stride for shape in shapes.values()], {shape.channels for shape in shapes.values()}
        if BALANCED_STRIDE not in strides or len(channels) != 1:
            raise ConfigError(
                f"MODEL.BALANCED_PYRAMID.BUILDER: needs levels of one width with one of stride {BALANCED_STRIDE}; "
                f"found strides {strides} and channels {sorted(channels)}"
            )
        self.middle = strides.index(BALANCED_STRIDE)
        if refinement != "none":
            with own_random_numbers("balanced pyramid"):
                refine = (NonLocal if refinement == "non_local" else Conv)(channels.pop())
                for part in refine.modules():
                    if isinstance(part, nn.Conv2d):
                        _initialise(part, initialisation)
            if isinstance(refine, NonLocal) and initialisation == "identity":
                nn.init.zeros_(refine.out.weight)
            self.refine = refine
        self.refined = refinement != "none"

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (N, 3, H, W) -> the inner backbone's levels by name, each of its own shape."""
        levels: dict[str, Tensor] = self.inner(x)
        balanced = self.balance(list(levels.values()))
        return dict(zip(levels, balanced, strict=True))

    def balance(self, levels: list[Tensor]) -> list[Tensor]:
        """Levels (N, C, H_l, W_l), fine to coarse -> the balanced ones, of the same shapes."""
        size = levels[self.middle].shape[-2:]
        total = levels[self.middle]
        for number, level in enumerate(levels):
            if number != self.middle:
                total = total + resize(level, size, down=number < self.middle)
        average = total / len(levels)
        if self.refined:
            average = self.refine(average)
        return [
            level + resize(average, level.shape[-2:], down=number > self.middle) for number, level in enumerate(levels)
        ]


def _check_choice(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"MODEL.BALANCED_PYRAMID.{key}: {value!r} is unknown; choose from {', '.join(known)}")


def _initialise(conv: nn.Conv2d, initialisation: str) -> None:
    if initialisation == "released":
        nn.init.xavier_uniform_(conv.weight)
    else:
        nn.init.normal_(conv.weight, std=0.01)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]


def resize(x: Tensor, size: Any, down: bool) -> Tensor:
    """(N, C, h, w) -> (N, C, *size): adaptive max-pooling ``down``, else nearest interpolation; itself when it fits."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.adaptive_max_pool2d(x, tuple(size)) if down else F.interpolate(x, size=tuple(size), mode="nearest")


class BottomUpPath(PyramidWrapper):
    """PAFPN: a second, bottom-up path over the levels of an FPN (PANet, arXiv 1803.01534, section 3.1).

    N_2 is P_2; N_{i+1} is a 3x3 convolution of P_{i+1} plus N_i after a 3x3 convolution of stride 2; a ReLU follows
    each convolution. Only levels with a lateral connection take part; a P6 subsampled from P5 is subsampled from N_5
    instead, one convolved from C5 stays.
    """

    def __init__(self, inner: Any) -> None:
        """``inner`` is an FPN of Detectron2."""
        super().__init__(inner)
        shapes = self.output_shape()
        self.names = list(shapes)[: len(inner.in_features)]
        with own_random_numbers("bottom-up path"):
            for name in self.names[1:]:
                channels = shapes[name].channels
                for part, stride in (("down", 2), ("fuse", 1)):
                    conv = nn.Conv2d(channels, channels, 3, stride=stride, padding=1)
                    nn.init.kaiming_uniform_(conv.weight, a=1)  # Xavier's range for its inputs, as Detectron2's FPN
                    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
                    self.add_module(f"{part}_{name}", conv)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (N, 3, H, W) -> the inner backbone's levels by name, each of its own shape."""
        levels: dict[str, Tensor] = self.inner(x)
        finer = levels[self.names[0]]
        for name in self.names[1:]:
            lowered = F.relu(getattr(self, f"down_{name}")(finer))
            finer = levels[name] = F.relu(getattr(self, f"fuse_{name}")(levels[name] + lowered))
        if isinstance(self.inner.top_block, LastLevelMaxPool):
            levels |= dict(zip(list(levels)[len(self.names) :], self.inner.top_block(finer), strict=True))
        return levels


@register_wrapper("BALANCED_PYRAMID")
def build_balanced_pyramid_backbone(cfg: Any, input_shape: ShapeSpec) -> BalancedPyramid:
    """The balanced feature pyramid around what MODEL.BALANCED_PYRAMID.BUILDER builds."""
    inner = build_inner(cfg, input_shape, "BALANCED_PYRAMID")
    return BalancedPyramid(inner, cfg.MODEL.BALANCED_PYRAMID.REFINEMENT, cfg.MODEL.BALANCED_PYRAMID.INIT)


@register_wrapper("PAFPN")
def build_pafpn_backbone(cfg: Any, input_shape: ShapeSpec) -> BottomUpPath:
    """PAFPN around the FPN that MODEL.PAFPN.BUILDER builds."""
    return BottomUpPath(build_inner(cfg, input_shape, "PAFPN"))
