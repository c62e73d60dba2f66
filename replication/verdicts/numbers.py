"""Published numbers against the prediction interval of our own runs, at the papers' own scale only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from replication.catalog import Catalog, Column, Judging, Protocol, Row, Table
from replication.verdicts.cases import Runs, copies, metric_name
from replication.verdicts.intervals import Floats, RunVariance, run_variance
from replication.verdicts.judge import common_spread
from replication.verdicts.spread import Spread, prediction

ROUNDING = {"fraction": 0.0005, "percent": 0.05}
"""Half of the last digit that the papers print."""


def published_numbers(
    catalog: Catalog,
    tables: Sequence[str],
    protocol: Protocol,
    judging: Judging,
    runs: Runs,
    found: Mapping[str, Spread],
) -> list[dict[str, Any]]:
    """An entry for every published number that our runs can speak of; none at another scale than the papers'.

    Numbers of a test server are of other images than ours and are left out.
    """
    if not protocol.published_scale:
        return []
    entries = []
    for table in (catalog.table(name) for name in tables):
        for row in (row for row in table.rows if row.variant in runs and not table.test_server):
            entries += [_entry(table, row, column, judging, runs, found) for column in table.columns]
    return [entry for entry in entries if entry is not None]


def _entry(
    table: Table, row: Row, column: Column, judging: Judging, runs: Runs, found: Mapping[str, Spread]
) -> dict[str, Any] | None:
    published, group = row.published[column.id], runs[row.variant or ""]
    values = [run.value(column) for run in group] if column.unit in ROUNDING else [None]
    if published is None or None in values or copies(group):
        return None
    scale = 100.0 if column.unit == "fraction" else 1.0
    points = np.array(values, dtype=np.float64) / scale
    variance = _variance(points, common_spread(found, metric_name(column), {row.variant}, judging), scale)
    if variance is None:
        return None
    interval = prediction(points, variance, ROUNDING[column.unit], judging.alpha)
    return {
        "table": table.id,
        "row": row.id,
        "column": column.id,
        "published": published,
        "mean": float(points.mean()),
        "low": interval.low,
        "high": interval.high,
        "df": interval.df,
        "runs": len(points),
        "reproduced": interval.holds(published),
    }


def _variance(points: Floats, spread: Spread | None, scale: float) -> RunVariance | None:
    """The pooled run variance where it may be used, else the variant's own; None for a single run without one."""
    if spread is not None:
        return spread.pooled.scaled(scale)
    return RunVariance(run_variance(points), len(points) - 1) if len(points) > 1 else None
