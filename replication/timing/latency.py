"""Result files of timing, ``latency/1``, and their statistics. No torch: tables and figures read them."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scipy import stats

from replication.catalog import Protocol
from replication.catalog.units import milliseconds, ratio
from replication.errors import ResultError
from replication.results import schemas
from replication.results.layout import Layout

CONFIDENCE = 0.95
UNDISTURBED = 0.95  # of the time that passed, spent computing by the main thread, on a CPU

Stage = Literal["model", "postprocessing"]
What = Literal["inference", "training"]
Time = Literal["clock", "processor"]
STAGES: tuple[Stage, ...] = ("model", "postprocessing")


@dataclass(frozen=True)
class Summary:
    """Median of a number over rounds and its interval, None where there are too few rounds for one."""

    median: float
    low: float | None
    high: float | None

    def as_json(self) -> dict[str, float | None]:
        """For the result file."""
        return {"median": self.median, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Latency:
    """One variant's timing: the content of its file, and where that lies."""

    path: Path
    document: schemas.Latency

    @property
    def variant(self) -> str:
        """Its name."""
        return self.document.variant

    @property
    def rounds(self) -> Mapping[Stage, tuple[float, ...]]:
        """By stage, the mean ms per image of each round."""
        return self.document.rounds

    @property
    def session(self) -> str:
        """Identifies the variants that were timed interleaved; only those may be compared."""
        return self.document.session.id

    @property
    def totals(self) -> tuple[float, ...]:
        """Mean ms per image of each round, both stages together."""
        return tuple(map(math.fsum, zip(*self.rounds.values(), strict=True)))

    @property
    def total(self) -> Summary:
        """Time per image, in ms."""
        return summarise(self.totals)

    def stage(self, stage: Stage) -> Summary:
        """Time per image in one stage, in ms."""
        return summarise(self.rounds[stage])

    def taken(self, what: What, by: Time = "clock") -> tuple[float, ...]:
        """Times of each round in ms, of an image or of a training step; empty where it was not measured.

        By ``processor`` it is the time that processors spent on it, which other work on the machine hardly changes;
        measured on a CPU only.
        """
        if what == "inference" and by == "clock":
            return self.totals
        if what == "inference":
            return self.document.processor_rounds
        step = self.document.training
        if step is None:
            return ()
        return step.rounds if by == "clock" else step.processor_rounds

    def ratio_to(self, other: Latency, what: What = "inference", by: Time = "clock") -> Summary | None:
        """Median over rounds of this time by the other's in the same round; None unless they were timed interleaved."""
        mine, its = self.taken(what, by), other.taken(what, by)
        if self.session != other.session or len(mine) != len(its) or not mine:
            return None
        return summarise([one / another for one, another in zip(mine, its, strict=True)])


def summarise(values: Sequence[float]) -> Summary:
    """Median and its exact 95% confidence interval, whose ends are two of the values (order statistics).

    It assumes nothing of the distribution but that rounds are alike and independent; below six rounds even the whole
    range covers the median with less than 95%, so there is no interval.
    """
    interval = stats.quantile_test(values, p=0.5).confidence_interval(CONFIDENCE)
    found = [None if math.isnan(end) else float(end) for end in (interval.low, interval.high)]
    low, high = (None, None) if None in found else found
    return Summary(statistics.median(values), low, high)


def read_latency(path: Path, protocol: str, variant: str) -> Latency:
    """One file; ResultError when it is broken, of another version, or of another protocol or variant."""
    document = schemas.read(path, schemas.Latency)
    for key, value in {"protocol": protocol, "variant": variant}.items():
        if getattr(document, key) != value:
            raise ResultError(
                f"{path}: {key} is {getattr(document, key)!r}, its place says {value!r}; "
                "results of different runs must not be mixed: move it away or time the variant again"
            )
    return Latency(path, document)


def latencies(protocol: Protocol, results: Path, variants: Iterable[str]) -> dict[str, Latency]:
    """The timings of ``variants`` on one device: the one that has most of them, at defaults where two are equal.

    A device's folder carries in its name every setting that is not the default, so the shortest name is the plainest.
    """
    names = list(dict.fromkeys(variants))
    folder = Layout(results, protocol.name).latency
    devices = [one for one in folder.iterdir() if one.is_dir()] if folder.is_dir() else []
    files = {device: [name for name in names if (device / f"{name}.json").exists()] for device in devices}
    if not files:
        return {}
    fullest = min(files, key=lambda device: (-len(files[device]), len(device.name), device.name))
    return {name: read_latency(fullest / f"{name}.json", protocol.name, name) for name in files[fullest]}


def slug(text: str) -> str:
    """A device's name as the name of a folder, e.g. ``nvidia_h100_80gb_hbm3``."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def conditions(document: schemas.Latency) -> str:
    """How a file was measured, in words, for the head of a table."""
    method, inputs, on_gpu = document.method, document.inputs, document.device.type == "cuda"
    device = document.device.name if on_gpu else document.cpu
    threads = "" if on_gpu else f", {_count(method.threads, 'thread')}"
    return (
        f"median over {_count(method.rounds, 'round')} interleaved over the variants, "
        f"each the mean of {_count(len(inputs.sizes), 'image')} "
        f"({inputs.source}; {_sizes(inputs.sizes)}), batch 1, on {device}{threads}, {method.precision}, "
        f"{'torch.compile' if method.compiled else 'eager'}; weights: {document.weights.kind}{_disturbed(document)}"
    )


def training_conditions(document: schemas.Latency) -> str:
    """How a file's training step was measured, in words; empty where none was."""
    step = document.training
    if step is None:
        return ""
    return (
        f"training step: {step.covers}, on a fixed batch of {_count(step.images, 'image')} "
        f"({_sizes(step.sizes)}) with {_count(step.objects_per_image, 'object')} each, {step.weights} weights,"
        f" in the same rounds, each the mean of {_count(step.steps_per_round, 'step')}"
    )


def _sizes(sizes: Sequence[Sequence[int]]) -> str:
    texts = sorted({f"{height}x{width}" for height, width in sizes})
    return texts[0] if len(texts) == 1 else f"{len(texts)} sizes, e.g. {texts[0]}"


def _disturbed(document: schemas.Latency) -> str:
    """A warning where the process had to share its core; a GPU's is left alone, since its process waits."""
    share = document.state.cpu_share
    if document.device.type == "cuda" or share >= UNDISTURBED:
        return ""
    return f"; DISTURBED: under other load, the process had {100 * share:.0f}% of a core"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def cost_line(latency: Latency, base: Latency | None) -> dict[str, str]:
    """What a variant costs, as text by column head: inference and its ratios to ``base``, then a training step."""
    steps = latency.taken("training")

    def ratio_to_base(what: What, by: Time) -> str:
        return ratio_text(latency.ratio_to(base, what, by) if base else None)

    return {
        "variant": latency.variant,
        "ratio": ratio_to_base("inference", "clock"),
        "ratio, processor time": ratio_to_base("inference", "processor"),
        **_details(latency),
        "training (ms/step)": _ms(summarise(steps)) if steps else "-",
        "training, ratio": ratio_to_base("training", "clock"),
        "training, ratio, processor time": ratio_to_base("training", "processor"),
        "training, memory (MiB)": _mib(latency.document.training.peak_memory) if latency.document.training else "-",
    }


def _ms(time: Summary) -> str:
    return milliseconds(time.median, time.low, time.high)


def _mib(memory: schemas.Memory) -> str:
    return f"{memory.bytes / 2**20:.0f}"


def _details(latency: Latency) -> dict[str, str]:
    """What explains a time: stages, candidates, operations, parameters, memory."""
    document = latency.document
    return {
        "ms/im": _ms(latency.total),
        "model": f"{latency.stage('model').median:.2f}",
        "post-processing": f"{latency.stage('postprocessing').median:.2f}",
        "candidates": f"{document.candidates.per_image:.0f}",
        "detections": f"{document.candidates.detections:.0f}",
        "GFLOPs": f"{document.flops.total / 1e9:#.4g}",
        "parameters (M)": f"{document.parameters / 1e6:.1f}",
        "peak memory (MiB)": _mib(document.peak_memory),
        "weights": document.weights.kind,
    }


def ratio_text(value: Summary | None) -> str:
    """``0.817`` with its interval where there is one; a dash when the two were not timed interleaved."""
    return "-" if value is None else ratio(value.median, value.low, value.high)
