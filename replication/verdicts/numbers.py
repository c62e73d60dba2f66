"""Published numbers against the prediction interval of our own runs, at the papers' own scale only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from replication.catalog import Catalog, Column, Judging, Protocol, Row, Table
from replication.catalog.units import half_digit, points
from replication.verdicts.evidence import Runs, duplicate_runs, metric_name
from replication.verdicts.intervals import Floats, RunVariance, run_variance
from replication.verdicts.pooling import common_spread
from replication.verdicts.spread import Spread, prediction


def published_numbers(
    catalog: Catalog,
    tables: Sequence[str],
    protocol: Protocol,
    judging: Judging,
    runs: Runs,
    pooled: Mapping[str, Spread],
) -> list[dict[str, Any]]:
    """An entry for every published number that our runs measure; none at another scale than the papers'.

    Numbers of a test server are of other images than ours and are left out.
    """
    if not protocol.published_scale:
        return []
    entries = []
    for table in (catalog.table(name) for name in tables):
        for row in (row for row in table.rows if row.variant in runs and not table.test_server):
            entries += [_entry(table, row, column, judging, runs, pooled) for column in table.columns]
    return [entry for entry in entries if entry is not None]


def _entry(
    table: Table, row: Row, column: Column, judging: Judging, runs: Runs, pooled: Mapping[str, Spread]
) -> dict[str, Any] | None:
    published, group = row.published[column.id], runs[row.variant or ""]
    values = [run.value(column) for run in group] if not column.lower_is_better else [None]
    if published is None or None in values or duplicate_runs(group):
        return None
    scale = points(column.unit)
    measured = np.array(values, dtype=np.float64) / scale
    variance = _variance(measured, common_spread(pooled, metric_name(column), {row.variant}, judging), scale)
    if variance is None:
        return None
    interval = prediction(measured, variance, half_digit(column.unit), judging.alpha)
    return {
        "table": table.id,
        "row": row.id,
        "column": column.id,
        "published": published,
        "mean": float(measured.mean()),
        "low": interval.low,
        "high": interval.high,
        "df": interval.df,
        "runs": len(measured),
        "reproduced": interval.holds(published),
    }


def _variance(measured: Floats, spread: Spread | None, scale: float) -> RunVariance | None:
    """The pooled run variance where it may be used, else the variant's own; None for a single run without one."""
    if spread is not None:
        return spread.pooled.scaled(scale)
    return RunVariance(run_variance(measured), len(measured) - 1) if len(measured) > 1 else None
