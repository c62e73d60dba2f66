"""What can be said of one table's claims while the runs of the tables after it are still to come. Never written.

The families hold the claims of all tables from the start, those without runs with a p of 1, so that their tests can
only loosen the levels of Holm's procedure later. Later runs can change the spread that runs pool, and controls can
withhold all verdicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from replication.catalog import Catalog, Judging, Protocol
from replication.errors import ConfigError
from replication.results.layout import Layout
from replication.verdicts.document import judge
from replication.verdicts.evidence import Resampler

SCHEMA = "interim_verdicts/2"


def judge_interim(
    catalog: Catalog,
    protocol: Protocol,
    results: Path,
    tables: Sequence[str],
    table: str,
    judging: Judging,
    resample: Resampler | None = None,
) -> dict[str, Any]:
    """``judge`` of ``tables``, without the runs that only those after ``table`` show: the claims of ``table`` alone.

    ``interim`` says so in words; of the controls only those that have run have an entry. Raises ConfigError for a table
    that is not judged or is the last one, and what ``judge`` raises.
    """
    if table not in tables[:-1]:
        raise ConfigError(
            f"--interim {table}: expected one of the tables judged, and not the last: "
            f"{', '.join(tables[:-1]) or 'there is only one'}; to judge all claims leave --interim out"
        )
    document = judge(catalog, protocol, results, tables, judging, resample, until=table)
    controls = document["controls"]
    return document | {
        "interim": _warning(table, tables[tables.index(table) + 1 :], Layout(results, protocol.name)),
        "verdicts": [entry for entry in document["verdicts"] if entry["table"] == table],
        "controls": controls | {"entries": [one for one in controls["entries"] if one["passed"] is not None]},
    }


def _warning(table: str, later: Sequence[str], layout: Layout) -> str:
    return (
        f"INTERIM verdicts of {table}, without the runs that only {', '.join(later)} show. They may still change: "
        "those runs enter the pooled spread, and controls that fail withhold all verdicts. The families "
        "hold the claims of all tables already. Final verdicts, once all runs are finished: the page and "
        f"{layout.verdicts}"
    )
