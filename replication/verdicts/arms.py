"""The arms of a comparison: runs of several detectors on one ground truth, and the numbers of each run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from replication.evaluation.bootstrap import SUPPORTED
from replication.evaluation.matching import Criterion
from replication.formats.columns import Flags, Floats
from replication.results.metrics import METRICS

KINDS = ("localisation", "classification", "both", "duplicate", "background", "missed")
"""Kinds of mistakes, as ``replication.evaluation.mistakes`` names them."""
Progress = Callable[[int, int], None]
"""Called with the number of runs that are done, and of all."""


@dataclass(frozen=True)
class Resampling:
    """How runs are matched, by boxes or ``masks``, and how their images are resampled."""

    criterion: Criterion = "iou"
    replicates: int = 2000
    seed: int = 0
    masks: bool = False


@dataclass(frozen=True)
class RunNumbers:
    """One run's numbers, AP on 0-100. ``points`` and ``replicates`` (6,) and (6, R) follow ``METRICS``.

    ``supported`` and ``supported_replicates`` are the same over the classes with at least ten objects;
    ``class_points`` (C,) and ``class_replicates`` (C, R) are AP of each class, NaN without objects;
    ``mistake_counts`` and ``mistake_gains`` (6,) follow ``KINDS``; ``curves`` (2, 101) are precisions, mean over
    classes, at the overlaps ``CURVES`` and recalls ``POINTS``; ``seen`` (I,) are the images with a detection.
    ``columns_hash`` is of what the file says, ``sha256`` of its bytes, empty for what is in memory.
    """

    name: str
    sha256: str
    seed: int | None
    columns_hash: str
    points: Floats
    replicates: Floats
    supported: Floats
    supported_replicates: Floats
    class_points: Floats
    class_replicates: Floats
    mistake_counts: Floats
    mistake_gains: Floats
    curves: Floats
    seen: Flags
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Arm:
    """The runs of one detector."""

    name: str
    runs: tuple[RunNumbers, ...]

    @property
    def seeds(self) -> tuple[int, ...] | None:
        """Seed numbers in the order of the runs; None unless every run has one of its own."""
        seeds = [run.seed for run in self.runs if run.seed is not None]
        return tuple(seeds) if len(set(seeds)) == len(self.runs) else None


@dataclass(frozen=True)
class Arms:
    """What is compared: the arms, the baseline first, and the ground truth that all were evaluated on."""

    arms: tuple[Arm, ...]
    resampling: Resampling
    truth: str
    truth_hash: str
    images: int
    objects: int
    class_names: tuple[str, ...]
    per_class: tuple[int, ...]
    warnings: tuple[str, ...]

    @property
    def supported(self) -> Flags:
        """Classes (C,) with at least ten objects: those of fewer vary by what resampling cannot see."""
        return np.asarray(self.per_class) >= SUPPORTED


def metric_rows(arm: Arm, metric: str, supported: bool = False) -> tuple[Floats, Floats]:
    """Values (k,) and replicates (k, R) of one of ``METRICS`` over an arm's runs."""
    place = METRICS.index(metric)
    if supported:
        runs = [(run.supported[place], run.supported_replicates[place]) for run in arm.runs]
    else:
        runs = [(run.points[place], run.replicates[place]) for run in arm.runs]
    return np.array([value for value, _ in runs]), np.stack([drawn for _, drawn in runs])


def class_rows(arm: Arm, place: int) -> tuple[Floats, Floats]:
    """AP (k,) and its replicates (k, R) of one class over an arm's runs."""
    return (
        np.array([run.class_points[place] for run in arm.runs]),
        np.stack([run.class_replicates[place] for run in arm.runs]),
    )
