"""Claims and what may be said of them, in words.

Of a claim whose verdict is withheld, withdrawn or not testable no number is given: it is no result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from replication.catalog.units import MINUS, gain, gain_interval, signed
from replication.report.claims import decisive
from replication.verdicts.rules import UNTESTED, WITHDRAWN, WITHHELD

NO_RESULT = (WITHHELD, WITHDRAWN, *UNTESTED, "blocked")
"""Verdicts beside which no measured number stands."""

FOUND = {
    "reproduced": "the claimed gain is reproduced",
    "not reproduced": "the claimed gain is not reproduced",
    "inconclusive": "the runs do not decide",
    "gain": "a gain is found",
    "loss": "a loss is found",
    "no gain of practical size": "no gain of practical size is found",
    "single run": "there is one run of a variant only, and so no verdict",
}
MISSING = {
    WITHHELD: "the verdict is withheld",
    WITHDRAWN: "the verdict is withdrawn",
    "blocked": "the claim is not judged",
    **dict.fromkeys(UNTESTED, "the claim cannot be tested here"),
}
UNITS = {"fraction": "", "percent": " points", "ms": " ms"}


@dataclass(frozen=True)
class Statement:
    """One entry of ``verdicts.json``, in words; ``measured`` and ``interval`` are empty where no result is stated."""

    claim: str
    subject: str
    metric: str
    published: str
    measured: str
    interval: str
    runs: str
    verdict: str
    sentence: str
    primary: bool


def statement(entry: Mapping[str, Any], level: float) -> Statement:
    """What may be said of an entry whose intervals are at ``level``, e.g. 0.95."""
    unit, verdict = entry["unit"], entry["verdict"]
    subject = f"{entry['row']['label']} over {entry['baseline']['label']} ({entry['table']}, {entry['backbone']})"
    silent = verdict in NO_RESULT or entry["measured"] is None
    estimate = None if silent else decisive(entry)
    measured = "" if silent else gain(entry["measured"]["gain"], unit)
    bounds = estimate["interval"] if estimate else None
    interval = gain_interval(bounds["low"], bounds["high"], unit) if bounds else ""
    runs = entry["runs"]
    published = signed(entry["claimed"]["gain"], unit, minus=MINUS)
    claimed = f"{subject}, published {published}{UNITS[unit]} in {entry['column']['head']}"
    return Statement(
        claim=entry["id"],
        subject=subject,
        metric=entry["column"]["head"],
        published=published,
        measured=measured,
        interval=interval,
        runs=f"{runs['row']} and {runs['baseline']}",
        verdict=", ".join([verdict, *entry["qualifiers"]]),
        sentence=f"{claimed}: {_finding(entry)}{_numbers(measured, interval, entry, level)}.",
        primary=entry["primary"],
    )


def _finding(entry: Mapping[str, Any]) -> str:
    """The verdict in words with what qualifies it; of one that gives no result the reason."""
    verdict, reason = entry["verdict"], entry["reason"].rstrip(". ")
    if verdict in MISSING:
        return f"{MISSING[verdict]} ({reason})" if reason else MISSING[verdict]
    return "; ".join([FOUND[verdict], *entry["qualifiers"]]) + (f" ({reason})" if reason else "")


def _numbers(measured: str, interval: str, entry: Mapping[str, Any], level: float) -> str:
    if not measured:
        return ""
    unit, runs = UNITS[entry["unit"]], entry["runs"]
    text = f"; measured {measured}{unit}"
    if interval:
        text += f", {100 * level:g}% interval {interval}{unit} for {entry['estimand']}"
    return f"{text}, with {runs['row']} and {runs['baseline']} runs"
