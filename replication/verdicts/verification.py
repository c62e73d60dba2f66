"""Results checked as a reader would: hashes, numbers from the stored detections, verdicts from the numbers.

The words are the ACM's: *reproduced* is what the same artifacts give again; *replicated* is what independent runs find.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from replication.catalog import Catalog, Judging, Protocol
from replication.errors import ReplicationError, ResultError
from replication.evaluation.runs import measured
from replication.results.files import read_json, reading, sha256_file
from replication.results.finished import FinishedRun, check_variants, read_runs
from replication.results.layout import Layout
from replication.results.schemas import Archive, Document, Merged, read
from replication.verdicts.agreement import TOLERANCE, Agreement, archived, published
from replication.verdicts.document import judge, misjudged
from replication.verdicts.evidence import Resampler
from replication.verdicts.output import SCHEMA as VERDICTS_SCHEMA
from replication.verdicts.registered import check_plan
from replication.verdicts.replicates import image_replicates

SCHEMA = "verification/1"
NOT_NEEDED = shutil.ignore_patterns("matches", "*.pth", ".*", "logs", "export", "submission", "figures", "proposals")


@dataclass(frozen=True)
class Recomputed:
    """What was computed again from what is stored. ``found`` is None where nothing is stored that would allow it."""

    name: str
    found: Literal["reproduced", "not reproduced"] | None
    text: str = ""


@dataclass(frozen=True)
class Verified:
    """One protocol of a results folder. ``problems`` are hashes that do not fit, and runs that are no whole."""

    protocol: str
    runs: int
    elsewhere: int
    hashes: int
    unrecorded: tuple[str, ...]
    problems: tuple[str, ...]
    evaluations: tuple[Recomputed, ...]
    verdicts: tuple[Recomputed, ...]
    numbers: tuple[Agreement, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing that could be checked is wrong. That a number is not replicated is a finding, not a fault."""
        again = (*self.evaluations, *self.verdicts)
        changed = any(one.word == "not reproduced" for one in self.numbers)
        return not self.problems and not changed and all(one.found != "not reproduced" for one in again)

    def to_dict(self) -> dict[str, Any]:
        """In types of JSON."""
        return {"verified": self.holds, **asdict(self)}


def verify_results(
    catalog: Catalog, protocol: Protocol, results: Path, judging: Judging, against: Path | None = None
) -> Verified:
    """Check everything that is stored of a protocol, without writing in its folder.

    Hashes that ``archive.json``, ``merged.json``, ``metrics.json`` and ``verdicts.json`` record; metrics from the
    stored detections; verdicts from the metrics; published numbers, and those of the results folder ``against``, by the
    prediction interval of the runs. Raises ResultError for files that cannot be read.
    """
    with _view(results, protocol.name) as view:
        layout = Layout(view, protocol.name)

        def told(text: object) -> str:
            return str(text).replace(str(view), str(results))

        try:
            runs = read_runs(layout)
            if not runs:
                raise ResultError(f"{layout.runs}: no finished run; nothing can be verified")
        except ReplicationError as error:
            raise type(error)(told(error)) from error
        hashes, unrecorded, problems = _hashes(Layout(results, protocol.name), runs)
        try:
            check_variants(runs)
        except ResultError as error:
            problems.append(str(error))
        resample = image_replicates(protocol, view, judging)
        document, verdicts = _judged(catalog, protocol, layout, runs, judging, resample)
        numbers = list(published(catalog, protocol, runs, document, judging, resample))
        if against is not None:
            numbers += archived(protocol, layout, runs, against, judging, resample)
        return Verified(
            protocol=protocol.name,
            runs=len(runs),
            elsewhere=sum(bool(run.origin) for run in runs),
            hashes=hashes,
            unrecorded=tuple(map(told, unrecorded)),
            problems=tuple(map(told, problems)),
            evaluations=tuple(_evaluated(catalog, protocol, layout, runs, told)),
            verdicts=tuple(Recomputed(one.name, one.found, told(one.text)) for one in verdicts),
            numbers=tuple(numbers),
        )


class _view:
    """A folder of links to a protocol's results, without what was cached: what is computed in it stays in it."""

    def __init__(self, results: Path, protocol: str) -> None:
        self.source, self.protocol = results.resolve(), protocol

    def __enter__(self) -> Path:
        self.temporary = tempfile.TemporaryDirectory()
        view = Path(self.temporary.name) / "results"
        shutil.copytree(self.source / self.protocol, view / self.protocol, copy_function=os.symlink, ignore=NOT_NEEDED)
        return view

    def __exit__(self, *error: object) -> None:
        self.temporary.cleanup()


def _hashes(layout: Layout, runs: list[FinishedRun]) -> tuple[int, list[str], list[str]]:
    """How many recorded hashes were compared, what has none, and what is wrong."""
    checked = 0
    unrecorded: list[str] = []
    problems: list[str] = []
    kinds: tuple[tuple[Path, type[Archive] | type[Merged], str], ...] = (
        (layout.archive, Archive, "archived"),
        (layout.merged, Merged, "merged"),
    )
    for path, kind, since in kinds:
        if path.exists():
            listed = _listed(path, kind)
            checked += len(listed)
            problems += _changed(layout, listed, since)
    for run in runs:
        if not run.files.detections.exists():
            continue
        recorded = run.measured.detections_sha256
        if recorded is None:
            unrecorded.append(f"{run.files.detections}: no hash is recorded in {run.files.metrics.name}")
            continue
        checked += 1
        if sha256_file(run.files.detections) != recorded:
            problems.append(f"{run.files.detections}: not the file that {run.files.metrics.name} was computed from")
    return checked, unrecorded, problems


def _listed(path: Path, kind: type[Archive] | type[Merged]) -> Mapping[str, str]:
    document: Document = read(path, kind)
    assert isinstance(document, Archive | Merged)
    return document.files


def _changed(layout: Layout, listed: Mapping[str, str], since: str) -> Iterator[str]:
    """Files that are not as they were."""
    for name, sha256 in listed.items():
        path = layout.folder / name
        if not path.is_file():
            yield f"{path}: was {since}, and is missing"
        elif sha256_file(path) != sha256:
            yield f"{path}: has changed since it was {since}"


def _evaluated(
    catalog: Catalog, protocol: Protocol, layout: Layout, runs: list[FinishedRun], told: Callable[[object], str]
) -> Iterator[Recomputed]:
    for run in runs:
        name = f"{run.variant} seed {run.seed}"
        missing = [path for path in (run.files.detections, layout.ground_truth, layout.data) if not path.exists()]
        if missing:
            yield Recomputed(name, None, f"{missing[0].name} is not stored")
            continue
        built = catalog.variants.get(run.variant)
        try:
            again, _ = measured(run.files, layout, protocol, built is not None and built.class_agnostic)
        except ReplicationError as error:
            yield Recomputed(name, "not reproduced", told(error))
            continue
        wrong = list(_differences(_numbers_of(run), {key: again.get(key) for key in _numbers_of(run)}))
        yield Recomputed(name, "not reproduced" if wrong else "reproduced", "; ".join(wrong[:3]))


def _numbers_of(run: FinishedRun) -> dict[str, Any]:
    own = run.measured
    return {"metrics": own.metrics, "giou_metrics": own.giou_metrics, "mask_metrics": own.mask_metrics}


def _differences(recorded: Any, again: Any, place: str = "") -> Iterator[str]:
    """``field: recorded x, computed y`` for whatever differs."""
    if isinstance(recorded, Mapping) and isinstance(again, Mapping):
        for key in recorded:
            yield from _differences(recorded[key], again.get(key), f"{place}.{key}".lstrip("."))
    elif isinstance(recorded, list) and isinstance(again, list) and len(recorded) == len(again):
        for number, pair in enumerate(zip(recorded, again, strict=True)):
            yield from _differences(pair[0], pair[1], f"{place}[{number}]")
    elif isinstance(recorded, float | int) and isinstance(again, float | int):
        if not np.isclose(recorded, again, rtol=TOLERANCE, atol=TOLERANCE):
            yield f"{place}: recorded {recorded}, computed {again}"
    elif recorded != again:
        yield f"{place}: recorded {recorded}, computed {again}"


def _judged(
    catalog: Catalog,
    protocol: Protocol,
    layout: Layout,
    runs: list[FinishedRun],
    judging: Judging,
    resample: Resampler,
) -> tuple[dict[str, Any] | None, list[Recomputed]]:
    """The verdicts made again, and how they compare with those that are stored."""
    if not layout.verdicts.exists():
        return None, []
    recorded = read_json(layout.verdicts, VERDICTS_SCHEMA)
    try:
        with reading(layout.verdicts, "verdicts"):
            tables = recorded["tables"]
            check_plan(layout, recorded, catalog, protocol, judging, tables)
            wrong = misjudged(recorded, runs, {run["variant"] for run in recorded["runs"]})
            if wrong:
                variant, seed = wrong[0]
                raise ResultError(f"{layout.verdicts}: runs: {variant} seed {seed} is not the run that was judged")
        again = judge(catalog, protocol, layout.results, tables, judging, resample)
    except ReplicationError as error:
        return None, [Recomputed("verdicts", "not reproduced", str(error))]
    return again, list(_compared(recorded["verdicts"], again["verdicts"]))


def _compared(recorded: list[dict[str, Any]], again: list[dict[str, Any]]) -> Iterator[Recomputed]:
    """Each verdict; without stored detections only what is said of this benchmark can be computed again."""
    made = {one["id"]: one for one in again}
    for one in recorded:
        other = made.get(one["id"])
        if other is None:
            yield Recomputed(one["id"], "not reproduced", "is no claim any more")
            continue
        pair = [one, other]
        partly = "new images" in one["estimates"] and "new images" not in other["estimates"]
        if partly:
            pair = [{"estimates": {"this benchmark": entry["estimates"].get("this benchmark")}} for entry in pair]
            pair = [part | {"measured": entry["measured"]} for part, entry in zip(pair, (one, other), strict=True)]
        else:
            keys = ("verdict", "qualifiers", "measured", "estimates")
            pair = [{key: entry[key] for key in keys} for entry in pair]
        wrong = list(_differences(pair[0], pair[1]))
        text = "for this benchmark alone: no detections are stored" if partly else ""
        yield Recomputed(one["id"], "not reproduced" if wrong else "reproduced", "; ".join(wrong[:3]) or text)
