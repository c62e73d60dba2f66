"""Claims of one's own, registered before there are results: written once, judged by their terms and nothing else.

``register`` turns ``claim.yaml`` into ``claim.json``, which holds the terms, the hash of the ground truth, the planned
runs, the level of every look, the time, and what result files there were. It proves nothing by itself, as clocks and
dates of files can be set: commit it, or publish its hash, before training.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from replication.catalog.records import Record, parse, read_yaml
from replication.errors import ConfigError, ResultError
from replication.evaluation.inputs import as_ground_truth
from replication.evaluation.matching import Criterion
from replication.results.files import content_sha256, read_json, sha256_json, write_json
from replication.verdicts.arms import Arms, Resampling
from replication.verdicts.comparison import compare_arms
from replication.verdicts.comparison_records import ArmComparison, Options
from replication.verdicts.intervals import Estimand
from replication.verdicts.sequential import Spending, look_levels

SCHEMA = "claim/1"
BEFORE = "registered before the runs"
AFTER = "after"
SLACK = 60.0
"""Seconds between the time in ``claim.json`` and its date, above which the file was copied or changed since."""


class Claim(Record):
    """The terms of a claim, ``claim.yaml``; paths are relative to its folder.

    ``arms`` are file names with ``{seed}`` by arm, the first the baseline unless ``baseline`` names another; ``seeds``
    the planned runs of each arm. ``looks`` are numbers of runs per arm at which the claim may be judged, the last of
    them all; without it, there is one look at the end.
    """

    title: str = ""
    ground_truth: str
    arms: dict[str, str] = Field(min_length=2)
    baseline: str | None = None
    seeds: list[int] = Field(min_length=2)
    looks: list[int] = Field(default_factory=list)
    spending: Spending = "obrien-fleming"
    metric: str = "AP"
    criterion: Criterion = "iou"
    type: Literal["bbox", "segm"] = "bbox"
    claimed: float | None = None
    practical: float | None = None
    alpha: float = 0.05
    estimand: Estimand = "new images"
    paired: bool = False
    bootstrap: int = Field(default=2000, ge=2)
    bootstrap_seed: int = Field(default=0, ge=0)

    @field_validator("arms")
    @classmethod
    def _seeded(cls, arms: dict[str, str]) -> dict[str, str]:
        for name, pattern in arms.items():
            if pattern.count("{seed}") != 1:
                raise ValueError(f"arm {name}: {pattern!r} needs {{seed}} once, where its runs differ")
        if len(set(arms.values())) < len(arms):
            raise ValueError("two arms have the same files")
        return arms

    @model_validator(mode="after")
    def _consistent(self) -> Claim:
        if len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError("seeds: expected different numbers, 0 or more")
        if self.baseline is not None and self.baseline not in self.arms:
            raise ValueError(f"baseline: {self.baseline!r} is not an arm; arms: {', '.join(self.arms)}")
        if self.looks and (self.looks != sorted(set(self.looks)) or self.looks[-1] != len(self.seeds)):
            raise ValueError(
                f"looks: expected rising numbers of runs per arm, the last {len(self.seeds)}, as many as seeds"
            )
        if self.looks and self.looks[0] < 2:
            raise ValueError("looks: the first needs at least 2 runs per arm")
        return self

    @property
    def names(self) -> list[str]:
        """Arms, the baseline first."""
        first = self.baseline or next(iter(self.arms))
        return [first, *(name for name in self.arms if name != first)]

    def files(self, name: str, runs: int | None = None) -> list[str]:
        """The planned files of an arm, of the first ``runs`` seeds."""
        return [self.arms[name].replace("{seed}", str(seed)) for seed in self.seeds[:runs]]


@dataclass(frozen=True)
class Look:
    """A planned look: number of runs per arm, and its level."""

    runs: int
    level: float


@dataclass(frozen=True)
class Registered:
    """What ``claim.json`` holds; ``existing`` are hashes of result files by name that were there at registration."""

    path: Path
    hash: str
    registered: datetime
    claim: Claim
    truth_hash: str
    looks: tuple[Look, ...]
    existing: Mapping[str, str]

    def options(self, look: Look) -> Options:
        """How the claim is judged at a look."""
        claim = self.claim
        return Options(
            metrics=(claim.metric,),
            claimed=claim.claimed,
            practical=claim.practical,
            alpha=look.level,
            estimand=claim.estimand,
            paired=claim.paired,
        )

    @property
    def resampling(self) -> Resampling:
        """How its runs are matched and resampled."""
        claim = self.claim
        return Resampling(claim.criterion, claim.bootstrap, claim.bootstrap_seed, claim.type == "segm")

    @property
    def truth(self) -> Path:
        """The ground truth."""
        return self.path.parent / self.claim.ground_truth


def register(source: Path, now: datetime | None = None) -> Path:
    """Write ``claim.json`` beside ``claim.yaml``, and return its path.

    Raises ConfigError for wrong terms, and where the claim is registered already: it is never changed.
    """
    claim = parse(Claim, read_yaml(source), source)
    path = source.with_suffix(".json")
    if path.exists():
        raise ConfigError(f"{path}: registered already; to change the terms, register another claim under another name")
    looks = claim.looks or [len(claim.seeds)]
    try:
        Options((claim.metric,), claim.claimed, claim.practical, claim.alpha)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    levels = look_levels(looks, claim.alpha, claim.spending)
    content = {
        "registered": (now or datetime.now(UTC)).isoformat(timespec="seconds"),
        "terms": claim.model_dump(mode="json"),
        "ground_truth_hash": as_ground_truth(source.parent / claim.ground_truth).under(claim.criterion).content_hash,
        "planned": {name: claim.files(name) for name in claim.names},
        "looks": [{"runs": runs, "level": level} for runs, level in zip(looks, levels, strict=True)],
        "existing": _existing(claim, source.parent),
    }
    write_json(path, SCHEMA, {"hash": sha256_json(content), **content})
    return path


def _existing(claim: Claim, folder: Path) -> dict[str, str]:
    """Files beside the planned runs by name, each with its hash: one of them may come to be renamed into a run."""
    found: dict[str, str] = {}
    for name in claim.names:
        pattern = claim.arms[name]
        suffix = Path(pattern).suffix
        for file in sorted(folder.glob(str(Path(pattern).parent / f"*{suffix}").replace("{seed}", "*"))):
            key = file.relative_to(folder).as_posix()
            if suffix and file.is_file() and key != claim.ground_truth:
                found[key] = content_sha256(file)
    for name in claim.names:
        found |= {file: content_sha256(folder / file) for file in claim.files(name) if (folder / file).exists()}
    return found


def read_claim(path: Path) -> Registered:
    """Read ``claim.json``. Raises ResultError when it was changed after it was written."""
    document = read_json(path, SCHEMA)
    content = {key: value for key, value in document.items() if key not in ("schema", "hash")}
    if sha256_json(content) != document.get("hash"):
        raise ResultError(f"{path}: hash: does not fit the terms: the file was changed after it was registered")
    return Registered(
        path=path,
        hash=document["hash"],
        registered=datetime.fromisoformat(content["registered"]),
        claim=parse(Claim, content["terms"], path),
        truth_hash=content["ground_truth_hash"],
        looks=tuple(Look(**one) for one in content["looks"]),
        existing=content["existing"],
    )


def check_terms(registered: Registered, given: Mapping[str, Any]) -> None:
    """Raise ConfigError where an option that was given is not what is registered."""
    terms = registered.claim.model_dump()
    for name, value in given.items():
        if terms[name] != value:
            raise ConfigError(
                f"{registered.path}: {name}: registered is {terms[name]}, asked for {value}; a claim is judged by its "
                "registered terms"
            )


def present_runs(registered: Registered) -> tuple[Look, dict[str, list[Path]]]:
    """The look at which the runs that are there stand, and the files of each arm, the baseline first.

    Raises ResultError naming the file for runs that are extra, dropped or renamed: those that are there must be the
    first ones of each arm, as many as a look has.
    """
    claim, folder = registered.claim, registered.path.parent
    for name in claim.names:
        _check_extra(registered, name)
    counts = {name: _first_ones(registered, name) for name in claim.names}
    most = max(counts.values())
    look = next((one for one in registered.looks if one.runs == most), None)
    if look is None and most:
        name = next(name for name, count in counts.items() if count == most)
        planned = " and ".join(str(one.runs) for one in registered.looks)
        raise ResultError(
            f"{folder / claim.files(name)[most - 1]}: looks are registered at {planned} runs per arm; with this run "
            f"arm {name} has {most}: finish the runs of the next look in all arms"
        )
    for name, count in counts.items():
        if look is None or count < look.runs:
            raise _missing(registered, name, count)
    assert look is not None
    return look, {name: [folder / file for file in claim.files(name, look.runs)] for name in claim.names}


def _first_ones(registered: Registered, name: str) -> int:
    """How many of an arm's planned runs are there; ResultError where one is missing before another."""
    files = registered.claim.files(name)
    there = [(registered.path.parent / file).exists() for file in files]
    count = sum(there)
    if not all(there[:count]):
        raise _missing(registered, name, there.index(False))
    return count


def _missing(registered: Registered, name: str, place: int) -> ResultError:
    file = registered.path.parent / registered.claim.files(name)[place]
    return ResultError(
        f"{file}: a planned run of arm {name} is missing; a claim is judged by all of its runs, under their registered "
        "names"
    )


def _check_extra(registered: Registered, name: str) -> None:
    """Refuse files that look like runs of an arm, but are not planned."""
    claim, folder = registered.claim, registered.path.parent
    before, after = claim.arms[name].split("{seed}")
    planned = {(folder / file).as_posix() for other in claim.names for file in claim.files(other)}
    number = re.compile(
        re.escape((folder / before).as_posix() + ("/" if before.endswith("/") else "")) + r"\d+" + re.escape(after)
    )
    for file in sorted(glob.glob(glob.escape(str(folder)) + "/" + glob.escape(before) + "*" + glob.escape(after))):
        plain = Path(file).as_posix()
        if number.fullmatch(plain) and plain not in planned:
            raise ResultError(
                f"{file}: not a planned run of arm {name}; planned are the seeds {', '.join(map(str, claim.seeds))}. "
                "Runs added later are not part of the claim: move them elsewhere"
            )


def check_files(registered: Registered, arms: Mapping[str, Sequence[Path]], given: Mapping[str, Sequence[Any]]) -> None:
    """Raise ConfigError where arms that were given are not the registered ones."""
    for name, files in given.items():
        if name not in arms:
            raise ConfigError(f"{registered.path}: arm {name} is not registered; arms: {', '.join(arms)}")
        planned = {file.resolve() for file in arms[name]}
        for file in files:
            if Path(file).resolve() not in planned:
                raise ConfigError(f"{registered.path}: {file} is not a registered run of arm {name}")
        if len(files) < len(planned):
            raise ConfigError(f"{registered.path}: arm {name}: {len(planned)} runs are registered, {len(files)} given")
    if given and set(given) != set(arms):
        left = ", ".join(name for name in arms if name not in given)
        raise ConfigError(f"{registered.path}: arm {left} is registered, but not given")


def judge_claim(registered: Registered, look: Look, files: Mapping[str, Sequence[Path]], arms: Arms) -> ArmComparison:
    """Compare the registered runs by the registered terms. Raises ResultError for another ground truth."""
    if arms.truth_hash != registered.truth_hash:
        raise ResultError(
            f"{registered.truth}: ground_truth: its objects are not those that were registered; restore the file"
        )
    note = registration_note(registered, look, files)
    return replace(compare_arms(arms, registered.options(look)), registration=note)


def registration_note(registered: Registered, look: Look, arms: Mapping[str, Sequence[Path]]) -> dict[str, Any]:
    """What a comparison says of its registration: when it was, as far as hashes and dates show, and the look."""
    reason = _not_before(registered, [file for files in arms.values() for file in files])
    later = [one.runs for one in registered.looks if one.runs > look.runs]
    return {
        "claim": str(registered.path),
        "title": registered.claim.title,
        "hash": registered.hash,
        "registered": registered.registered.isoformat(),
        "when": BEFORE if reason is None else AFTER,
        "reason": reason,
        "look": look.runs,
        "level": look.level,
        "looks": [one.runs for one in registered.looks],
        "next_look": later[0] if later else None,
    }


def _not_before(registered: Registered, files: Sequence[Path]) -> str | None:
    """Why it cannot be shown that the claim was there before the runs; None where it can."""
    folder, time = registered.path.parent, registered.registered.timestamp()
    written = registered.path.stat().st_mtime
    known = set(registered.existing.values())
    for file in files:
        if file.relative_to(folder).as_posix() in registered.existing:
            return f"{file} was there at registration"
        if content_sha256(file) in known:
            return f"{file} has the content of a file that was there at registration"
        modified = _modified(file)
        if modified <= time or modified < written:
            return f"{file} has an older date than the claim"
    if not -SLACK <= written - time <= SLACK:
        return f"{registered.path} was copied or written again since its registration: dates do not show when"
    return None


def _modified(path: Path) -> float:
    """Time of last change; of a folder, of the oldest file in it."""
    if not path.is_dir():
        return path.stat().st_mtime
    return min((one.stat().st_mtime for one in path.rglob("*") if one.is_file()), default=path.stat().st_mtime)
