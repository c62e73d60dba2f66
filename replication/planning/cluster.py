"""What a step asks of a cluster: minutes, megabytes, GPUs. No torch.

Times are those recorded for training iterations; what was never measured is bounded by them. A step that ran out of
time or memory is given more at each further attempt.
"""

from __future__ import annotations

import math

from replication.catalog import EmbeddedData
from replication.catalog.schedule import training_iterations
from replication.planning.plan import Plan

SAFETY = 2.0
"""Recorded seconds are another machine's, and a cluster's file system is shared."""
STARTING = 10
"""Minutes in which a step imports its packages, reads its data and waits for a GPU's lock."""
UNKNOWN = 24 * 60
"""Minutes of a training whose cost was never recorded."""
PER_IMAGE = 0.5
"""Seconds that a test image of such a variant is taken to cost."""
VIEWS = 18
"""What a test-time variant sees of an image: nine sizes, mirrored and not."""
TIMED = 20
"""Minutes that the timing of one variant takes."""
IMAGES = {"train": 120_000, "val": 5_000}
"""Images of a split that is not embedded: COCO 2017 has 118,287 and 5,000, VOC 2007 + 2012 fewer."""
EMBEDDED_MB = 3_000
"""Main memory of a step on embedded scenes."""
REAL_MB = 16_000
"""Main memory of a step on COCO or VOC."""
PROCESS_MB = 8_000
"""What each GPU's process and its data workers add in training."""


def gpus(plan: Plan, wanted: int = 1) -> int:
    """GPUs of a step that computes with a detector; none where the protocol computes on the CPU."""
    return 0 if plan.protocol.device == "cpu" else wanted


def training_minutes(plan: Plan, variant: str, gpus: int = 1) -> int:
    """Expected minutes of a whole training on ``gpus``, at least 1; 0 where no cost was recorded."""
    cost = plan.cost(variant)
    if cost is None:
        return 0
    shared = 1.0 if cost.device == "cpu" else cost.processes / gpus
    iterations = training_iterations(plan.catalog.variants[variant], plan.protocol)
    return max(1, round(cost.s_per_iter * shared * iterations / 60))


def detection_minutes(plan: Plan, variant: str) -> float:
    """Upper bound of the minutes of a test on the validation images."""
    return pass_minutes(plan, variant, "val") * (VIEWS if plan.catalog.variants[variant].weights_from else 1)


def pass_minutes(plan: Plan, variant: str, split: str) -> float:
    """Minutes in which a split is seen once: an image costs less than in training, which has gradients too."""
    record = plan.catalog.variants[variant].trained
    cost = plan.cost(record.name)
    data = plan.protocol.data
    images = getattr(data, split) if isinstance(data, EmbeddedData) else IMAGES[split]
    batch = plan.protocol.batch_of(record.meta_architecture)
    seconds = cost.s_per_iter * cost.processes / batch if cost else PER_IMAGE
    return float(images * seconds / 60)


def training(plan: Plan, variant: str, gpus: int, attempt: int) -> int:
    """``runtime`` of a training: one that is cut off goes on from its checkpoint at the next attempt."""
    return _runtime(training_minutes(plan, variant, gpus) or UNKNOWN / SAFETY, attempt)


def detection(plan: Plan, variant: str, attempt: int) -> int:
    """``runtime`` of a test on the validation images."""
    return _runtime(detection_minutes(plan, variant), attempt)


def proposals(plan: Plan, variant: str, attempt: int) -> int:
    """``runtime`` of an RPN's test on the images of both splits."""
    return _runtime(sum(pass_minutes(plan, variant, split) for split in ("train", "val")), attempt)


def timing(plan: Plan, attempt: int) -> int:
    """``runtime`` of the timing of all variants, one after the other."""
    return _runtime(TIMED / SAFETY * max(1, len(plan.timed)), attempt)


def reading(plan: Plan, attempt: int) -> int:
    """``runtime`` of a step that reads one split's annotations or detections."""
    return _runtime(0 if isinstance(plan.protocol.data, EmbeddedData) else 60, attempt)


def memory(plan: Plan, attempt: int, processes: int = 0) -> int:
    """``mem_mb`` of a step, of a training with its number of processes."""
    if isinstance(plan.protocol.data, EmbeddedData):
        return EMBEDDED_MB * attempt
    return (REAL_MB + PROCESS_MB * processes) * attempt


def _runtime(expected: float, attempt: int) -> int:
    return math.ceil(STARTING + SAFETY * expected) * attempt
