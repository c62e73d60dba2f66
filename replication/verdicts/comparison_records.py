"""What a comparison of arms says, as frozen records; JSON (``comparison/1``) and data frames are made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from replication.errors import ConfigError
from replication.results.metrics import METRICS
from replication.verdicts.arms import Resampling
from replication.verdicts.intervals import ESTIMANDS, Estimand

if TYPE_CHECKING:
    import pandas

SCHEMA = "comparison/1"
Word = Literal["better", "worse", "no gain of practical size", "inconclusive", "no verdict"]
ClaimWord = Literal["holds", "does not hold", "inconclusive"]
CUT = 0.5
"""Share of a claimed gain at which it is judged, as in the verdicts on the papers' claims."""


@dataclass(frozen=True)
class Options:
    """What is asked: ``metrics``, the first of which is judged; gains in AP points.

    ``claimed`` is a gain that is expected, judged against half of it; ``practical`` the least gain that matters;
    ``alpha`` the level; ``estimand`` what the verdict is about, ``paired`` takes runs of one seed as a block; ``power``
    the probability with which the minimum detectable gain is detected.
    """

    metrics: tuple[str, ...] = ("AP",)
    claimed: float | None = None
    practical: float | None = None
    alpha: float = 0.05
    estimand: Estimand = "new images"
    paired: bool = False
    power: float = 0.8

    def __post_init__(self) -> None:
        unknown = [name for name in self.metrics if name not in METRICS]
        if unknown or not self.metrics:
            raise ConfigError(f"metric {', '.join(unknown) or 'missing'}: choose from {', '.join(METRICS)}")
        for name in ("claimed", "practical"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 100:
                raise ConfigError(f"{name} {value:g}: a gain in AP points is above 0 and at most 100")
        for name in ("alpha", "power"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(f"{name} {getattr(self, name):g}: expected a number between 0 and 1")
        if self.estimand not in ESTIMANDS:
            raise ConfigError(f"estimand {self.estimand!r}: choose from {', '.join(ESTIMANDS)}")

    @property
    def metric(self) -> str:
        """The one that is judged."""
        return self.metrics[0]


@dataclass(frozen=True)
class Bounds:
    """An interval of a difference, in AP points."""

    low: float
    high: float


@dataclass(frozen=True)
class Effect:
    """A difference, arm less baseline, in AP points: of a metric, of a class, of a size of objects.

    ``new_images`` and ``this_benchmark`` are its intervals at the stated level. ``p`` is of a difference of 0,
    two-sided, under the estimand of the verdict, ``p_holm`` after Holm's procedure over the effects of its kind. All
    are None where a side has one run, but ``new_images``, which is then that of these very runs on other images.
    """

    name: str
    baseline: float
    arm: float
    difference: float
    new_images: Bounds | None
    this_benchmark: Bounds | None
    p: float | None
    p_holm: float | None
    objects: int | None = None

    def interval(self, estimand: Estimand) -> Bounds | None:
        """The interval under an estimand."""
        return self.new_images if estimand == "new images" else self.this_benchmark


@dataclass(frozen=True)
class ClaimAnswer:
    """What is said of a claimed gain: whether at least ``cut``, half of it, is there.

    ``power`` is the probability that a true gain of the claimed size is found to hold with these runs. To reach the
    wanted power it takes ``seeds_needed`` runs per arm or, where no number of runs does, ``images_needed`` images with
    as many runs as there are; None where neither is enough.
    """

    claimed: float
    cut: float
    verdict: ClaimWord
    p_holm: float
    power: float
    seeds_needed: int | None
    images_needed: int | None


@dataclass(frozen=True)
class Terms:
    """The variance of the difference in its parts, in squared AP points; ``df`` are those of the verdict's interval.

    ``seed`` is of other runs, ``image`` of other images, ``interaction`` what both contain. ``spread`` says whose
    spread of runs is used.
    """

    seed: float
    image: float
    interaction: float
    df: float
    spread: Literal["pooled over arms", "each arm's own", "seeds as blocks"]


@dataclass(frozen=True)
class MistakeCost:
    """What mistakes of a kind cost: AP50 that repairing them gains, mean over runs, and how many a run makes.

    ``difference`` is arm less baseline, ``interval`` for other runs on these images; None with one run a side.
    """

    kind: str
    baseline: float
    arm: float
    baseline_count: float
    arm_count: float
    difference: float
    interval: Bounds | None


@dataclass(frozen=True)
class ArmSummary:
    """The runs of an arm: values of every metric by run, their means and standard deviations (None for one run).

    ``image_noise`` is the standard deviation between runs that the images explain: what they do to one run alone.
    """

    name: str
    files: tuple[str, ...]
    sha256: tuple[str, ...]
    seeds: tuple[int, ...] | None
    values: Mapping[str, tuple[float, ...]]
    mean: Mapping[str, float]
    sd: Mapping[str, float | None]
    image_noise: float | None

    @property
    def runs(self) -> int:
        """Number of runs."""
        return len(self.files)


@dataclass(frozen=True)
class Contrast:
    """One arm against the baseline.

    ``level`` is that at which Holm's procedure over the arms tests this one; ``minimum_detectable_gain`` is found with
    the wanted power. ``sizes`` are APs, APm and APl, ``classes`` AP of each class with at least ten objects, and
    ``supported`` is the judged metric over these classes.
    """

    arm: str
    baseline: str
    runs: tuple[int, int]
    sentence: str
    verdict: Word
    qualifiers: tuple[str, ...]
    level: float
    effect: Effect
    supported: Effect | None
    claim: ClaimAnswer | None
    minimum_detectable_gain: float | None
    terms: Terms | None
    metrics: tuple[Effect, ...]
    sizes: tuple[Effect, ...]
    classes: tuple[Effect, ...]
    mistakes: tuple[MistakeCost, ...]


@dataclass(frozen=True)
class ArmComparison:
    """The answer to "which is better?": arms, each with its runs, against the first."""

    options: Options
    resampling: Resampling
    truth: str
    truth_hash: str
    images: int
    objects: int
    arms: tuple[ArmSummary, ...]
    contrasts: tuple[Contrast, ...]
    warnings: tuple[str, ...]
    registration: Mapping[str, Any] | None = None

    @property
    def sentence(self) -> str:
        """The answer in words, a sentence for every arm but the baseline."""
        return "\n".join(contrast.sentence for contrast in self.contrasts)

    def to_dict(self) -> dict[str, Any]:
        """The whole record in types of JSON, schema ``comparison/1``."""
        return {"schema": SCHEMA, "sentence": self.sentence, **_plain(asdict(self))}

    def to_dataframe(self) -> pandas.DataFrame:
        """A line for every effect: its arm and kind (metric, size, class), difference, bounds, p. Needs pandas."""
        import pandas

        lines = []
        for contrast in self.contrasts:
            groups = {"metric": contrast.metrics, "size": contrast.sizes, "class": contrast.classes}
            for kind, effects in groups.items():
                lines += [_line(contrast, kind, effect) for effect in effects]
        return pandas.DataFrame(lines)


def _line(contrast: Contrast, kind: str, effect: Effect) -> dict[str, Any]:
    bounds = {
        f"{name}_{side}": None if interval is None else getattr(interval, side)
        for name, interval in (("new_images", effect.new_images), ("this_benchmark", effect.this_benchmark))
        for side in ("low", "high")
    }
    return {
        "arm": contrast.arm,
        "baseline": contrast.baseline,
        "kind": kind,
        "name": effect.name,
        "baseline_value": effect.baseline,
        "arm_value": effect.arm,
        "difference": effect.difference,
        **bounds,
        "p": effect.p,
        "p_holm": effect.p_holm,
    }


def _plain(value: Any) -> Any:
    """Tuples as lists, and infinite degrees of freedom as None, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return None if value == float("inf") else value
