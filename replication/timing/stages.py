"""What a detector's time is spent on: where its stages change, and the clock that is read there.

Everything is watched from outside, by hooks of ``torch.nn.Module``, so a variant needs nothing of its own to be timed.
``COVERS`` says what each stage covers; the result files repeat it.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from detectron2.modeling.meta_arch import GeneralizedRCNN
from detectron2.modeling.meta_arch.dense_detector import DenseDetector
from torch import nn

from replication.detectors import YOLOv3
from replication.errors import ConfigError
from replication.timing.latency import STAGES, Stage

COVERS = {
    "dense": {
        "model": "normalisation, padding, backbone, head",
        "postprocessing": "sigmoid, score threshold, top k per level, decoding, NMS, rescaling to the original image",
    },
    "rcnn": {
        "model": "normalisation, padding, backbone, RPN with decoding and NMS of its proposals, RoIAlign, box head and "
        "its class and box layers; with masks, mask RoIAlign and mask head",
        "postprocessing": "softmax, decoding, score threshold, NMS, rescaling to the original image, pasting of masks",
    },
    "yolo": {
        "model": "normalisation, letterboxing, backbone, neck and heads",
        "postprocessing": "sigmoids, thresholds of objectness and score, decoding of what passes them, NMS without a "
        "limit before it, rescaling to the original image",
    },
}


@dataclass(frozen=True)
class Anatomy:
    """A model's parts as timing needs them.

    ``switches``: before or after the call of a module another stage begins. ``class_layers`` yield the class logits,
    one call per level in a dense detector; YOLOv3 has one layer per level, which yields boxes and objectness too.
    ``compilable`` modules take tensors and give tensors.
    """

    kind: Literal["dense", "rcnn", "yolo"]
    switches: tuple[tuple[nn.Module, Literal["before", "after"], Stage], ...]
    class_layers: dict[str, nn.Module]
    compilable: tuple[nn.Module, ...]
    score_threshold: float
    top_k: int | None

    @property
    def covers(self) -> dict[str, str]:
        """What each stage covers, in words."""
        return COVERS[self.kind]


def dissect(model: nn.Module, prior: float) -> Anatomy:
    """The parts of a freshly built model; ConfigError for an architecture whose stages are not known here.

    The class layers of a dense head are its convolutions whose bias is still -ln((1 - pi) / pi), by which focal loss
    starts them with ``prior`` = pi; so this must be asked before weights are loaded.
    """
    if isinstance(model, DenseDetector):
        layers = _prior_layers(model.head, prior)
        if not layers:
            raise ConfigError(
                f"{type(model).__name__}: no convolution of its head starts with a bias of prior {prior}: "
                "which layers give class scores is not known; see replication/timing/stages.py"
            )
        return Anatomy(
            kind="dense",
            switches=((model.head, "after", "postprocessing"),),
            class_layers=layers,
            compilable=(model.backbone, model.head),
            score_threshold=model.test_score_thresh,
            top_k=model.test_topk_candidates,
        )
    if isinstance(model, GeneralizedRCNN):
        if model.proposal_generator is None:
            raise ConfigError(
                "MODEL.PROPOSAL_GENERATOR.NAME: PrecomputedProposals: proposals come from a file, so what takes the "
                "time would not be timed; choose a variant that makes its own"
            )
        heads = model.roi_heads
        masks: tuple[Any, ...] = ()
        if heads.mask_on:
            masks = ((heads.mask_pooler, "before", "model"), (heads.mask_head, "after", "postprocessing"))
        return Anatomy(
            kind="rcnn",
            switches=((heads.box_predictor, "after", "postprocessing"), *masks),
            class_layers={"roi_heads.box_predictor.cls_score": heads.box_predictor.cls_score},
            compilable=(model.backbone, model.proposal_generator.rpn_head, heads.box_head),
            score_threshold=heads.box_predictor.test_score_thresh,
            top_k=None,
        )
    if isinstance(model, YOLOv3):
        layers = {f"head.levels.{number}.predict": level.predict for number, level in enumerate(model.head.levels)}
        return Anatomy(
            kind="yolo",
            switches=((model.head, "after", "postprocessing"),),
            class_layers=layers,
            compilable=(model.backbone, model.head),
            score_threshold=model.limits.score_thresh,
            top_k=None,
        )
    raise ConfigError(f"{type(model).__name__}: its stages are not known; add them to replication/timing/stages.py")


def _prior_layers(head: nn.Module, prior: float) -> dict[str, nn.Module]:
    start = -math.log((1 - prior) / prior)
    return {
        f"head.{name}": layer
        for name, layer in head.named_modules()
        if isinstance(layer, nn.Conv2d) and layer.bias is not None and bool((layer.bias - start).abs().max() < 1e-4)
    }


class Clock(Protocol):
    """``now`` marks a moment on the device; ``ms`` is the time between two moments, once ``synchronise`` returned."""

    name: str

    def now(self) -> Any: ...  # noqa: D102

    def ms(self, start: Any, end: Any) -> float: ...  # noqa: D102

    def synchronise(self) -> None: ...  # noqa: D102


class CpuClock:
    """``time.perf_counter``."""

    name = "time.perf_counter"

    def now(self) -> float:
        """Seconds."""
        return time.perf_counter()

    def ms(self, start: float, end: float) -> float:
        """Between two readings."""
        return (end - start) * 1000

    def synchronise(self) -> None:
        """The CPU has done what it was told."""


class CudaClock:
    """CUDA events in the current stream."""

    name = "CUDA events"

    def now(self) -> torch.cuda.Event:
        """An event recorded now."""
        event: torch.cuda.Event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def ms(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        """Between two events that have happened."""
        return float(start.elapsed_time(end))

    def synchronise(self) -> None:
        """Wait until the GPU has done what it was told."""
        torch.cuda.synchronize()


class Stopwatch:
    """Time by stage of one pass; the stages add up to the whole, since each begins where the one before ends."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._marks: list[tuple[Stage, Any]] = []

    def start(self) -> None:
        """Begin a pass in stage ``model``, with nothing left to do on the device."""
        self.clock.synchronise()
        self._marks = [("model", self.clock.now())]

    def switch(self, stage: Stage) -> None:
        """From now on it is ``stage``."""
        self._marks.append((stage, self.clock.now()))

    def stop(self) -> dict[Stage, float]:
        """End the pass; ms by stage."""
        end = self.clock.now()
        self.clock.synchronise()
        moments = [*(moment for _, moment in self._marks[1:]), end]
        spent: dict[Stage, float] = dict.fromkeys(STAGES, 0.0)
        for (stage, moment), following in zip(self._marks, moments, strict=True):
            spent[stage] += self.clock.ms(moment, following)
        return spent


@contextlib.contextmanager
def watched(anatomy: Anatomy, watch: Stopwatch) -> Iterator[None]:
    """While entered, the model's own passes switch the watch's stages."""
    with contextlib.ExitStack() as hooks:
        for module, when, stage in anatomy.switches:
            hook = _switch(watch, stage)
            register = module.register_forward_pre_hook if when == "before" else module.register_forward_hook
            hooks.callback(register(hook).remove)
        yield


def _switch(watch: Stopwatch, stage: Stage) -> Any:
    def hook(*_: Any) -> None:
        watch.switch(stage)

    return hook
