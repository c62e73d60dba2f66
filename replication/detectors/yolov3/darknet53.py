"""Darknet-53 (YOLOv3, table 1), and the convolution that its network is built of."""

from __future__ import annotations

from typing import Any

from detectron2.layers import FrozenBatchNorm2d, ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import Tensor, nn

BN_EPS = 1e-5
SLOPE = 0.1  # of the leaky ReLU
STAGES = ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4))  # channels and residual blocks


class Convolution(nn.Module):
    """Convolution without bias, padded to keep the size (but for the stride), BatchNorm, leaky ReLU.

    Weights start from N(0, 2 / (k^2 channels_in)).
    """

    def __init__(self, channels_in: int, channels: int, kernel: int, stride: int = 1, momentum: float = 0.01) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(channels, eps=BN_EPS, momentum=momentum)
        self.activation = nn.LeakyReLU(SLOPE, inplace=True)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H, W), sides halved and rounded up with stride 2."""
        result: Tensor = self.activation(self.norm(self.conv(x)))
        return result


class Residual(nn.Module):
    """x + C(3, n)(C(1, n / 2)(x)), without an activation after the sum."""

    def __init__(self, channels: int, momentum: float) -> None:
        super().__init__()
        self.reduce = Convolution(channels, channels // 2, 1, momentum=momentum)
        self.expand = Convolution(channels // 2, channels, 3, momentum=momentum)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        result: Tensor = x + self.expand(self.reduce(x))
        return result


class Darknet53(Backbone):  # type: ignore[misc]
    """The 52 convolutions of Darknet-53 below its classifier.

    Input (N, 3, H, W), RGB in [0, 1]; outputs ``res3``, ``res4``, ``res5`` of strides 8, 16, 32 and 256, 512, 1024
    channels. The first ``freeze_at`` of stem, res1 .. res5 are not trained, nor are their statistics.
    """

    def __init__(self, momentum: float = 0.01, freeze_at: int = 0) -> None:
        super().__init__()
        self.stem = Convolution(3, 32, 3, momentum=momentum)
        channels_in = 32
        for number, (channels, blocks) in enumerate(STAGES, 1):
            layers: list[nn.Module] = [Convolution(channels_in, channels, 3, 2, momentum)]
            layers += [Residual(channels, momentum) for _ in range(blocks)]
            self.add_module(f"res{number}", nn.Sequential(*layers))
            channels_in = channels
        self._stages = tuple(f"res{number}" for number in range(1, 1 + len(STAGES)))
        self._shapes = {
            name: ShapeSpec(channels=channels, stride=2**number)
            for number, (name, (channels, _)) in enumerate(zip(self._stages, STAGES, strict=True), 1)
            if number >= 3
        }
        for name in ("stem", *self._stages)[:freeze_at]:
            frozen = getattr(self, name).requires_grad_(False)
            setattr(self, name, FrozenBatchNorm2d.convert_frozen_batchnorm(frozen))

    @property
    def size_divisibility(self) -> int:
        """Sides that are no multiple of this are rounded up by the strided convolutions."""
        return 32

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) -> {"res3": (N, 256, H/8, W/8), "res4": (N, 512, H/16, W/16), "res5": (N, 1024, H/32, W/32)}."""
        x = self.stem(x)
        outputs = {}
        for name in self._stages:
            x = getattr(self, name)(x)
            if name in self._shapes:
                outputs[name] = x
        return outputs

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each output."""
        return self._shapes


@BACKBONE_REGISTRY.register()  # type: ignore[untyped-decorator]
def build_darknet53_backbone(cfg: Any, input_shape: ShapeSpec) -> Darknet53:
    """Darknet-53 with the BatchNorm momentum of MODEL.YOLOV3, frozen up to MODEL.BACKBONE.FREEZE_AT."""
    return Darknet53(cfg.MODEL.YOLOV3.BN_MOMENTUM, cfg.MODEL.BACKBONE.FREEZE_AT)
