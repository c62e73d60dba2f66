"""Protocols: the scale at which variants are run (``configs/protocols`` or a user's own file)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from replication.catalog.records import CONFIGS, Record, parse, read_yaml
from replication.errors import ConfigError

Benchmark = Literal["coco", "voc2007"]


class EmbeddedData(Record):
    """Digit scenes on photographs, made from ``seed`` (``replication.datasets.embedded``).

    ``train`` and ``val`` are numbers of images, ``size`` the (height, width) range of the images in pixels.
    """

    kind: Literal["embedded"]
    seed: int = Field(ge=0)
    train: int = Field(ge=1)
    val: int = Field(ge=1)
    size: tuple[int, int]


class CocoSplit(Record):
    """One COCO JSON file and the folder its ``file_name`` entries lie in."""

    annotations: str
    images: str


class CocoData(Record):
    """COCO-format data; relative paths are under ``$DETECTRON2_DATASETS`` (default ``datasets``)."""

    kind: Literal["coco"]
    train: CocoSplit
    val: CocoSplit
    download: Literal["coco2017"] | None = None


class VocSplit(Record):
    """One list of image ids, ``<folder>/ImageSets/Main/<split>.txt``."""

    folder: str = "."
    split: str


class VocData(Record):
    """VOC-format data: Annotations, ImageSets, JPEGImages under ``root``/``folder``.

    ``classes`` fixes names and order; without it they are read from the training annotations and sorted.
    """

    kind: Literal["voc"]
    root: str
    train: tuple[VocSplit, ...] = Field(min_length=1)
    val: tuple[VocSplit, ...] = Field(min_length=1)
    classes: tuple[str, ...] | None = None
    download: tuple[Literal["voc2007", "voc2012"], ...] = ()


Data = Annotated[EmbeddedData | CocoData | VocData, Field(discriminator="kind")]


class AreaRanges(Record):
    """Box areas in square pixels, bounds inclusive, for APs, APm and APl. The defaults are COCO's."""

    small: tuple[float, float] = (0.0, 32.0**2)
    medium: tuple[float, float] = (32.0**2, 96.0**2)
    large: tuple[float, float] = (96.0**2, 1e5**2)


class Protocol(Record):
    """Everything that decides at which scale a variant is run.

    ``overrides`` maps ``all`` or a Detectron2 meta-architecture to config keys and values that are set after
    the variant's own file. ``iterations`` maps a meta-architecture to the length of the papers' 1x schedule
    (90,000 iterations at batch 16) under this protocol; longer variants are scaled alike. Without it the variant's
    own schedule is kept and scaled by the linear rule when ``batch`` is not the variant's.
    ``backbones`` says which backbone stands for a paper's. ``tables`` and ``run_backbones`` choose what runs when
    the command line does not.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    note: str = ""
    benchmark: Benchmark | None = None
    data: Data
    area_ranges: AreaRanges = AreaRanges()
    backbones: dict[str, str] = Field(default_factory=dict)
    batch: int = Field(ge=1)
    iterations: dict[str, Annotated[int, Field(ge=1)]] | None = None
    overrides: dict[str, dict[str, Any]] = Field(default_factory=dict)
    seeds: int = Field(default=1, ge=1)
    tables: tuple[str, ...] = Field(min_length=1)
    run_backbones: tuple[str, ...] | None = None
    threads: int = Field(default=1, ge=1)
    workers: int = Field(default=0, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    checkpoint_every: int = Field(ge=1)

    @model_validator(mode="after")
    def _schedule_is_whole(self) -> Protocol:
        if self.name == "paper" and self.iterations is not None:
            raise ValueError("protocol 'paper' keeps the variants' own schedules: remove 'iterations'")
        return self

    @property
    def published_scale(self) -> bool:
        """Whether measured absolute values may stand beside the published ones (the papers' own protocol)."""
        return self.benchmark is not None


def load_protocol(name: str) -> Protocol:
    """The protocol of that name in ``configs/protocols``, or the file of that path (ends in .yaml or .yml)."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else CONFIGS / "protocols" / f"{name}.yaml"
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in (CONFIGS / "protocols").glob("*.yaml")))
        raise ConfigError(
            f"protocol {name!r}: {path} does not exist; known protocols: {known}; "
            "for your own give the path of a .yaml file"
        )
    return parse(Protocol, read_yaml(path), path)
