"""Claims as the page shows them: each once, though two tables may print it, and coloured by its verdict alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from replication.catalog.units import gain_interval
from replication.verdicts.rules import WITHDRAWN, WITHHELD

TONES = {
    "reproduced": "good",
    "gain": "good",
    "not reproduced": "bad",
    "loss": "bad",
    "no gain of practical size": "bad",
    WITHDRAWN: "withdrawn",
    WITHHELD: "withdrawn",
}
"""How a verdict is coloured; any other is open."""

Entry = Mapping[str, Any]
"""One claim of ``verdicts.json``."""


def tone(verdict: str) -> str:
    """``good``, ``bad``, ``withdrawn`` or ``open``."""
    return TONES.get(verdict, "open")


def distinct(entries: Iterable[Entry]) -> list[Entry]:
    """The entries, a claim that several tables share once, with ``tables`` naming all of them in order.

    The same claim is: the same two variants of one paper, in the same metric, with the same claimed gain and verdict.
    """
    shown: dict[tuple[Any, ...], dict[str, Any]] = {}
    for entry in entries:
        first = shown.setdefault(_claim(entry), {**entry, "tables": []})
        if entry["table"] not in first["tables"]:
            first["tables"].append(entry["table"])
    return list(shown.values())


def _claim(entry: Entry) -> tuple[Any, ...]:
    column, compared = entry["column"], (entry["row"]["variant"], entry["baseline"]["variant"])
    if None in compared:
        return (entry["id"],)
    judged = entry["claimed"]["gain"], entry["primary"], entry["verdict"], entry["reason"]
    return entry["paper"], *compared, column["metric"], column["criterion"], entry["unit"], *judged


def decisive(entry: Entry) -> Entry | None:
    """The estimate that gave the verdict; None where there is none."""
    estimate: Entry | None = entry["estimates"].get(entry["estimand"])
    return estimate


def interval_of(entry: Entry) -> Entry | None:
    """The interval to show: of the decisive estimate, or of the images alone for a single run."""
    estimate = decisive(entry)
    shown: Entry | None = estimate["interval"] if estimate else entry["image_interval"]
    return shown


def bounds(entry: Entry) -> str:
    """The interval in the paper's unit; empty where there is none."""
    interval = interval_of(entry)
    return gain_interval(interval["low"], interval["high"], entry["unit"]) if interval else ""
