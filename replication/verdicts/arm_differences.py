"""Differences of arms to the baseline: what an interval is made of, effects, and families of effects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from replication.errors import ConfigError
from replication.verdicts import holm
from replication.verdicts.arms import Arm
from replication.verdicts.blocks import Blocks, blocked_terms, pool_blocks
from replication.verdicts.comparison_records import Bounds, Effect, Options
from replication.verdicts.intervals import (
    Estimand,
    Floats,
    Interval,
    RunVariance,
    Side,
    Terms,
    image_interval,
    p_value,
    t_interval,
    variance_terms,
)
from replication.verdicts.spread import pool

EQUAL_SPREAD_ALPHA = 0.05
"""Level of Bartlett's test, at or below which spreads are not pooled."""
Rows = Callable[[Arm], tuple[Floats, Floats]]
"""Values (k,) and replicates (k, R) of an arm's runs."""


@dataclass(frozen=True)
class Pair:
    """One number of an arm and the baseline: ``terms`` are None where a side has one run."""

    row: Side
    baseline: Side
    terms: Terms | None
    pooled: RunVariance | None


def aligned(arms: Sequence[Arm]) -> tuple[Arm, ...]:
    """Arms with their runs in the order of seeds, which must be the same in all."""
    for arm in arms:
        if arm.seeds is None:
            raise ConfigError(f"paired: the files of arm {arm.name} do not name a seed each; leave --paired out")
        if sorted(arm.seeds) != sorted(arms[0].seeds or ()):
            first = arms[0]
            raise ConfigError(
                f"paired: arm {arm.name} has the seeds {_listed(arm)}, arm {first.name} {_listed(first)}; they must be "
                "the same, or leave --paired out"
            )
    if len(arms[0].runs) < 2:
        raise ConfigError("paired: one run per arm has no spread; at least 2 seeds are needed")
    return tuple(replace(arm, runs=tuple(sorted(arm.runs, key=lambda run: run.seed or 0))) for arm in arms)


def _listed(arm: Arm) -> str:
    return ", ".join(map(str, sorted(arm.seeds or ())))


def pairs_of(arms: Sequence[Arm], rows: Rows, options: Options) -> list[Pair] | None:
    """One number of every arm against the baseline's; None where it is not defined."""
    found = [rows(arm) for arm in arms]
    if any(np.isnan(values).any() for values, _ in found):
        return None
    points = [values for values, _ in found]
    blocks = _blocks(arms, points) if options.paired else None
    pooled = _common_spread(points) if blocks is None else None
    pairs = []
    for place in range(1, len(arms)):
        drawn = [found[side][1] for side in (place, 0)]
        defined = ~np.isnan(np.concatenate(drawn)).any(axis=0)  # without draws in which nothing is to be found
        sides = [Side(points[side], sample[:, defined]) for side, sample in zip((place, 0), drawn, strict=True)]
        paired = None if blocks is None else blocks.difference(arms[place].name, arms[0].name)
        pairs.append(Pair(sides[0], sides[1], _terms(sides[0], sides[1], pooled, paired), pooled))
    return pairs


def _blocks(arms: Sequence[Arm], points: Sequence[Floats]) -> Blocks:
    return pool_blocks({arm.name: own for arm, own in zip(arms, points, strict=True)})


def _common_spread(points: Sequence[Floats]) -> RunVariance | None:
    """The run variance that stands for all arms; None where each keeps its own."""
    if len({len(own) for own in points}) > 1:
        return None
    spread = pool(points)
    return spread.pooled if spread is not None and spread.equal(EQUAL_SPREAD_ALPHA) else None


def _terms(row: Side, baseline: Side, pooled: RunVariance | None, paired: RunVariance | None) -> Terms | None:
    if min(row.runs, baseline.runs) < 2:
        return None
    if paired is not None:
        return blocked_terms(row, baseline, paired)
    return variance_terms(row, baseline, pooled)


def effect_of(name: str, pair: Pair, options: Options, objects: int | None = None) -> Effect:
    """A difference with its intervals; its p is not yet adjusted."""
    intervals: dict[Estimand, Bounds | None] = {"new images": None, "this benchmark": None}
    if pair.terms is None:
        intervals["new images"] = bounds_of(image_interval(pair.row, pair.baseline, options.alpha))
    else:
        intervals = {one: bounds_of(t_interval(pair.terms, one, options.alpha)) for one in pair.terms.estimands}
    mean, other = float(pair.baseline.mean), float(pair.row.mean)
    return Effect(
        name=name,
        baseline=mean,
        arm=other,
        difference=other - mean,
        new_images=intervals["new images"],
        this_benchmark=intervals["this benchmark"],
        p=None if pair.terms is None else float(p_value(pair.terms, options.estimand, 0.0)),
        p_holm=None,
        objects=objects,
    )


def bounds_of(interval: Interval) -> Bounds:
    """An interval as it stands in the records."""
    return Bounds(float(interval.low), float(interval.high))


def family_of(
    arms: Sequence[Arm], asked: dict[str, tuple[Rows, int | None]], options: Options
) -> list[tuple[Effect, ...]]:
    """The effects of one kind, a tuple for every arm but the baseline, Holm's procedure over all of them."""
    pairs = {name: (pairs_of(arms, rows, options), objects) for name, (rows, objects) in asked.items()}
    effects = [
        [
            effect_of(name, found[place], options, objects)
            for name, (found, objects) in pairs.items()
            if found is not None
        ]
        for place in range(len(arms) - 1)
    ]
    p = np.array([1.0 if one.p is None else one.p for own in effects for one in own])
    adjusted = iter(holm.adjusted(p).tolist() if len(p) else ())
    found = []
    for own in effects:
        values = [next(adjusted) for _ in own]
        known = [None if one.p is None else value for one, value in zip(own, values, strict=True)]
        found.append(tuple(replace(one, p_holm=value) for one, value in zip(own, known, strict=True)))
    return found
