"""Timing as the papers do it, batch 1, with all compared variants interleaved, and with what explains the time."""

from __future__ import annotations

import contextlib
import gc
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from replication.catalog import Catalog, Protocol
from replication.results import schemas
from replication.results.files import check_writable
from replication.results.fingerprint import TIMING, fingerprint
from replication.results.layout import Layout, RunFiles
from replication.timing import cost, machine
from replication.timing.inputs import SEED, Size, Source, find_source, shapes
from replication.timing.latency import STAGES, Latency, Stage, read_latency, slug, summarise
from replication.timing.stages import Clock, CpuClock, CudaClock, Stopwatch, watched
from replication.timing.subjects import (
    Precision,
    Subject,
    Weights,
    build_subject,
    choose_runs,
    compile_parts,
    known_variant,
    layout,
    memory_errors,
    subject_config,
)
from replication.timing.training_step import Learner, build_learner, mean_step, warm_up
from replication.training.config import config_hash
from replication.training.curves import say
from replication.training.devices import devices, prepare_process
from replication.training.precision import products
from replication.training.provenance import environment, now

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """How to time. ``size`` None: as the protocol resizes test images; ``device`` and ``threads`` None: its own.

    ``candidates`` is what random weights are biased to let through: 200 per level, 1,000 per image, is an assumption
    about trained COCO models (about ten for each of the hundred detections that they are cut to), not a measurement.
    ``training_steps`` are those of a round; 0 times inference alone.
    """

    rounds: int = 10
    images: int = 16
    warmup: int = 2
    size: Size | None = None
    device: Literal["auto", "cpu", "cuda"] | None = None
    threads: int | None = None
    precision: Precision = "fp32"
    compiled: bool = False
    weights: Weights = "auto"
    candidates: int = 200
    training_steps: int = 2

    @property
    def trains(self) -> bool:
        """Whether training steps are timed: only as trainings run, which is eager and not in half precision."""
        return self.training_steps > 0 and self.precision in ("fp32", "tf32") and not self.compiled

    def suffix(self) -> str:
        """Names what is not the default and makes times incomparable, e.g. ``_480x640_compiled``."""
        parts = [
            f"{self.size[0]}x{self.size[1]}" if self.size else "",
            f"{self.threads}_threads" if self.threads else "",
            self.precision if self.precision != "fp32" else "",
            "compiled" if self.compiled else "",
            f"random_{self.candidates}_candidates" if self.weights == "random" else "",
        ]
        return "".join(f"_{part}" for part in parts if part)


def time_variants(
    catalog: Catalog,
    protocol: Protocol,
    results: Path,
    names: Sequence[str],
    settings: Settings,
    out: Path | None = None,
) -> list[Latency]:
    """Time variants interleaved (A B C A B C ...) and write one file each, ``<variant>.json``; return what was written.

    Names are those of variants, or ``detectron2:<variant>`` for what Detectron2 ships in its place. Files go to
    ``out``, by default ``results/<protocol>/latency/<device>``; each is written when its last round is done, so an
    interruption leaves those of finished variants, and older ones as they were. Raises ConfigError for unknown names,
    TrainingError when there is no such device, TimingError when memory runs out, DataError, ResultError.
    """
    names = list(dict.fromkeys(names))
    for name in names:
        known_variant(catalog, name)
    prepare_process(protocol)
    torch.set_num_threads(settings.threads or protocol.threads)
    check_writable(out or Layout(results, protocol.name).latency)
    runs = choose_runs(catalog, protocol, results, names, settings.weights)
    source = find_source(protocol, settings.images)
    with devices(settings.device or protocol.device) as taken, products(rounded=settings.precision == "tf32"):
        device = taken[0]
        if device.type == "cuda":
            torch.cuda.set_device(device)
        _warn(machine.busy(machine.state(device), torch.get_num_threads()))
        subjects = [_prepared(catalog, protocol, source, settings, name, runs[name], device) for name in names]
        facts = _shared_facts(protocol, settings, source, names, device)
        folder = out or Layout(results, protocol.name).latency / f"{slug(facts['device']['name'])}{settings.suffix()}"
        costs = {subject.name: _costs(subject, device) for subject in subjects}
        _compile_and_warm_up(subjects, settings, device)
        learners = {one.name: _learner(one, runs[one.name], settings, device) for one in subjects if settings.trains}
        steps = {name: _step_facts(learner, settings, device) for name, learner in learners.items()}
        before = machine.state(device)
        wall, used = time.perf_counter(), time.thread_time()
        written: list[Latency] = []

        def finished(name: str, taken: list[RoundTimes]) -> None:
            subject = next(one for one in subjects if one.name == name)
            share = (time.thread_time() - used) / (time.perf_counter() - wall)
            state = {"before": before, "after": machine.state(device), "cpu_share": round(share, 3)}
            path = folder / f"{subject.file}.json"
            schemas.write(path, schemas.Latency, _document(subject, facts, costs[name], steps.get(name), taken, state))
            written.append(read_latency(path, protocol.name, name))

        clock: Clock = CudaClock() if device.type == "cuda" else CpuClock()
        with _quiet_collector():
            passes = {
                one.name: partial(one_round, one, learners.get(one.name), settings.training_steps, clock)
                for one in subjects
            }
            interleave(passes, settings.rounds, finished)
    return written


@dataclass(frozen=True)
class RoundTimes:
    """Times in ms of one variant in one round: per image by stage, per training step, and their processor times."""

    stages: dict[Stage, float]
    processor: float
    step: float | None = None
    step_processor: float | None = None


def interleave(passes: Mapping[str, Callable[[], T]], rounds: int, finished: Callable[[str, list[T]], None]) -> None:
    """Run every pass once per round, in order; ``finished`` gets a pass's name and times right after its last."""
    taken: dict[str, list[T]] = {name: [] for name in passes}
    started = time.monotonic()
    for done in range(1, rounds + 1):
        for name, run in passes.items():
            taken[name].append(run())
            if done == rounds:
                finished(name, taken[name])
        left = (time.monotonic() - started) / done * (rounds - done)
        say(f"timed {done}/{rounds} rounds of {len(passes)} variants, {left:.0f} s left")


def one_round(subject: Subject, learner: Learner | None, steps: int, clock: Clock) -> RoundTimes:
    """A pass over all inputs, then ``steps`` training steps if there is a learner."""
    used = time.process_time()
    stages = one_pass(subject, clock)
    processor = (time.process_time() - used) * 1000 / len(subject.inputs)
    if learner is None:
        return RoundTimes(stages, processor)
    return RoundTimes(stages, processor, *mean_step(learner, steps, clock))


def one_pass(subject: Subject, clock: Clock) -> dict[Stage, float]:
    """Mean ms per image by stage, over all inputs, one at a time."""
    watch = Stopwatch(clock)
    spent: dict[Stage, float] = dict.fromkeys(STAGES, 0.0)
    with watched(subject.anatomy, watch):
        for batch in subject.inputs:
            watch.start()
            subject.run(batch)
            for stage, milliseconds in watch.stop().items():
                spent[stage] += milliseconds / len(subject.inputs)
    return spent


def _prepared(
    catalog: Catalog,
    protocol: Protocol,
    source: Source,
    settings: Settings,
    name: str,
    run: RunFiles | None,
    device: torch.device,
) -> Subject:
    cfg = subject_config(catalog, protocol, name, source.num_classes, device)
    with memory_errors(name, device):
        subject = build_subject(name, cfg, source, settings.size, run, settings.candidates, settings.precision)
    say(f"{name}: {subject.weights['kind']}, {subject.candidates['per_image']:.0f} candidates per image")
    return subject


def _costs(subject: Subject, device: torch.device) -> dict[str, Any]:
    with memory_errors(subject.name, device):
        return {
            "parameters": cost.parameters(subject.model),
            "flops": cost.flops(subject.model, subject.inputs[0]),
            "peak_memory": cost.peak_memory(subject.run, subject.model, subject.inputs),
        }


def _learner(subject: Subject, run: RunFiles | None, settings: Settings, device: torch.device) -> Learner:
    with memory_errors(subject.name, device):
        learner = build_learner(subject.name, subject.cfg, subject.inputs, run)
        warm_up(learner, settings.warmup)
    return learner


def _step_facts(learner: Learner, settings: Settings, device: torch.device) -> dict[str, Any]:
    with memory_errors(learner.name, device):
        memory = cost.peak_memory(learner.step, learner.model, [learner.batch], learner.state)
    return {**learner.facts(settings.training_steps, settings.warmup), "peak_memory": memory}


def _compile_and_warm_up(subjects: Sequence[Subject], settings: Settings, device: torch.device) -> None:
    for subject in subjects:
        if settings.compiled:
            compile_parts(subject)
        with memory_errors(subject.name, device):
            for _ in range(settings.warmup):
                for batch in subject.inputs:
                    subject.run(batch)


def _shared_facts(
    protocol: Protocol, settings: Settings, source: Source, names: Sequence[str], device: torch.device
) -> dict[str, Any]:
    """What all files of a session have in common."""
    return {
        "protocol": protocol.name,
        "session": {"id": uuid.uuid4().hex[:12], "started": now(), "order": list(names)},
        **environment(device),
        "timing_fingerprint": fingerprint(TIMING),
        "method": {
            "batch": 1,
            "clock": CudaClock.name if device.type == "cuda" else CpuClock.name,
            "rounds": settings.rounds,
            "warmup_passes": settings.warmup,
            "order": "every variant once per round, a pass over all images and then its training steps",
            "number": "mean over the images of a round; median over rounds; 95% interval by order statistics",
            "unit": "ms per image",
            "threads": torch.get_num_threads(),
            "precision": settings.precision,
            "compiled": settings.compiled,
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
        },
        "inputs": {
            "source": source.text,
            "seed": SEED,
            "image_ids": [source.split.records[index]["image_id"] for index in source.chosen] if source.split else None,
            "original_sizes": [list(size) for size in source.sizes],
        },
    }


def _document(
    subject: Subject,
    facts: dict[str, Any],
    costs: dict[str, Any],
    step: dict[str, Any] | None,
    taken: Sequence[RoundTimes],
    state: dict[str, Any],
) -> dict[str, Any]:
    by_stage: dict[str, list[float]] = {stage: [one.stages[stage] for one in taken] for stage in STAGES}
    totals = [sum(one.stages.values()) for one in taken]
    on_cpu = facts["device"]["type"] == "cpu"  # a GPU's process mostly waits
    return {
        "variant": subject.name,
        "config_hash": config_hash(subject.cfg),
        **facts,
        "inputs": {**facts["inputs"], "sizes": [list(size) for size in shapes(subject.inputs)]},
        "memory_layout": str(layout(subject.name)).removeprefix("torch."),
        "weights": subject.weights,
        "candidates": subject.candidates,
        **costs,
        "stages": subject.anatomy.covers,
        "rounds": by_stage,
        "ms_per_image": {name: summarise(values).as_json() for name, values in {"total": totals, **by_stage}.items()},
        **({"processor_rounds": [one.processor for one in taken]} if on_cpu else {}),
        **({"training": {**step, **_step_times(taken, on_cpu)}} if step else {}),
        "state": state,
    }


def _step_times(taken: Sequence[RoundTimes], on_cpu: bool) -> dict[str, Any]:
    rounds = [one.step for one in taken if one.step is not None]
    return {
        "rounds": rounds,
        "ms_per_step": summarise(rounds).as_json(),
        **({"processor_rounds": [one.step_processor for one in taken]} if on_cpu else {}),
    }


def _warn(signs: str) -> None:
    if signs:
        say(f"warning: the machine is busy ({signs}); timings may be noisy")


@contextlib.contextmanager
def _quiet_collector() -> Iterator[None]:
    """No garbage collection while the clock runs."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
