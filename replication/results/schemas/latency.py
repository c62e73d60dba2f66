"""The file of a variant's timing."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from replication.results.schemas.document import Count, Document, Part, Positive, Size
from replication.results.schemas.runs import Device


class Session(Part, frozen=True, kw_only=True):
    """Identifies the variants that were timed interleaved."""

    id: str


class Method(Part, frozen=True, kw_only=True):
    """How was timed."""

    rounds: Count
    precision: str
    compiled: bool
    threads: int


class Inputs(Part, frozen=True, kw_only=True):
    """What was timed on; ``sizes`` are those that the model saw."""

    source: str
    sizes: Annotated[tuple[Size, ...], Meta(min_length=1)]


class UsedWeights(Part, frozen=True, kw_only=True):
    """``kind`` is ``trained`` or says how random ones were made."""

    kind: str


class Candidates(Part, frozen=True, kw_only=True):
    """Means per image: class scores above the threshold, and detections."""

    per_image: float
    detections: float


class Flops(Part, frozen=True, kw_only=True):
    """Multiply-adds of one pass."""

    total: int


class Memory(Part, frozen=True, kw_only=True):
    """Most bytes in use at one time."""

    bytes: int


class MachineState(Part, frozen=True, kw_only=True):
    """``cpu_share`` is the share of the time that passed which the process computed."""

    cpu_share: float


class TrainingStep(Part, frozen=True, kw_only=True):
    """Timing of a training step: ms of each round, by the clock and by processor time (CPU only)."""

    rounds: tuple[Positive, ...]
    images: Count
    sizes: Annotated[tuple[Size, ...], Meta(min_length=1)]
    objects_per_image: Count
    weights: str
    steps_per_round: Count
    covers: str
    peak_memory: Memory
    processor_rounds: tuple[Positive, ...] = ()


class Latency(Document, frozen=True, kw_only=True):
    """``latency/<device>/<variant>.json``: ms per image of each round by stage, and what explains them."""

    SCHEMA = "latency/1"
    REMEDY = "time the variant again"

    protocol: str
    variant: str
    session: Session
    cpu: str
    device: Device
    method: Method
    inputs: Inputs
    weights: UsedWeights
    candidates: Candidates
    flops: Flops
    parameters: Count
    peak_memory: Memory
    state: MachineState
    rounds: dict[Literal["model", "postprocessing"], tuple[Positive, ...]]
    processor_rounds: tuple[Positive, ...] = ()
    training: TrainingStep | None = None

    def problem(self) -> str:
        """Both stages are there, and whatever was timed was timed in every round."""
        if set(self.rounds) != {"model", "postprocessing"}:
            return "rounds: expected the stages model, postprocessing"
        count = len(self.rounds["model"])
        if not count:
            return "rounds: expected, for each stage, at least one time"
        if len(self.rounds["postprocessing"]) != count:
            return "rounds: expected, for each stage, the same number of times"
        step = self.training
        times = {"processor_rounds": self.processor_rounds or None}
        if step is not None:
            times |= {"training.rounds": step.rounds, "training.processor_rounds": step.processor_rounds or None}
        wrong = (
            f"{name}: expected {count} times, one per round"
            for name, one in times.items()
            if one is not None and len(one) != count
        )
        return next(wrong, "")
