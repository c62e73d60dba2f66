"""The runs of the arms of a comparison, from files to numbers.

Each run is matched and resampled by itself, under the same draws of images as all others.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from replication.errors import ConfigError, DataError, ReplicationError, ResultError
from replication.evaluation.bootstrap import SUPPORTED, bootstrap, point
from replication.evaluation.curves import precision_curves
from replication.evaluation.inputs import as_detections, as_ground_truth
from replication.evaluation.matching import AREAS, match
from replication.evaluation.mistakes import mistakes
from replication.evaluation.pair import OTHER_IMAGES
from replication.formats.columns import Detections, GroundTruth
from replication.formats.detections import warnings_of
from replication.results.files import content_sha256
from replication.results.metrics import METRICS
from replication.verdicts.arm_cache import Cache
from replication.verdicts.arms import KINDS, Arm, Arms, Progress, Resampling, RunNumbers


@dataclass(frozen=True)
class _Job:
    """One run that is to be evaluated."""

    arm: str
    name: str
    source: Any
    sha256: str
    seed: int | None


def read_arms(
    truth: Any,
    arms: Mapping[str, Sequence[Any]],
    resampling: Resampling | None = None,
    cache: Cache | None = None,
    progress: Progress | None = None,
) -> Arms:
    """Evaluate all runs of all arms, the baseline being the first.

    Ground truth and detections are what ``as_ground_truth`` and ``as_detections`` take. Raises ConfigError for arms
    that are no comparison, ResultError where a file is in two places, or runs are of different images.
    """
    resampling = resampling or Resampling()
    columns = as_ground_truth(truth).under(resampling.criterion)
    if resampling.masks:
        _check_objects(columns, truth)
    jobs = list(_jobs(arms))
    _check_files(jobs)
    numbers = _evaluated(columns, jobs, resampling, cache, progress)
    found = tuple(
        Arm(name, tuple(numbers[place] for place, job in enumerate(jobs) if job.arm == name)) for name in arms
    )
    _check_contents(found)
    return Arms(
        arms=found,
        resampling=resampling,
        truth=str(truth) if isinstance(truth, str | Path) else "truth",
        truth_hash=columns.content_hash,
        images=len(columns.image_ids),
        objects=columns.objects,
        class_names=columns.class_names,
        per_class=tuple(columns.per_class.tolist()),
        warnings=tuple(dict.fromkeys(_warnings(found, columns))),
    )


def _check_objects(truth: GroundTruth, source: Any) -> None:
    """Raise DataError unless every object has a mask that can be drawn."""
    name = str(source) if isinstance(source, str | Path) else "truth"
    if truth.masks is None or np.isnan(truth.sizes).any():
        raise DataError(f"{name}: masks are compared, but annotations lack segmentation or images lack their size")
    from replication.evaluation.masks import check_masks

    check_masks(truth, Path(name))


def _check_masks(name: str, detections: Detections) -> None:
    """Raise ResultError unless every detection has a mask."""
    if detections.masks is None and len(detections):
        note = next((text for text in detections.notes if "segmentation" in text), "the records have no segmentation")
        raise ResultError(f"{name}: segmentation: {note.partition(': boxes')[0]}; masks are compared (--type segm)")


def _jobs(arms: Mapping[str, Sequence[Any]]) -> Iterator[_Job]:
    if len(arms) < 2:
        raise ConfigError("a comparison needs at least two arms")
    for arm, sources in arms.items():
        if isinstance(sources, str | Path | Mapping):
            raise ConfigError(f"arm {arm}: expected a list of runs, not one {type(sources).__name__}")
        if not len(sources):
            raise ConfigError(f"arm {arm}: no runs; give at least one file of detections")
        paths = [source if isinstance(source, str | Path) else None for source in sources]
        seeds = seed_numbers([str(path) for path in paths]) if None not in paths else [None] * len(paths)
        for place, (source, path, seed) in enumerate(zip(sources, paths, seeds, strict=True)):
            name = f"{arm}[{place}]" if path is None else str(path)
            yield _Job(arm, name, source, "" if path is None else content_sha256(Path(path)), seed)


def seed_numbers(names: Sequence[str]) -> list[int | None]:
    """Seed numbers in the names of an arm's files: the number in which they differ, else the one after "seed".

    >>> seed_numbers(["A_seed0.json", "A_seed12.json"])
    [0, 12]
    >>> seed_numbers(["r50/run-3/bbox.json", "r50/run-4/bbox.json"])
    [3, 4]
    >>> seed_numbers(["final.json"])
    [None]
    """
    if len(names) > 1:
        start, end = _shared(names), _shared([name[::-1] for name in names])
        parts = [name[start : len(name) - end] for name in names]
        if all(part.isdecimal() for part in parts):
            return [int(part) for part in parts]
    found = [re.findall(r"seed[-_]?(\d+)", name, re.IGNORECASE) for name in names]
    return [int(numbers[-1]) if numbers else None for numbers in found]


def _shared(names: Sequence[str]) -> int:
    """Length of the beginning that all names share, but for digits at its end."""
    shared = 0
    while shared < min(map(len, names)) and len({name[shared] for name in names}) == 1:
        shared += 1
    return len(names[0][:shared].rstrip("0123456789"))


def _check_files(jobs: Sequence[_Job]) -> None:
    """Refuse a file that stands for two runs, before anything is computed."""
    seen: dict[str, _Job] = {}
    for job in jobs:
        first = seen.setdefault(job.sha256 or job.name, job)
        if first is not job:
            raise _twice((first.arm, first.name), (job.arm, job.name))


def _check_contents(arms: Sequence[Arm]) -> None:
    """Refuse runs that hold the same detections though their files differ."""
    seen: dict[str, tuple[str, str]] = {}
    for arm in arms:
        for run in arm.runs:
            place = arm.name, run.name
            first = seen.setdefault(run.columns_hash, place)
            if first != place:
                raise _twice(first, place)


def _twice(first: tuple[str, str], again: tuple[str, str]) -> ReplicationError:
    if first[0] != again[0]:
        return ResultError(
            f"{again[1]}: the same detections as {first[1]}, but in arm {again[0]} and arm {first[0]}; a run "
            "belongs to one arm"
        )
    return ResultError(
        f"{again[1]}: the same detections as {first[1]}, both in arm {first[0]}; copies of a run do not count as runs: "
        "leave one out"
    )


def _evaluated(
    truth: GroundTruth,
    jobs: Sequence[_Job],
    resampling: Resampling,
    cache: Cache | None,
    progress: Progress | None,
) -> list[RunNumbers]:
    """The numbers of all runs, a run a thread: kernels release the interpreter lock."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(usable, len(jobs))
    results: dict[int, RunNumbers] = {}
    if progress is not None:
        progress(0, len(jobs))
    with ThreadPoolExecutor(workers) as pool:
        work = {
            pool.submit(_numbers, truth, job, resampling, cache, max(1, usable // workers)): place
            for place, job in enumerate(jobs)
        }
        try:
            for done in as_completed(work):
                results[work[done]] = done.result()
                if progress is not None:
                    progress(len(results), len(jobs))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [results[place] for place in range(len(jobs))]


def _numbers(truth: GroundTruth, job: _Job, resampling: Resampling, cache: Cache | None, threads: int) -> RunNumbers:
    how = f"{resampling.criterion} of masks" if resampling.masks else resampling.criterion
    key = (truth.content_hash, job.sha256, how, str(resampling.replicates), str(resampling.seed))
    arrays = cache.load(key) if cache is not None and job.sha256 else None
    if arrays is None:
        arrays = _compute(truth, job, resampling, threads)
        if cache is not None and job.sha256:
            cache.store(key, arrays)
    warnings = tuple(f"{job.name}: {text}" for text in arrays["warnings"].tolist())
    columns_hash = str(arrays["columns_hash"])
    rest = {name: value for name, value in arrays.items() if name not in ("warnings", "columns_hash")}
    return RunNumbers(job.name, job.sha256, job.seed, columns_hash, warnings=warnings, **rest)


def _compute(truth: GroundTruth, job: _Job, resampling: Resampling, threads: int) -> dict[str, Any]:
    """All arrays of ``RunNumbers``."""
    detections = as_detections(job.source, truth, job.name, resampling.masks)
    if resampling.masks:
        _check_masks(job.name, detections)
    matches = match(truth, detections, resampling.criterion, masks=resampling.masks, threads=threads)
    supported = truth.per_class >= SUPPORTED
    estimate = point(matches)
    sample = bootstrap(matches, resampling.replicates, resampling.seed, AREAS, threads=threads)
    # Kinds of mistakes are told by the overlap of boxes.
    unknown: dict[str, float | int | None] = {"count": 0, "gain": None}
    kinds = dict.fromkeys(KINDS, unknown) if resampling.masks else mistakes(truth, detections, matches)
    name = Path(job.name)
    odd = [text.removeprefix(f"{name}: ") for text in warnings_of(name, detections, truth)]
    return {
        "columns_hash": np.array(detections.content_hash),
        "points": np.array([estimate.metric(metric)[0] for metric in METRICS]),
        "replicates": np.stack([sample.metric(metric) for metric in METRICS]),
        "supported": np.array([estimate.metric(metric, supported)[0] for metric in METRICS]),
        "supported_replicates": np.stack([sample.metric(metric, supported) for metric in METRICS]),
        "class_points": 100 * estimate.precision["all"][0].mean(axis=0),
        "class_replicates": np.ascontiguousarray(100 * sample.precision["all"].mean(axis=1).T),
        "mistake_counts": np.array([kinds[kind]["count"] for kind in KINDS], np.float64),
        "mistake_gains": np.array([_or_nan(kinds[kind]["gain"]) for kind in KINDS]),
        "curves": precision_curves(matches, detections),
        "seen": np.isin(np.arange(len(truth.image_ids)), detections.images),
        "warnings": np.array(odd, np.str_),
    }


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else float(value)


def _warnings(arms: Sequence[Arm], truth: GroundTruth) -> Iterator[str]:
    """What a reader should know before believing the comparison; raises ResultError for runs on different images."""
    yield from truth.notes
    for arm in arms:
        for run in arm.runs:
            yield from run.warnings
    yield from _other_images(arms, truth)
    for arm in arms:
        yield from _missing_seeds(arm)
    counts = zip(truth.class_names, truth.per_class.tolist(), strict=True)
    rare = [name for name, count in counts if 0 < count < SUPPORTED]
    if rare:
        yield (
            f"{len(rare)} classes with fewer than {SUPPORTED} objects, whose variance the image bootstrap "
            f"underestimates: {', '.join(rare[:10])}{', ...' if len(rare) > 10 else ''}; intervals for new images are "
            "too narrow, see those over the other classes"
        )


def _other_images(arms: Sequence[Arm], truth: GroundTruth) -> Iterator[str]:
    first = arms[0].runs[0]
    for run in [run for arm in arms for run in arm.runs][1:]:
        alone = first.seen != run.seen
        if not alone.any():
            continue
        both, place = int((first.seen | run.seen).sum()), int(np.argmax(alone))
        owner = first.name if first.seen[place] else run.name
        text = (
            f"{run.name}: {int(alone.sum())} of {both} images have detections in it or in {first.name} only, such as "
            f"image {truth.image_ids[place]} in {owner}"
        )
        if alone.sum() > OTHER_IMAGES * both:
            raise ResultError(f"{text}; a comparison needs all runs on the same images: run each on all of them")
        yield text


def _missing_seeds(arm: Arm) -> Iterator[str]:
    if arm.seeds is None:
        return
    missing = sorted(set(range(min(arm.seeds), max(arm.seeds) + 1)) - set(arm.seeds))
    if 0 < len(missing) < len(arm.seeds):
        numbers = ", ".join(map(str, missing))
        yield (
            f"arm {arm.name}: seed{'s' if len(missing) > 1 else ''} {numbers} of {min(arm.seeds)} to {max(arm.seeds)} "
            "missing; runs left out by choice bias the comparison"
        )
