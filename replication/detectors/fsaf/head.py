"""RetinaNet's head with FSAF's two layers on its towers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from detectron2.modeling.meta_arch.retinanet import RetinaNetHead
from torch import Tensor, nn


class FSAFHead(nn.Module):
    """Two towers, run once, under the output layers of the branches that are asked for (FSAF, section 3.1).

    Built around a RetinaNetHead, whose towers and, with ``anchor_based``, output layers it takes over under their
    own names, so that a RetinaNet checkpoint fits and, from one seed, all shared layers start alike.
    """

    def __init__(
        self, retinanet: RetinaNetHead, *, branches: Sequence[str], num_classes: int, prior_prob: float, box_bias: float
    ) -> None:
        """The anchor-free layers get weights of sigma 0.01, the class bias of ``prior_prob``, and ``box_bias``."""
        super().__init__()
        self.cls_subnet, self.bbox_subnet = retinanet.cls_subnet, retinanet.bbox_subnet
        self.branches = tuple(branches)
        if "anchor_based" in branches:
            self.cls_score, self.bbox_pred = retinanet.cls_score, retinanet.bbox_pred
        if "anchor_free" in branches:
            channels = retinanet.cls_score.in_channels
            self.af_cls_score = _output(channels, num_classes, -math.log((1 - prior_prob) / prior_prob))
            self.af_bbox_pred = _output(channels, 4, box_bias)

    def forward(self, features: list[Tensor]) -> list[list[Tensor]]:
        """Maps of all levels, by kind, from features (N, C, Hi, Wi).

        First the anchor-based class logits (N, A K, Hi, Wi) and deltas (N, A 4, Hi, Wi), then the anchor-free class
        logits (N, K, Hi, Wi) and distances (N, 4, Hi, Wi), which are not negative; without a branch without its two.
        """
        levels: list[list[Tensor]] = []
        for feature in features:
            cls, bbox = self.cls_subnet(feature), self.bbox_subnet(feature)
            outputs: list[Tensor] = []
            if "anchor_based" in self.branches:
                outputs += [self.cls_score(cls), self.bbox_pred(bbox)]
            if "anchor_free" in self.branches:
                outputs += [self.af_cls_score(cls), self.af_bbox_pred(bbox).relu()]
            levels.append(outputs)
        return [list(maps) for maps in zip(*levels, strict=True)]


def _output(channels: int, filters: int, bias: float) -> nn.Conv2d:
    layer = nn.Conv2d(channels, filters, kernel_size=3, padding=1)
    nn.init.normal_(layer.weight, std=0.01)
    assert layer.bias is not None
    nn.init.constant_(layer.bias, bias)
    return layer
