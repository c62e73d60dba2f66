"""What is in every JSON file of a results folder: one record a file, one function that reads any of them.

A field with a default may be absent from a file of an older version. Fields that no record names are left alone, so
that a newer file can be read as well.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import msgspec
from msgspec import Meta

from replication.errors import ResultError
from replication.results.explanations import explained, not_finite
from replication.results.files import load_json, write_json

Percent = Annotated[float, Meta(ge=0, le=100)]
Gain = Annotated[float, Meta(ge=-100, le=100)]
Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=0)]
Size = tuple[int, int]
"""Height and width in pixels."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A mapping inside a file."""


class Document(Part, frozen=True, kw_only=True):
    """A whole file. ``SCHEMA`` is ``name/version``, its field ``schema``; ``REMEDY`` what mends a broken one."""

    SCHEMA: ClassVar[str]
    REMEDY: ClassVar[str]

    def problem(self) -> str:
        """``field: what is wrong`` where a rule over several fields is broken; empty where none is."""
        return ""


D = TypeVar("D", bound=Document)

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
    losses: dict[str, str] = {}
    command: str | None = None
    code: dict[str, str] = {}
    commit: str | None = None
    dirty: bool | None = None
    packages: dict[str, str] = {}
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
    area_ranges: dict[str, tuple[float, float]] = {}
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


class SplitCounts(Part, frozen=True, kw_only=True):
    """Images and objects of one split; ``folder`` is relative to the data root where it lies under it."""

    folder: str
    images: Count | None = None
    objects: Count | None = None


class Data(Document, frozen=True, kw_only=True):
    """``data.json``: the data of a protocol. ``category_ids`` are those of ``classes``, in the same order."""

    SCHEMA = "data/1"
    REMEDY = "run `replication prepare` again"

    data_hash: str
    classes: tuple[str, ...] = ()
    category_ids: tuple[int, ...] = ()
    splits: dict[str, SplitCounts] = {}

    def problem(self) -> str:
        """Every class has one id."""
        same = len(self.classes) == len(self.category_ids)
        return "" if same else f"category_ids: {len(self.category_ids)} for {len(self.classes)} classes"


class Proposals(Document, frozen=True, kw_only=True):
    """``<split>.json``: of which images the proposals in ``<split>.f32`` are, and how many of each.

    ``sha256`` is that of ``<split>.f32``, ``data_hash`` of the data whose images they are.
    """

    SCHEMA = "proposals/1"
    REMEDY = "run `replication proposals` for its variant again"

    data_hash: str
    sha256: str
    image_ids: tuple[int, ...]
    counts: tuple[Count, ...]

    def problem(self) -> str:
        """Every image has a count."""
        same = len(self.image_ids) == len(self.counts)
        return "" if same else f"counts: {len(self.counts)} for {len(self.image_ids)} image_ids"


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


class Archive(Document, frozen=True, kw_only=True):
    """``archive.json``: SHA-256 of every file of an archive, by its path."""

    SCHEMA = "archive/1"
    REMEDY = "archive the results again"

    protocol: str
    runs: Count
    files: dict[str, str]


class MergedRun(Part, frozen=True, kw_only=True):
    """A run, and the results folders that it was in, as they were given."""

    variant: str
    seed: int
    sources: tuple[str, ...]


class Merged(Document, frozen=True, kw_only=True):
    """``merged.json``: where each run of merged results is from, and SHA-256 of every file by its path."""

    SCHEMA = "merged/1"
    REMEDY = "merge the results again"

    protocol: str
    runs: tuple[MergedRun, ...]
    files: dict[str, str]


def read(path: Path, kind: type[D]) -> D:
    """The content of a file. ResultError, one message that names file and field, when it is absent, not JSON, of
    another version, or has a field that is missing, of another type, not finite or out of range.
    """
    content = load_json(path, kind.REMEDY)
    found = content.get("schema") if isinstance(content, dict) else None
    if found != kind.SCHEMA:
        raise ResultError(
            f"{path}: schema is {found!r}, expected {kind.SCHEMA!r}, as another version makes it; {kind.REMEDY}"
        )
    problem, document = _convert(content, kind)
    if document is None:
        raise ResultError(f"{path}: {problem}; {kind.REMEDY}")
    return document


def write(path: Path, kind: type[Document], content: Mapping[str, Any]) -> None:
    """Write a file that ``read`` takes, of ``content`` without its ``schema``; ValueError for any other content."""
    document = dict(content)
    # As the reader will see it: tuples as lists, keys as text.
    problem, _ = _convert(json.loads(json.dumps(document, allow_nan=False)), kind)
    if problem:
        raise ValueError(f"{path}: {problem}")
    write_json(path, kind.SCHEMA, document)


def _convert(content: Any, kind: type[D]) -> tuple[str, D | None]:
    """What is wrong, or the document."""
    try:
        document = msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        return explained(str(error), content, kind), None
    problem = not_finite(content) or document.problem()
    return problem, None if problem else document
