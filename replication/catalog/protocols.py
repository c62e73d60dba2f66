"""Protocols: the scale at which variants are run (``configs/protocols`` or a user's own file)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from replication.catalog.records import Record
from replication.errors import ConfigError

Benchmark = Literal["coco", "voc2007"]
SplitName = Literal["train", "val"]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
META_ARCHITECTURES: dict[str, str | None] = {
    "GeneralizedRCNN": None,
    "ProposalNetwork": None,
    "ReplicationRetinaNet": None,
    "FSAF": "ReplicationRetinaNet",
    "YOLOv3": None,
}
"""Meta-architectures and, for one that extends another, which: a protocol's settings for that hold for it too."""


class _Data(Record):
    """What can be asked of any kind of data."""

    @property
    def downloads(self) -> tuple[str, ...]:
        """Data sets that ``replication data`` can fetch for it."""
        return ()

    @property
    def test_server(self) -> Literal["coco", "voc"]:
        """Whose form of submission it takes."""
        return "coco"

    def name_of(self, split: SplitName) -> str:
        """A split by the name of its file or list."""
        raise NotImplementedError

    def set_name(self, split: SplitName) -> str:
        """A split by its own name: ``val2017`` of ``instances_val2017.json``, VOC's ``test``."""
        raise NotImplementedError

    def describe(self) -> str:
        """The training and validation data in words."""
        return f"trained on {self.name_of('train')}, evaluated on {self.name_of('val')}"


class EmbeddedData(_Data):
    """Digit scenes on photographs, made from ``seed`` (``replication.datasets.embedded``).

    ``train`` and ``val`` are numbers of images, ``size`` the (height, width) range of the images in pixels.
    """

    kind: Literal["embedded"]
    seed: int = Field(ge=0)
    train: int = Field(ge=1)
    val: int = Field(ge=1)
    size: tuple[int, int]

    def name_of(self, split: SplitName) -> str:
        """A split in words."""
        return f"the embedded {'training' if split == 'train' else 'validation'} images"

    def set_name(self, split: SplitName) -> str:
        """The split."""
        return split

    def describe(self) -> str:
        """The data in words, with numbers of images and seed."""
        height, width = self.size
        return (
            f"embedded scenes of handwritten digits on photographs, {self.train} training and {self.val} validation "
            f"images of {height} to {width} pixels, seed {self.seed}"
        )


class Subset(Record):
    """``share`` of a file's images, chosen by ``seed`` and the rule of ``replication.datasets.subset``."""

    share: float = Field(gt=0, lt=1)
    seed: int = Field(default=0, ge=0)


class CocoSplit(Record):
    """One COCO JSON file and the folder its ``file_name`` entries lie in; with ``subset`` a part of its images."""

    annotations: str
    images: str
    subset: Subset | None = None

    @property
    def name(self) -> str:
        """The file's name without suffix, with its share."""
        share = f"{100 * self.subset.share:g}% of " if self.subset else ""
        return share + self.annotations.removesuffix(".json")


def coco_set_name(annotations: Path) -> str:
    """A COCO file's name without its kind: ``test-dev2017`` of ``image_info_test-dev2017.json``."""
    return annotations.stem.removeprefix("image_info_").removeprefix("instances_")


class CocoData(_Data):
    """COCO-format data; relative paths are under ``$DETECTRON2_DATASETS`` (default ``datasets``).

    A split is one file or a list of files that are joined, as COCO 2014's train and "valminusminival" were.
    """

    kind: Literal["coco"]
    train: tuple[CocoSplit, ...] = Field(min_length=1)
    val: tuple[CocoSplit, ...] = Field(min_length=1)
    download: Literal["coco2017"] | None = None

    @field_validator("train", "val", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, Mapping) else value

    @property
    def downloads(self) -> tuple[str, ...]:
        """Its one download, if any."""
        return (self.download,) if self.download else ()

    def parts(self, split: SplitName) -> tuple[CocoSplit, ...]:
        """The files of a split."""
        return self.train if split == "train" else self.val

    def name_of(self, split: SplitName) -> str:
        """The files' names without suffix."""
        return " + ".join(part.name for part in self.parts(split))

    def set_name(self, split: SplitName) -> str:
        """The files' names without kind."""
        return "+".join(coco_set_name(Path(part.annotations)) for part in self.parts(split))


class VocSplit(Record):
    """One list of image ids, ``<folder>/ImageSets/Main/<split>.txt``; without ``split`` the folder's every XML file."""

    folder: str = "."
    split: str | None = None


class VocData(_Data):
    """VOC-format data: Annotations, ImageSets, JPEGImages under ``root``/``folder``.

    ``classes`` fixes names and order; without it they are read from the training annotations and sorted.
    """

    kind: Literal["voc"]
    root: str
    train: tuple[VocSplit, ...] = Field(min_length=1)
    val: tuple[VocSplit, ...] = Field(min_length=1)
    classes: tuple[str, ...] | None = None
    download: tuple[Literal["voc2007", "voc2012", "mini"], ...] = ()

    @property
    def downloads(self) -> tuple[str, ...]:
        """Its downloads."""
        return self.download

    @property
    def test_server(self) -> Literal["coco", "voc"]:
        """VOC's server takes a result file for each class."""
        return "voc"

    def parts(self, split: SplitName) -> tuple[VocSplit, ...]:
        """The lists of a split."""
        return self.train if split == "train" else self.val

    def name_of(self, split: SplitName) -> str:
        """Folders and lists."""
        return " + ".join(f"{part.folder} {part.split or 'all'}".removeprefix(". ") for part in self.parts(split))

    def set_name(self, split: SplitName) -> str:
        """The lists."""
        return "+".join(part.split or Path(part.folder).name or "all" for part in self.parts(split))


class YoloData(_Data):
    """YOLO-format data: ``root`` is ``data.yaml``, or the folder with it or with ``classes.txt``.

    ``train`` and ``val`` are folders of images, or text files that list them, under ``root``; without them they are
    what ``data.yaml`` names so. ``classes`` replaces the names that the data give.
    """

    kind: Literal["yolo"]
    root: str
    train: tuple[str, ...] | None = Field(default=None, min_length=1)
    val: tuple[str, ...] | None = Field(default=None, min_length=1)
    classes: tuple[str, ...] | None = None

    @field_validator("train", "val", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    def parts(self, split: SplitName) -> tuple[str, ...] | None:
        """The folders or lists of a split; None where ``data.yaml`` names them."""
        return self.train if split == "train" else self.val

    def name_of(self, split: SplitName) -> str:
        """Root and folders."""
        return " + ".join(f"{self.root} {part}" for part in self.parts(split) or (split,))

    def set_name(self, split: SplitName) -> str:
        """The folders' names."""
        return "+".join(Path(part).name or split for part in self.parts(split) or (split,))


Data = Annotated[EmbeddedData | CocoData | VocData | YoloData, Field(discriminator="kind")]


class AreaRanges(Record):
    """Box areas in square pixels, bounds inclusive, for APs, APm and APl. The defaults are COCO's."""

    small: tuple[NonNegativeFloat, NonNegativeFloat] = (0.0, 32.0**2)
    medium: tuple[NonNegativeFloat, NonNegativeFloat] = (32.0**2, 96.0**2)
    large: tuple[NonNegativeFloat, NonNegativeFloat] = (96.0**2, 1e5**2)

    @model_validator(mode="after")
    def _in_order_without_gaps(self) -> AreaRanges:
        bounds = (*self.small, *self.medium, *self.large)
        if list(bounds) != sorted(bounds) or self.small[1] != self.medium[0] or self.medium[1] != self.large[0]:
            raise ValueError("small, medium and large must follow each other without gap or overlap")
        return self


class _OfClaims(Record):
    """What is said of single claims, by id, or of all claims on whole tables; of one of them at least."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": [key], "properties": {key: {"minItems": 1}}} for key in ("claims", "tables")]
        }
    )

    claims: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _of_something(self) -> Self:
        if not self.claims and not self.tables:
            raise ValueError("name at least one claim or table")
        return self


class Exclusion(_OfClaims):
    """Claims that the protocol takes out, with the reason that is shown."""

    reason: str = Field(min_length=1)


class Mechanism(_OfClaims):
    """A paragraph: what claims rest on, and how the protocol exercises it."""

    text: str = Field(min_length=1)


class Protocol(Record):
    """Everything that decides at which scale a variant is run.

    ``overrides`` maps ``all`` or a Detectron2 meta-architecture to config keys and values that are set after
    the variant's own file. ``iterations`` maps a meta-architecture to the length of the papers' 1x schedule
    (90,000 iterations at batch 16) under this protocol; longer variants are scaled alike. YOLOv3, which no such
    schedule measures, takes what is given for it. What is given for an
    architecture holds for those that extend it too, unless they have their own. Without it the variant's
    own schedule is kept and scaled by the linear rule when ``batch`` is not the variant's; a learning rate among the
    overrides is taken as it is.
    ``batches`` maps meta-architectures whose papers take another number of images per iteration than ``batch`` to it.
    ``backbones`` says which backbone stands for a paper's. ``tables``, ``seeds`` and ``run_backbones`` choose what runs
    when the command line does not; ``seeds`` is also the number of runs per variant for which the verdicts are
    registered. ``withdrawn`` names the claims whose verdicts must not be used, ``not_testable`` those whose mechanism
    the protocol cannot exercise, ``mechanisms`` says of tables or claims what they rest on here.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    note: str = ""
    benchmark: Benchmark | None = None
    data: Data
    area_ranges: AreaRanges = AreaRanges()
    backbones: dict[str, str] = Field(default_factory=dict)
    batch: int = Field(ge=1)
    batches: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    iterations: dict[str, Annotated[int, Field(ge=1)]] | None = None
    overrides: dict[str, dict[str, Any]] = Field(default_factory=dict)
    seeds: int = Field(default=1, ge=1)
    tables: tuple[str, ...] = Field(min_length=1)
    run_backbones: tuple[str, ...] | None = None
    threads: int = Field(default=1, ge=1)
    workers: int = Field(default=0, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    checkpoint_every: int = Field(ge=1)
    withdrawn: tuple[Exclusion, ...] = ()
    not_testable: tuple[Exclusion, ...] = ()
    mechanisms: tuple[Mechanism, ...] = ()

    @field_validator("batches", "iterations", "overrides")
    @classmethod
    def _known_groups(cls, groups: dict[str, Any] | None, field: ValidationInfo) -> dict[str, Any] | None:
        known = [*META_ARCHITECTURES, *(["all"] if field.field_name == "overrides" else [])]
        unknown = sorted(set(groups or {}) - set(known))
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not a meta-architecture here; known: {', '.join(known)}")
        return groups

    def groups(self, meta_architecture: str) -> list[str]:
        """Groups of ``overrides`` that a meta-architecture takes, in the order they are set in."""
        return ["all", *reversed(_extended(meta_architecture))]

    def iterations_of(self, meta_architecture: str) -> int | None:
        """Length of the 1x schedule, its own or that of what it extends; None where the protocol gives none.

        Raises ConfigError when the protocol gives others' only.
        """
        if self.iterations is None:
            return None
        for name in _extended(meta_architecture):
            if name in self.iterations:
                return self.iterations[name]
        raise ConfigError(
            f"protocol {self.name}: iterations: no entry for {meta_architecture}; known: {', '.join(self.iterations)}"
        )

    def batch_of(self, meta_architecture: str) -> int:
        """Images per iteration: its own number, that of what it extends, or ``batch``."""
        return next((self.batches[name] for name in _extended(meta_architecture) if name in self.batches), self.batch)

    @property
    def published_scale(self) -> bool:
        """Whether absolute values may stand beside the published ones: the papers' data, and nothing scaled."""
        return self.benchmark is not None and not (self.iterations or self.backbones or self.overrides)


def _extended(meta_architecture: str) -> list[str]:
    """A meta-architecture, what it extends, and so on."""
    chain, name = [], META_ARCHITECTURES.get(meta_architecture)
    while name is not None:
        chain.append(name)
        name = META_ARCHITECTURES[name]
    return [meta_architecture, *chain]
