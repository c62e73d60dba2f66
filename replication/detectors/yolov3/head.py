"""YOLOv3's neck and heads: from the backbone's maps to the raw outputs of every level."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from replication.detectors.yolov3.config import ANCHORS_PER_LEVEL
from replication.detectors.yolov3.darknet53 import Convolution

BOX_CHANNELS = 5  # x, y, w, h and objectness, before the classes


class Level(nn.Module):
    """One level: from the coarser level's branch point and a backbone map to its own branch point and its outputs."""

    def __init__(
        self, channels_in: int, coarser: int | None, width: int, outputs: int, momentum: float, weight_scale: float
    ) -> None:
        """``coarser`` is the width of the coarser level, None for the coarsest."""
        super().__init__()
        above = 0 if coarser is None else coarser // 2
        self.lateral = None if coarser is None else Convolution(coarser, above, 1, momentum=momentum)
        sides = (channels_in + above, width, 2 * width, width, 2 * width, width)
        kernels = (1, 3, 1, 3, 1)
        self.block = nn.Sequential(
            *(Convolution(a, b, k, momentum=momentum) for a, b, k in zip(sides, sides[1:], kernels, strict=False))
        )
        self.head = Convolution(width, 2 * width, 3, momentum=momentum)
        self.predict = nn.Conv2d(2 * width, outputs, 1)
        nn.init.kaiming_normal_(self.predict.weight, nonlinearity="relu")
        nn.init.zeros_(self.predict.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            self.predict.weight.mul_(weight_scale)

    def forward(self, feature: Tensor, branch: Tensor | None) -> tuple[Tensor, Tensor]:
        """Feature (N, C, H, W), branch (N, n, H/2, W/2) of the coarser level -> own branch (N, n', H, W), outputs."""
        if self.lateral is not None:
            assert branch is not None
            above = interpolate(self.lateral(branch), scale_factor=2, mode="nearest")
            feature = torch.cat([above, feature], dim=1)
        branch = self.block(feature)
        return branch, self.predict(self.head(branch))


class YOLOv3Head(nn.Module):
    """The levels, coarse to fine; each after the first sees the one before, upsampled (YOLOv3, section 2.3)."""

    def __init__(
        self,
        channels: Sequence[int],
        widths: Sequence[int],
        num_classes: int,
        momentum: float = 0.01,
        weight_scale: float = 1.0,
        objectness_bias: float = 0.0,
        class_bias: float = 0.0,
    ) -> None:
        """``channels`` of the backbone's maps and ``widths`` n of the blocks, both coarse to fine."""
        super().__init__()
        self.num_classes = num_classes
        outputs = ANCHORS_PER_LEVEL * (BOX_CHANNELS + num_classes)
        coarser = [None, *widths[:-1]]
        levels = [
            Level(channels_in, above, width, outputs, momentum, weight_scale)
            for channels_in, above, width in zip(channels, coarser, widths, strict=True)
        ]
        for level in levels:
            assert level.predict.bias is not None
            bias = level.predict.bias.data.view(ANCHORS_PER_LEVEL, -1)
            bias[:, BOX_CHANNELS - 1] = objectness_bias
            bias[:, BOX_CHANNELS:] = class_bias
        self.levels = nn.ModuleList(levels)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Maps (N, Ci, Hi, Wi) of strides 32, 16, 8 -> outputs (N, 3 (5 + K), Hi, Wi), anchor by anchor.

        The channels of an anchor are x, y, w, h, objectness and the K classes, all before any sigmoid.
        """
        outputs, branch = [], None
        for level, feature in zip(self.levels, features, strict=True):
            branch, output = level(feature, branch)
            outputs.append(output)
        return outputs
