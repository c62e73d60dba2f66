"""The files of a run: what made it, its numbers, and what its detector was seen to do."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from msgspec import Meta, field

from replication.results.schemas.document import Count, Document, Gain, Part, Percent, Positive, Share

FIGURE_SCHEMA = "figure/1"
"""Data of a paper's own figure; what a file holds is between the modules that compute and draw it."""


class Device(Part, frozen=True, kw_only=True):
    """What a result was computed on; ``count`` where it was several GPUs."""

    name: str
    type: str = "cpu"
    count: int = 1


class Elsewhere(Part, frozen=True, kw_only=True):
    """Where a run comes from that was not made by this project.

    ``made_by`` is what its user says of it; ``source`` the name of the file or folder of detections that was given, and
    ``source_sha256`` its hash; ``imported`` the time, ``importer`` the program. ``unknown`` names the fields of the
    provenance that nobody has recorded.
    """

    made_by: str | None
    source: str
    source_sha256: str
    imported: str
    importer: str
    unknown: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """``made elsewhere``, with what is said of it."""
        return f"made elsewhere ({self.made_by})" if self.made_by else "made elsewhere"


class Provenance(Document, frozen=True, kw_only=True):
    """``provenance.json``: what made a run's weights.

    ``training_fingerprint`` is of the code and settings of this variant's training, ``fingerprint`` of the code of any
    training. A test-time variant has the provenance of its weights, with their variant in ``weights_from`` and a
    ``settings_fingerprint`` of its own. ``losses`` are the SHA-256 of users' files of box losses by name.

    A run of a ``command`` has the command as it was started, the SHA-256 of the files of its ``code``, and neither
    packages nor schedule: they are not known here. A run that was made elsewhere says so in ``elsewhere``, and has
    neither the hash of a config nor fingerprints.
    """

    SCHEMA = "provenance/1"
    REMEDY = "train the run again with --restart"

    data_hash: str
    config_hash: str | None = None
    fingerprint: str | None = None
    elsewhere: Elsewhere | None = None
    protocol: str | None = None
    variant: str | None = None
    seed: int | None = None
    training_fingerprint: str | None = None
    proposals_sha256: str | None = None
    weights_from: str | None = None
    settings_fingerprint: str | None = None
    losses: dict[str, str] = field(default_factory=dict)
    command: str | None = None
    code: dict[str, str] = field(default_factory=dict)
    commit: str | None = None
    dirty: bool | None = None
    packages: dict[str, str] = field(default_factory=dict)
    python: str | None = None
    platform: str | None = None
    cpu: str | None = None
    device: Device | None = None
    threads: int = 1
    weights: str | None = None
    weights_sha256: str | None = None
    batch: int | None = None
    lr: float | None = None
    iterations: int | None = None
    processes: int = 1
    resumed_at: tuple[int, ...] = ()
    started: str | None = None
    finished: str | None = None
    seconds: float | None = None
    s_per_iter: Positive | None = None

    def problem(self) -> str:
        """Only a run that was made elsewhere may do without config and code."""
        missing = [name for name in ("config_hash", "fingerprint") if getattr(self, name) is None]
        return f"{missing[0]} is missing" if missing and self.elsewhere is None else ""


class Mistake(Part, frozen=True, kw_only=True):
    """One kind of mistake: how many, and the AP50 that repairing them would gain; None where nothing is judged."""

    gain: Gain | None
    count: Count | None = None


class ClassNumbers(Part, frozen=True, kw_only=True):
    """Of one class: AP and AP50 on 0-100, None without objects, and how many objects and detections it has."""

    AP: Percent | None
    AP50: Percent | None = None
    objects: Count | None = None
    detections: Count | None = None


class Outcomes(Part, frozen=True, kw_only=True):
    """How the detections of a run turned out, for the page's pictures.

    ``precision`` is the mean over classes at the overlaps 0.5 and 0.75 and the recalls 0, 0.01 to 1. ``confusion``
    counts the objects of each class (rows) by the class of their detection (columns), both in the order of
    ``per_class`` with the background last, among detections of at least ``confusion_score``.
    """

    precision: tuple[tuple[Share, ...], ...]
    confusion: tuple[tuple[Count, ...], ...]
    confusion_score: float


class Metrics(Document, frozen=True, kw_only=True):
    """``metrics.json``: a run's numbers on 0-100 by name; None, or absent, where there is none.

    ``metrics`` are by IoU, ``giou_metrics`` by GIoU, ``mask_metrics`` those of masks; ``detections_sha256`` is of the
    file that they were computed from. ``box_loss_share`` is how many percent of the total loss the box losses were in
    the last tenth of the training.
    """

    SCHEMA = "metrics/1"
    REMEDY = "evaluate the run again"

    protocol: str
    variant: str
    seed: int
    metrics: dict[str, Percent | None]
    giou_metrics: dict[str, Percent | None]
    mask_metrics: dict[str, Percent | None] | None = None
    area_ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    images: Count | None = None
    objects: Count | None = None
    criterion: str | None = None
    evaluator: str | None = None
    per_class: dict[str, ClassNumbers] | None = None
    mistakes: dict[str, Mistake] | None = None
    outcomes: Outcomes | None = None
    box_loss_share: Percent | None = None
    detections_sha256: str | None = None

    def problem(self) -> str:
        """Curves and the matrix have the length that they should have."""
        if self.outcomes is None:
            return ""
        if [len(curve) for curve in self.outcomes.precision] != [101, 101]:
            return "outcomes.precision: expected two curves of 101 points"
        size = len(self.per_class or ()) + 1
        if {size} != {len(self.outcomes.confusion), *map(len, self.outcomes.confusion)}:
            return f"outcomes.confusion: expected {size} rows and columns, one a class and the background"
        return ""


class Levels(Document, frozen=True, kw_only=True):
    """``levels.json``: side in pixels and selected level of objects; the heuristic's l0 and canonical size."""

    SCHEMA = "levels/1"
    REMEDY = "run `detect` again"

    levels: Annotated[tuple[int, ...], Meta(min_length=1)]
    objects: tuple[tuple[Annotated[float, Meta(ge=0)], int], ...]
    heuristic_level: float
    heuristic_size: Positive

    def problem(self) -> str:
        """Objects select levels that there are."""
        wrong = next((pair for pair in self.objects if pair[1] not in self.levels), None)
        return "" if wrong is None else f"objects: {list(wrong)!r} is not a pair of side and level"


class Measure(Part, frozen=True, kw_only=True):
    """One small table of numbers: ``values`` by line and column; a column that a line lacks was not measured there."""

    id: Annotated[str, Meta(min_length=1)]
    title: str
    unit: Literal["%", ""] = ""
    values: dict[str, dict[str, float]]


class Mechanism(Document, frozen=True, kw_only=True):
    """``mechanism.json``: how a trained detector exercises its mechanisms on ``images`` of its training images."""

    SCHEMA = "mechanism/1"
    REMEDY = "run `detect` again"

    images: Count
    measures: tuple[Measure, ...]

    def problem(self) -> str:
        """No measure stands twice, and every number is one."""
        names = [measure.id for measure in self.measures]
        if len(names) != len(set(names)):
            return "measures: an id stands twice"
        numbers = (value for measure in self.measures for line in measure.values.values() for value in line.values())
        return "" if all(map(math.isfinite, numbers)) else "measures: not every value is a finite number"
