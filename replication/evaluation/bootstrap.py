"""Average precision under image weights: the point estimate, slices of a data set, and bootstrap replicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replication.errors import ConfigError
from replication.evaluation.matching import AREAS, Matches
from replication.formats.columns import Floats, Ints
from replication.results.metrics import AREA_OF, THRESHOLD_OF

SUPPORTED = 10
"""Least number of objects of a supported class: resampling underestimates the variance of rarer ones."""
Weights = NDArray[np.uint8]


@dataclass(frozen=True)
class Grid:
    """Recall points at which a curve is read: 0, 1/``intervals``, ..., 1; 0 intervals for the area under all of it."""

    intervals: float

    @cached_property
    def probe(self) -> float:
        """A number that tells, by arithmetic alone, the points that lie above the fraction that they stand for.

        Recall of exactly k/n does not reach such a point: in floating point k * (1/n) is above k / n for ten of COCO's
        101 points (numpy's linspace) and three of VOC's 11 (numpy's arange). Of the whole numbers, the first is taken
        for which rounding makes k * (1/n) * probe * n greater than k * probe for those k and no others.
        """
        if not self.intervals:
            return 0.0
        k = np.arange(self.intervals + 1)
        above = k * (1 / self.intervals) > k / self.intervals
        return next(
            probe
            for probe in map(float, range(1, 10_000))
            if np.array_equal(k * (1 / self.intervals) * probe * self.intervals > k * probe, above)
        )


GRIDS = {"voc07": Grid(10.0), "voc07_giou": Grid(10.0), "voc": Grid(0.0), "voc_giou": Grid(0.0)}
COCO_GRID = Grid(100.0)


@dataclass(frozen=True)
class Replicates:
    """Average precision of one run under many weightings of the images.

    ``precision`` maps an area range to values (B, T, C) in 0..1, NaN where a weighting leaves a class without objects.
    """

    precision: dict[str, Floats]
    thresholds: Floats

    def metric(self, name: str, classes: NDArray[np.bool_] | None = None) -> Floats:
        """One of ``METRICS`` (B,) on 0-100, over the classes with objects; ``classes`` (C,) restricts them."""
        return mean_metric(self.precision[AREA_OF[name]], self.thresholds, name, classes)


def mean_metric(precision: Floats, thresholds: Floats, name: str, classes: NDArray[np.bool_] | None = None) -> Floats:
    """``precision`` (B, T, C) as the metric ``name`` (B,) on 0-100; NaN where no class has objects."""
    at = THRESHOLD_OF.get(name)
    if at is not None:
        precision = precision[:, [_threshold(thresholds, at)]]
    if classes is not None:
        precision = precision[:, :, classes]
    # A class has objects or none whatever the threshold.
    there = ~np.isnan(precision[:, 0])
    total = np.where(there, precision.mean(axis=1), 0.0).sum(axis=1)
    count = there.sum(axis=1)
    return np.where(count > 0, 100 * total / np.maximum(count, 1), np.nan)


def _threshold(thresholds: Floats, value: float) -> int:
    index = int(np.argmin(np.abs(thresholds - value)))
    if abs(thresholds[index] - value) > 1e-9:
        raise ConfigError(f"thresholds {thresholds.tolist()} do not hold {value}")
    return index


def bootstrap(
    matches: Matches,
    replicates: int,
    seed: int = 0,
    areas: Sequence[str] = ("all",),
    clusters: Ints | None = None,
    threads: int | None = None,
) -> Replicates:
    """Average precision of ``replicates`` resamplings of the images, with replacement.

    Which images a replicate holds depends on seed, replicate and number of images alone, so two runs on the same images
    with the same seed are paired, whatever the number of threads. ``clusters`` (I,) numbers groups of images, such as
    scenes, that are drawn as a whole. Raises ConfigError for fewer than one replicate or misfitting clusters.
    """
    if replicates < 1:
        raise ConfigError(f"{replicates} replicates: at least 1 is needed")
    units, member = _units(matches, clusters)
    source = _Drawn(units, member, seed)
    return _weighted(matches, replicates, source, areas, UNBOUNDED, threads)


UNBOUNDED = 2**31 - 1


def weighted(
    matches: Matches,
    weights: Weights,
    areas: Sequence[str] = ("all",),
    max_detections: int = UNBOUNDED,
    threads: int | None = None,
) -> Replicates:
    """Average precision under given whole weights (B, I) of the images, up to 255.

    Zeros leave images out: slices of a data set, leave-one-out; ones are the point estimate. ``max_detections`` counts
    only the best of each image and class.
    """
    weights = np.asarray(weights)
    if weights.ndim != 2 or weights.shape[1] != len(matches.image_ids):
        raise ConfigError(f"weights have shape {weights.shape}, expected (replicates, {len(matches.image_ids)} images)")
    if weights.dtype != np.uint8 and not np.array_equal(weights, weights.astype(np.uint8)):
        raise ConfigError("weights must be whole numbers from 0 to 255")
    return _weighted(matches, len(weights), _Given(weights.astype(np.uint8)), areas, max_detections, threads)


def point(matches: Matches, areas: Sequence[str] = AREAS, max_detections: int = UNBOUNDED) -> Replicates:
    """The estimate itself: one weighting, of ones."""
    ones = np.ones((1, len(matches.image_ids)), np.uint8)
    return weighted(matches, ones, areas, max_detections)


def image_weights(replicates: int, units: int, seed: int, first: int = 0) -> Weights:
    """How often each of ``units`` is drawn (replicates, units), beginning with replicate ``first``."""
    from replication.evaluation import kernels

    weights = np.zeros((units, replicates), np.uint8)
    kernels.draw(seed, first, units, weights)
    return np.ascontiguousarray(weights.T)


def _units(matches: Matches, clusters: Ints | None) -> tuple[int, Ints | None]:
    if clusters is None:
        return len(matches.image_ids), None
    names, member = np.unique(clusters, return_inverse=True)
    if len(member) != len(matches.image_ids):
        raise ConfigError(f"clusters name {len(member)} images, the matches are of {len(matches.image_ids)}")
    return len(names), member.astype(np.int64)


@dataclass(frozen=True)
class _Drawn:
    """Weights (I, lanes) of replicates from their numbers."""

    units: int
    member: Ints | None
    seed: int

    def block(self, first: int, lanes: int) -> Weights:
        from replication.evaluation import kernels

        weights = np.zeros((self.units, lanes), np.uint8)
        kernels.draw(self.seed, first, self.units, weights)
        return weights if self.member is None else weights[self.member]


@dataclass(frozen=True)
class _Given:
    """Weights (I, lanes) from an array (B, I)."""

    weights: Weights

    def block(self, first: int, lanes: int) -> Weights:
        part = np.zeros((self.weights.shape[1], lanes), np.uint8)
        rows = self.weights[first : first + lanes]
        part[:, : len(rows)] = rows.T
        return part


def _weighted(
    matches: Matches,
    replicates: int,
    source: _Drawn | _Given,
    areas: Sequence[str],
    limit: int,
    threads: int | None,
) -> Replicates:
    from replication.evaluation import kernels
    from replication.formats.compiled import in_threads

    grid = GRIDS.get(matches.criterion, COCO_GRID)
    shape = (replicates, len(matches.thresholds), len(matches.class_ids))
    precision = {area: np.full(shape, np.nan) for area in areas}
    if replicates == 1:
        weights = source.block(0, 1)
        for area in areas:
            a, objects = AREAS.index(area), _objects(matches, area)
            found = kernels.Ranked(matches.starts, matches.image, matches.rank, matches.true[a], matches.ignored[a])
            kernels.averages(found, limit, *objects, weights, grid.intervals, grid.probe, precision[area][0])
        return Replicates(precision, matches.thresholds)
    programs = {area: _programs(matches, area, limit) for area in areas}

    def work(first: int) -> None:
        weights = source.block(first, kernels.LANES)
        result = np.empty((shape[1], kernels.LANES))
        for area in areas:
            for c, program in enumerate(programs[area]):
                kernels.sweep(weights, *program, shape[1], grid.intervals, grid.probe, result)
                precision[area][first : first + kernels.LANES, :, c] = result.T[: replicates - first]

    in_threads(work, range(0, replicates, kernels.LANES), threads)
    return Replicates(precision, matches.thresholds)


def _objects(matches: Matches, area: str) -> tuple[Ints, NDArray[np.int32]]:
    """Images of the objects to find in an area range, and where those of each class start."""
    counts = (matches.truth_areas >> AREAS.index(area)) & 1 == 1
    return np.concatenate([[0], np.cumsum(counts)])[matches.truth_starts], matches.truth_image[counts]


def _programs(matches: Matches, area: str, limit: int) -> list[tuple[Any, Any, Any, Any]]:
    """Of each class: what its average precision depends on, and the images of its objects."""
    from replication.evaluation import kernels

    a = AREAS.index(area)
    every = (1 << len(matches.thresholds)) - 1
    truth_starts, images = _objects(matches, area)
    programs = []
    for c in range(len(matches.class_ids)):
        own = slice(matches.starts[c], matches.starts[c + 1])
        parts = kernels.program(
            matches.image[own], matches.rank[own], matches.true[a, own], matches.ignored[a, own], limit, every
        )
        programs.append((*parts, images[truth_starts[c] : truth_starts[c + 1]]))
    return programs
