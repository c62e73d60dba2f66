"""Whether numbers from elsewhere lie where runs of our own predict them.

Own runs x_1 .. x_k with mean m and variance s^2 predict the mean of n further runs of the same kind at level 1 - alpha:

    m +- (t(1 - alpha/2; df) sqrt(V) + rounding),    V = s^2 (1/k + 1/n) + V_img (1 + I/J)

``rounding`` is half the last printed digit. The second term of V is there only where the n runs were measured on other
images of the same kind: V_img is the variance of m by the draw of our I images, without what images do to single runs,
which s^2 holds already; J is the number of the other images (I where it is unknown). df = (k - 1) (V / V_run)^2 by
Satterthwaite, V_run being the first term, since only s^2 is estimated from few numbers. As t falls with df, the
interval with V_img could be narrower than the one without it; then it is the latter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import stats

from replication.catalog import Catalog, Column, Judging, Protocol
from replication.catalog.units import half_digit, points
from replication.errors import ResultError
from replication.results.files import sha256_file
from replication.results.finished import FinishedRun, read_runs
from replication.results.layout import Layout
from replication.results.metrics import METRICS
from replication.results.schemas import Data, read
from replication.verdicts.evidence import Resampler
from replication.verdicts.intervals import Floats, interaction_variance, run_variance
from replication.verdicts.spread import Prediction

TOLERANCE = 1e-9
"""Relative, for numbers that are computed again, perhaps on another machine."""
CRITERIA = ("iou", "giou")
Word = Literal["reproduced", "not reproduced", "replicated", "not replicated", "no interval"]


def predicted(points: Floats, further: int, alpha: float, images: float = 0.0, rounding: float = 0.0) -> Prediction:
    """Where the mean of ``further`` runs lies, by own runs ``points`` (k,); ``images`` is the second term of V.

    Raises ValueError for a single run.
    """
    runs = len(points)
    of_runs = float(run_variance(points)) * (1 / runs + 1 / further)
    variance = of_runs + images
    df = (runs - 1) * (variance / of_runs) ** 2 if of_runs > 0 else np.inf
    widths = [
        float(stats.t.isf(alpha / 2, own)) * float(np.sqrt(value))
        for own, value in ((df, variance), (runs - 1, of_runs))
    ]
    half = max(widths) + rounding
    mean = float(points.mean())
    return Prediction(mean - half, mean + half, df)


def other_images(replicates: Floats, own: int, other: int | None) -> float:
    """V_img (1 + I/J) from the image bootstrap (k, R) of own runs on ``own`` images; ``other`` None is unknown."""
    drawn = replicates[:, ~np.isnan(replicates).any(axis=0)]
    shared = float(drawn.mean(axis=0).var(ddof=1))
    if len(drawn) > 1:
        shared = max(0.0, shared - float(interaction_variance(drawn)) / len(drawn))
    return shared * (1 + own / (other or own))


@dataclass(frozen=True)
class Agreement:
    """A published or archived number and the prediction interval of ``runs`` own runs, in the number's own unit."""

    source: str
    variant: str
    metric: str
    value: float
    mean: float
    low: float | None
    high: float | None
    runs: int
    images: Literal["the same images", "other images"]
    word: Word
    text: str = ""


def published(
    catalog: Catalog,
    protocol: Protocol,
    runs: list[FinishedRun],
    document: Mapping[str, Any] | None,
    judging: Judging,
    resample: Resampler,
) -> Iterator[Agreement]:
    """Numbers of the papers at their own scale: those on our images as they were judged, test servers' besides."""
    if document is None or not protocol.published_scale:
        return
    for entry in document["numbers"]:
        table = catalog.table(entry["table"])
        column, row = table.column(entry["column"]), table.row(entry["row"])
        yield Agreement(
            source=f"published: {table.id}, {row.label}",
            variant=row.variant or "",
            metric=column.head,
            value=entry["published"],
            mean=entry["mean"],
            low=entry["low"],
            high=entry["high"],
            runs=entry["runs"],
            images="the same images",
            word="replicated" if entry["reproduced"] else "not replicated",
        )
    for table in (catalog.table(name) for name in document["tables"]):
        for row in table.rows if table.test_server else ():
            own = [run for run in runs if run.variant == row.variant]
            for column in table.columns:
                value = row.published[column.id]
                if own and value is not None and column.metric in METRICS:
                    scale = points(column.unit)
                    name = f"published: {table.id}, {row.label}, {table.split}"
                    found = _agreement(name, own, column, value * scale, 1, judging, resample, (None, True))
                    yield _scaled(found, scale, half_digit(column.unit))


def _scaled(one: Agreement, scale: float, rounding: float) -> Agreement:
    """In the unit of the paper, its rounding added."""
    if one.low is None or one.high is None:
        return Agreement(**(asdict(one) | {"value": one.value / scale, "mean": one.mean / scale}))
    low, high, value = one.low / scale - rounding, one.high / scale + rounding, one.value / scale
    word: Word = "replicated" if low <= value <= high else "not replicated"
    changed = {"value": value, "mean": one.mean / scale, "low": low, "high": high, "word": word}
    return Agreement(**(asdict(one) | changed))


def archived(
    protocol: Protocol,
    layout: Layout,
    runs: list[FinishedRun],
    against: Path,
    judging: Judging,
    resample: Resampler,
) -> Iterator[Agreement]:
    """The means of another results folder; of runs that are the same ones, whether their numbers are, too."""
    there = Layout(against, protocol.name)
    others = read_runs(there)
    if not others:
        raise ResultError(f"{there.runs}: no finished run of protocol {protocol.name} to compare with")
    differ = _data_hash(layout, runs) != _data_hash(there, others)
    for variant in dict.fromkeys(run.variant for run in others):
        own, theirs = ([run for run in group if run.variant == variant] for group in (runs, others))
        if not own:
            continue
        made = {sha256_file(run.files.provenance): run for run in own}
        same = [(made[key], run) for run in theirs if (key := sha256_file(run.files.provenance)) in made]
        shared = [run for _, run in same]
        independent = [run for run in theirs if run not in shared]
        for column in _columns():
            yield from _same_runs(column, same, against)
            values = [run.value(column) for run in independent]
            if values and None not in values and None not in [run.value(column) for run in own]:
                mean = float(np.mean([value for value in values if value is not None]))
                images = (independent[0].image_set[0], differ)
                yield _agreement(f"archived: {against}", own, column, mean, len(values), judging, resample, images)


def _columns() -> Iterator[Column]:
    for criterion in CRITERIA:
        for metric in METRICS:
            yield Column.model_validate(
                {"id": metric, "head": f"{metric} ({criterion})", "metric": metric, "criterion": criterion}
                | {"unit": "percent"}
            )


def _data_hash(layout: Layout, runs: list[FinishedRun]) -> str:
    return read(layout.data, Data).data_hash if layout.data.exists() else runs[0].provenance.data_hash


def _same_runs(column: Column, same: list[tuple[FinishedRun, FinishedRun]], against: Path) -> Iterator[Agreement]:
    """Of runs that both folders have: their numbers are those of the same artifacts."""
    for own, other in same:
        one, two = own.value(column), other.value(column)
        if one is None or two is None:
            continue
        equal = bool(np.isclose(one, two, rtol=TOLERANCE, atol=TOLERANCE))
        yield Agreement(
            source=f"archived: {against}, seed {own.seed}",
            variant=own.variant,
            metric=column.head,
            value=two,
            mean=one,
            low=None,
            high=None,
            runs=1,
            images="the same images",
            word="reproduced" if equal else "not reproduced",
            text="the same run",
        )


def _agreement(
    source: str,
    own: list[FinishedRun],
    column: Column,
    value: float,
    further: int,
    judging: Judging,
    resample: Resampler,
    images: tuple[int | None, bool],
) -> Agreement:
    """A number on 0-100 against the prediction of own runs; ``images`` are the others' number, and whether other."""
    values = np.array([run.value(column) for run in own], np.float64)
    other, differ = images
    noise, text = 0.0, "" if len(own) > 1 else "a single run: the variance between runs is unknown"
    if differ and not text:
        drawn = [resample(run, column) for run in own]
        known = [one.replicates for one in drawn if one is not None]
        if len(known) == len(own):
            noise = other_images(np.stack(known), own[0].image_set[0] or 1, other)
        else:
            text = "other images, whose part is unknown without stored detections"
    interval = None if text else predicted(values, further, judging.alpha, noise)
    word: Word = "no interval" if interval is None else "replicated" if interval.holds(value) else "not replicated"
    return Agreement(
        source=source,
        variant=own[0].variant,
        metric=column.head,
        value=value,
        mean=float(values.mean()),
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        runs=len(own),
        images="other images" if differ else "the same images",
        word=word,
        text=text,
    )
