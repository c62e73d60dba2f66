"""How many class scores survive the score threshold, and random weights of which a stated number does.

Post-processing takes time by the number of candidates, of which random weights leave almost none.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from detectron2.layers import FrozenBatchNorm2d
from torch import Tensor, nn
from torch.nn import functional as F

from replication.detectors.yolov3.config import ANCHORS_PER_LEVEL
from replication.detectors.yolov3.head import BOX_CHANNELS
from replication.timing.stages import Anatomy

Batch = list[dict[str, Any]]

LOGIT_SPREAD = 1.0  # standard deviation of class logits over one image; random weights start near 0, all scores alike


class LevelBias(nn.Conv2d):
    """A convolution whose bias is another one on each pyramid level; called once per level, finest first."""

    def __init__(self, layer: nn.Conv2d, offsets: Tensor) -> None:
        """``offsets`` (levels,) is added to the bias of ``layer``, whose weights are taken over."""
        super().__init__(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,  # type: ignore[arg-type]
            layer.stride,  # type: ignore[arg-type]
            layer.padding,  # type: ignore[arg-type]
            layer.dilation,  # type: ignore[arg-type]
            layer.groups,
            device=layer.weight.device,
        )
        assert layer.bias is not None
        self.weight, self.bias = layer.weight, layer.bias
        self.biases = [(layer.bias + offset).detach() for offset in offsets]
        self.level = 0

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, A K, H', W')."""
        bias = self.biases[self.level]
        self.level = (self.level + 1) % len(self.biases)
        logits: Tensor = self._conv_forward(features, self.weight, bias)
        return logits


@torch.no_grad()
def count(run: Callable[[Batch], Any], anatomy: Anatomy, inputs: Sequence[Batch]) -> dict[str, Any]:
    """Means per image of what survives, by class layer and level, in all, after the top k per level, and after NMS."""
    levels: dict[str, list[list[int]]] = {name: [] for name in anatomy.class_layers}
    detections = 0
    for batch in inputs:
        with _collected(anatomy) as logits:
            detections += len(run(batch)[0]["instances"])
        for name, calls in logits.items():
            levels[name].append([int((_scores(anatomy, one) > anatomy.score_threshold).sum()) for one in calls])
    kept = [
        sum(min(number, anatomy.top_k or number) for number in numbers)
        for image in levels.values()
        for numbers in image
    ]
    means = {name: [sum(level) / len(inputs) for level in zip(*image, strict=True)] for name, image in levels.items()}
    return {
        "score_threshold": anatomy.score_threshold,
        "per_level": means,
        "per_image": sum(map(sum, means.values())),
        "per_image_after_top_k": sum(kept) / len(inputs),
        "detections": detections / len(inputs),
    }


@torch.no_grad()
def calibrate(model: nn.Module, anatomy: Anatomy, inputs: Sequence[Batch], wanted: int) -> Anatomy:
    """Set class biases so that ``wanted`` candidates survive on average: per level and class layer of a dense detector,
    per level of YOLOv3, whose objectness is biased, per image of an R-CNN. Returns the anatomy with the layers that
    took the place of the old ones.

    Before, random features and logits are given the spread of trained ones. Fewer survive where a level has fewer
    scores, or a box head too even probabilities; ``count`` says how many do.
    """
    standardise(model, inputs[0])
    with _collected(anatomy) as found:
        model(inputs[0])
    for name, layer in anatomy.class_layers.items():
        spread = torch.cat([one.flatten() for one in found[name]]).std().clamp(min=1e-12)
        layer.weight.mul_(LOGIT_SPREAD / spread)  # type: ignore[operator]
    margins = _margins(model, anatomy, inputs, wanted)
    layers: dict[str, nn.Module] = {}
    for name, layer in anatomy.class_layers.items():
        shifts = torch.stack([_threshold(level, wanted) for level in zip(*margins[name], strict=True)])
        if isinstance(layer, nn.Linear):
            layer.bias[-1] += shifts[0].to(layer.bias.dtype)
            layers[name] = layer
        elif anatomy.kind == "yolo":
            layer.bias.view(ANCHORS_PER_LEVEL, -1)[:, BOX_CHANNELS - 1] -= shifts[0]  # type: ignore[operator]
            layers[name] = layer
        elif isinstance(layer, nn.Conv2d):
            layers[name] = LevelBias(layer, -shifts.to(layer.weight.dtype))
            owner, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(owner), attribute, layers[name])
    return replace(anatomy, class_layers=layers)


def _margins(model: nn.Module, anatomy: Anatomy, inputs: Sequence[Batch], wanted: int) -> dict[str, list[list[Tensor]]]:
    """By class layer, image and level: by how much each score passes the threshold, the largest ones only.

    It is a difference of logits: of the score's own and the threshold's for sigmoids, of the background's own and the
    one with which the score would just pass for softmax, of objectness' own and such a one for YOLOv3.
    """
    margin = _MARGINS[anatomy.kind]
    most = wanted * len(inputs) + 1
    margins: dict[str, list[list[Tensor]]] = {name: [] for name in anatomy.class_layers}
    for batch in inputs:
        with _collected(anatomy) as logits:
            model(batch)
        for name, calls in logits.items():
            values = [margin(one, anatomy.score_threshold).flatten() for one in calls]
            margins[name].append([one.topk(min(most, one.numel())).values for one in values])
    return margins


def _sigmoid_margin(logits: Tensor, threshold: float) -> Tensor:
    return logits.double() - math.log(threshold / (1 - threshold))


def _softmax_margin(logits: Tensor, threshold: float) -> Tensor:
    """Of (R, K + 1) logits, the background last.

    Class c passes when exp(z_c) > threshold (sum of the classes' exp + exp(z_background)), that is when the
    background is below ln(exp(z_c) / threshold - sum).
    """
    exponents = logits.double().exp()
    room = exponents[:, :-1] / threshold - exponents[:, :-1].sum(dim=1, keepdim=True)
    return room.clamp(min=1e-6).log() - logits[:, -1:].double()


def _objectness_margin(outputs: Tensor, threshold: float) -> Tensor:
    """Of YOLOv3's outputs (N, A (5 + K), H, W).

    Class c passes when objectness > threshold / p_c, which no objectness does where p_c is not above the threshold.
    """
    objectness, classes = _yolo_logits(outputs.double())
    needed = threshold / classes.sigmoid()
    return torch.where(needed < 1, objectness - needed.logit(), -torch.inf)


_MARGINS = {"dense": _sigmoid_margin, "rcnn": _softmax_margin, "yolo": _objectness_margin}


def _yolo_logits(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Objectness (N, A, 1, H, W) and classes (N, A, K, H, W) of outputs (N, A (5 + K), H, W)."""
    images, channels, height, width = outputs.shape
    parts = outputs.view(images, ANCHORS_PER_LEVEL, channels // ANCHORS_PER_LEVEL, height, width)
    return parts[:, :, BOX_CHANNELS - 1 : BOX_CHANNELS], parts[:, :, BOX_CHANNELS:]


def _threshold(images: Sequence[Tensor], wanted: int) -> Tensor:
    """The value that ``wanted`` values per image exceed, midway between two of them; all but one if there are fewer."""
    values = torch.cat(list(images))
    top = values.topk(min(wanted * len(images) + 1, len(values))).values
    return (top[-1] + top[-2]) / 2


@torch.no_grad()
def standardise(model: nn.Module, batch: Batch) -> None:
    """Give batch normalisations that have none yet the statistics of their inputs, as trained ones have.

    Else features of a residual network grow from block to block, and the pixels of caffe-style models, a hundred and
    more, come out as box deltas in the tens: every candidate would cover the image, and half precision overflow.
    """

    def take(norm: Any, arguments: tuple[Tensor]) -> None:
        var, mean = torch.var_mean(arguments[0].float(), dim=(0, 2, 3))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(var.clamp(min=1e-6))

    norms: list[Any] = [one for one in model.modules() if isinstance(one, FrozenBatchNorm2d | nn.BatchNorm2d)]
    # Blocks that come with trained statistics are left as they are.
    norms = [norm for norm in norms if bool((norm.running_mean == 0).all())]
    with contextlib.ExitStack() as hooks:
        for norm in norms:
            hooks.callback(norm.register_forward_pre_hook(take).remove)
        if norms:
            model(batch)


@contextlib.contextmanager
def _collected(anatomy: Anatomy) -> Iterator[dict[str, list[Tensor]]]:
    """The outputs of the class layers, a list of calls each, of the passes while entered."""
    outputs: dict[str, list[Tensor]] = {name: [] for name in anatomy.class_layers}
    with contextlib.ExitStack() as hooks:
        for name, layer in anatomy.class_layers.items():
            hooks.callback(layer.register_forward_hook(_collector(outputs[name])).remove)
        yield outputs


def _collector(into: list[Tensor]) -> Any:
    def hook(_: nn.Module, __: Any, output: Tensor) -> None:
        into.append(output.detach().clone())  # inference turns logits into scores in place

    return hook


def _scores(anatomy: Anatomy, logits: Tensor) -> Tensor:
    if anatomy.kind == "yolo":
        objectness, classes = _yolo_logits(logits.float())
        return objectness.sigmoid() * classes.sigmoid()
    return logits.sigmoid() if anatomy.kind == "dense" else F.softmax(logits, dim=-1)[:, :-1]
