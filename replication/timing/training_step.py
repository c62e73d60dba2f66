"""A whole training step on a fixed batch, as in a training: timed interleaved with inference."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances, PolygonMasks
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from replication.errors import TimingError
from replication.results.layout import RunFiles
from replication.timing.candidates import Batch, standardise
from replication.timing.inputs import SEED, Size, shapes
from replication.timing.stages import Clock
from replication.timing.subjects import layout, load_weights
from replication.training.optimizer import build_optimizer

IMAGES = 2  # a batch: a GPU's share in the papers, 16 on 8
OBJECTS = 7  # per image: COCO's mean
SMALLEST = 1 / 16  # of the image's side is the shortest side of an object
COVERS = "forward, losses, backward, optimizer"


@dataclass
class Learner:
    """A model in training mode with its optimizer, and the batch that every step is taken on."""

    name: str
    model: nn.Module
    optimizer: torch.optim.Optimizer
    batch: Batch
    weights: str

    def step(self, _: Batch | None = None) -> Tensor:
        """One step, with the same random numbers each time; returns the sum of the losses."""
        torch.manual_seed(SEED)
        with EventStorage():
            total = torch.stack(list(self.model(self.batch).values())).sum()
        total.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad()
        return total.detach()

    @property
    def state(self) -> list[Tensor]:
        """The optimizer's state."""
        held = itertools.chain.from_iterable(values.values() for values in self.optimizer.state.values())
        return [value for value in held if isinstance(value, Tensor)]

    def facts(self, steps: int, warmup: int) -> dict[str, Any]:
        """How the step is measured, for the result file."""
        return {
            "covers": COVERS,
            "images": len(self.batch),
            "sizes": [list(size) for size in shapes([[one] for one in self.batch])],
            "objects_per_image": OBJECTS,
            "seed": SEED,
            "weights": self.weights,
            "steps_per_round": steps,
            "warmup_steps": warmup,
        }


def build_learner(name: str, cfg: CfgNode, inputs: Sequence[Batch], run: RunFiles | None) -> Learner:
    """The model as a training starts it, with the weights of ``run`` or random ones, on the first inputs.

    The learning rate is 0: the optimizer does its work, but every step finds the weights of the first, so all steps
    are alike and random weights cannot diverge. Raises TimingError when the weights do not fit.
    """
    torch.manual_seed(SEED)
    model = build_model(cfg).to(memory_format=layout(name))
    batch = make_batch(cfg, inputs)
    if run is not None:
        load_weights(model, run)
    else:
        standardise(model.eval(), batch)
    optimizer = build_optimizer(cfg, model.train())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    return Learner(name, model, optimizer, batch, "random" if run is None else "trained")


def warm_up(learner: Learner, steps: int) -> None:
    """Take the first steps; TimingError when their loss is not finite."""
    try:
        losses = [learner.step() for _ in range(steps)]
        if not torch.stack(losses).isfinite().all():
            raise FloatingPointError("the loss is not finite")
    except FloatingPointError as error:
        raise TimingError(
            f"{learner.name}: a training step with {learner.weights} weights fails: {' '.join(str(error).split())}; "
            "give --training-steps 0 to time inference alone"
        ) from error


def mean_step(learner: Learner, steps: int, clock: Clock) -> tuple[float, float]:
    """Time of a step in ms, mean of ``steps``: by the clock, and the processor time that all threads spent."""
    clock.synchronise()
    begun, used = clock.now(), time.process_time()
    for _ in range(steps):
        learner.step()
    ended, spent = clock.now(), time.process_time() - used
    clock.synchronise()
    return clock.ms(begun, ended) / steps, spent * 1000 / steps


def make_batch(cfg: CfgNode, inputs: Sequence[Batch]) -> Batch:
    """``IMAGES`` of the inputs, again from the first where there are fewer, each with seeded objects.

    Objects have masks where the config learns them; proposals are added where it reads them from a file.
    """
    generator = torch.Generator().manual_seed(SEED)
    images = itertools.islice(itertools.cycle(batch[0]["image"] for batch in inputs), IMAGES)
    return [_annotated(cfg, image, generator) for image in images]


def _annotated(cfg: CfgNode, image: Tensor, generator: torch.Generator) -> dict[str, Any]:
    size = (image.shape[1], image.shape[2])
    boxes = _boxes(size, OBJECTS, generator)
    instances = Instances(size, gt_boxes=Boxes(boxes))
    instances.gt_classes = torch.randint(cfg.MODEL.ROI_HEADS.NUM_CLASSES, (OBJECTS,), generator=generator)
    if cfg.MODEL.MASK_ON:
        instances.gt_masks = PolygonMasks([[_ellipse(box)] for box in boxes.tolist()])
    item: dict[str, Any] = {"image": image, "instances": instances, "height": size[0], "width": size[1]}
    if cfg.MODEL.LOAD_PROPOSALS:
        count = cfg.DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN
        item["proposals"] = Instances(size, proposal_boxes=Boxes(_boxes(size, count, generator)))
        item["proposals"].objectness_logits = torch.randn(count, generator=generator).sort(descending=True).values
    return item


def _boxes(size: Size, count: int, generator: torch.Generator) -> Tensor:
    """(count, 4) XYXY in pixels, inside the image, of all sizes: log-uniform sides."""
    whole = torch.tensor([size[1], size[0]])
    side = whole * SMALLEST ** torch.rand(count, 2, generator=generator)
    corner = torch.rand(count, 2, generator=generator) * (whole - side)
    return torch.cat([corner, corner + side], dim=1)


def _ellipse(box: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The polygon of the ellipse in a box, x and y alternating."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    low, high = np.array(box[:2]), np.array(box[2:])
    points: np.ndarray[Any, np.dtype[np.float64]] = ((low + high) / 2 + circle * (high - low) / 2).ravel()
    return points
