"""Darknet's weights files: a header, then little-endian float32, convolution by convolution.

A convolution with BatchNorm gives bias, scale, running mean, running variance and weight, one without gives bias and
weight, (out, in, k, k) row by row. The file says nothing of the network, so its length is what shows that it fits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from replication.detectors.yolov3.config import ANCHORS_PER_LEVEL
from replication.detectors.yolov3.darknet53 import Convolution, Darknet53
from replication.errors import WeightsError

VERSION = (0, 2, 0)
_FLOAT = np.dtype("<f4")


def load_darknet(model: Any, path: Path, whole: bool = False) -> None:
    """Load a file of the whole network, or unless ``whole`` of the backbone alone, into a YOLOv3 with Darknet-53.

    Raises WeightsError when it cannot be read, or its length is neither that of the network nor of its backbone. The
    model is then unchanged. Which classes the outputs stand for is the user's to know: of COCO's 80 the order is that
    of ascending category ids.
    """
    header, values = _read(path)
    network, backbone = list(convolutions(model)), list(convolutions(model.backbone))
    lengths = {sum(each.numel() for each in _tensors(part)): part for part in (network, backbone)}
    if len(values) not in lengths:
        raise WeightsError(f"{path}: {_misfit(model, len(values), header, sorted(lengths))}")
    if whole and lengths[len(values)] is backbone:
        raise WeightsError(f"{path}: holds the backbone alone, which detects nothing; give a file of the whole network")
    if not np.isfinite(values).all():
        raise WeightsError(f"{path}: holds values that are not finite; download it again or give another file")
    at = 0
    with torch.no_grad():
        for tensor in _tensors(lengths[len(values)]):
            part = torch.from_numpy(values[at : at + tensor.numel()])
            tensor.copy_(part.view(tensor.shape))
            at += tensor.numel()


def save_darknet(model: Any, path: Path, images_seen: int = 0) -> None:
    """Write the whole network as Darknet would; ``load_darknet`` gives back the same bits."""
    with path.open("wb") as file:
        file.write(np.array(VERSION, "<i4").tobytes() + np.array([images_seen], "<i8").tobytes())
        for tensor in _tensors(convolutions(model)):
            file.write(tensor.detach().cpu().contiguous().numpy().astype(_FLOAT).tobytes())


@dataclass(frozen=True)
class Layer:
    """One convolution of the file; ``norm`` is None for the output layers."""

    conv: nn.Conv2d
    norm: nn.BatchNorm2d | None


def convolutions(part: Any) -> Iterator[Layer]:
    """The convolutions of a network, or of its backbone, in the order of the file.

    WeightsError for a backbone that is no Darknet-53.
    """
    if not isinstance(part, Darknet53) and not isinstance(getattr(part, "backbone", None), Darknet53):
        raise WeightsError(
            "a Darknet weights file needs a YOLOv3 with backbone D-53 (MODEL.BACKBONE.NAME build_darknet53_backbone); "
            "choose a protocol without stand-in backbones"
        )
    # Modules are registered in this order: block by block, and in a level lateral, block, head, output.
    modules = part.modules() if isinstance(part, Darknet53) else (*part.backbone.modules(), *part.head.modules())
    inside: set[nn.Module] = set()
    for module in modules:
        if isinstance(module, Convolution):
            inside.add(module.conv)
            yield Layer(module.conv, module.norm)
        elif isinstance(module, nn.Conv2d) and module not in inside:
            yield Layer(module, None)


def _tensors(layers: Any) -> Iterator[Tensor]:
    for layer in layers:
        if layer.norm is not None:
            norm = layer.norm
            yield from (norm.bias, norm.weight, norm.running_mean, norm.running_var)
        else:
            yield layer.conv.bias
        yield layer.conv.weight


def _read(path: Path) -> tuple[int, np.ndarray[Any, np.dtype[np.float32]]]:
    """Bytes of the header, and the values behind it."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); give the path of a Darknet file") from None
    if len(data) < 16:
        raise WeightsError(f"{path}: too short ({len(data)} bytes) for the header of a Darknet file; download it again")
    major, minor, _ = np.frombuffer(data, "<i4", 3).tolist()
    if not (0 <= major < 1000 and 0 <= minor < 1000):
        raise WeightsError(f"{path}: not a Darknet weights file (version {major}.{minor} in its header); give another")
    header = 20 if major * 10 + minor >= 2 else 16
    if (len(data) - header) % 4:
        raise WeightsError(f"{path}: {len(data)} bytes are not a whole number of float32 values; download it again")
    return header, np.frombuffer(data, _FLOAT, offset=header).astype(np.float32)


def _misfit(model: Any, values: int, header: int, lengths: list[int]) -> str:
    """Why a file of so many values is none of the two that fit."""
    backbone, whole = lengths
    per_class = sum(ANCHORS_PER_LEVEL * (level.predict.in_channels + 1) for level in model.head.levels)
    more, rest = divmod(values - whole, per_class)
    classes = model.head.num_classes
    fits = f"{4 * whole + header} bytes for {classes} classes, or {4 * backbone + header} for the backbone alone"
    if not rest and classes + more > 0:
        return (
            f"is of a YOLOv3 with {classes + more} classes, the model has {classes}; give a file for {classes} "
            f"classes, or data with {classes + more}"
        )
    size = 4 * values + header
    short = whole if values > backbone else backbone
    if values < whole:
        return f"too short, or of another architecture: {size} bytes, {4 * (short - values)} fewer than needed ({fits})"
    return f"too long, or of another architecture: {size} bytes, {4 * (values - whole)} more than needed ({fits})"
