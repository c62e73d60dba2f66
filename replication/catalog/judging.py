"""The rules of judging, part of the plan whose hash stands beside the verdicts: ``configs/verdicts.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from replication.catalog.folders import CONFIGS
from replication.catalog.records import Record, parse, read_yaml

Share = Annotated[float, Field(gt=0, lt=1)]
Points = Annotated[float, Field(ge=0, le=100)]


class Judging(Record):
    """Levels, cuts and limits; AP on 0-100. ``cut`` is a share of the claimed gain.

    ``analysis`` says whether runs are paired by seed. ``schedule_tolerance`` is the share of the longest by which the
    lengths of one schedule may differ. ``plan`` is the registration in words.
    """

    alpha: Share
    cut: Share
    analysis: Literal["seeds as blocks", "independent runs"]
    estimand: Literal["new images", "this benchmark"]
    min_runs: int = Field(ge=2)
    power: Share
    practical_size: Points
    baseline_floor: Points
    baseline_shortfall: Points
    schedule_tolerance: Share
    equal_spread_alpha: Share
    outlying_spread_alpha: Share
    replicates: int = Field(ge=100)
    bootstrap_seed: int = Field(ge=0)
    plan: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=1)


def load_judging(configs: Path = CONFIGS) -> Judging:
    """The registered rules; ConfigError names file and field."""
    path = configs / "verdicts.yaml"
    return parse(Judging, read_yaml(path), path)
