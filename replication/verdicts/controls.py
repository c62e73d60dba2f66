"""Controls: rows whose outcome is known beforehand, judged like claims. A protocol that misses one is not fit to judge.

A control is judged by its direction, in the first column of its table and by the rule of the claims; the controls of
a paper are a family of their own under Holm's procedure. ``loss`` passes when a loss is found, ``equal`` when
neither a gain nor a loss is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from replication.catalog import Catalog, Claim, Judging, Protocol, Row
from replication.verdicts.evidence import Question, Resampler, Runs, gather_runs
from replication.verdicts.judge import JudgedClaim, Rules, judge_claims
from replication.verdicts.output import EXPECTED, verdict_entry
from replication.verdicts.rules import WITHHELD
from replication.verdicts.spread import Spread

NONE, NOT_RUN, FIT, UNFIT = "none planned", "not run yet", "passed", "not fit to judge"
"""States of a protocol's controls."""


@dataclass(frozen=True)
class Controls:
    """The controls of a protocol: ``state``, why in words, and an entry for each."""

    state: str
    reason: str
    entries: tuple[dict[str, Any], ...]

    @property
    def document(self) -> dict[str, Any]:
        """As in ``verdicts.json``."""
        return {"state": self.state, "reason": self.reason, "entries": list(self.entries)}

    @property
    def note(self) -> str:
        """What stands beside the verdicts; empty where all controls passed or there are none."""
        return self.reason if self.state in (UNFIT, NOT_RUN) else ""


def control_tables(catalog: Catalog, protocol: Protocol, tables: Sequence[str]) -> list[str]:
    """The tables with controls among those that are judged and those that the protocol plans."""
    chosen = dict.fromkeys([*protocol.tables, *tables])
    known = {table.id for paper in catalog.papers.values() for table in paper.tables}
    return [name for name in chosen if name in known and any(row.control for row in catalog.table(name).rows)]


def control_questions(catalog: Catalog, protocol: Protocol, tables: Sequence[str]) -> list[Question]:
    """What is asked of each control that the protocol runs."""
    asked = []
    for paper in catalog.papers.values():
        for table in (paper.table(name) for name in control_tables(catalog, protocol, tables) if _has(paper, name)):
            for row in (row for row in table.rows if row.control and _runs(protocol, table.id, row)):
                claim = Claim(
                    id=f"{table.id}-{row.id}", paper=paper.id, table=table.id, baseline=row.baseline or "",
                    row=row.id, column=table.columns[0].id, gain=0.0, primary=True,
                )  # fmt: skip
                asked.append(Question(paper, table, claim))
    return asked


def _has(paper: Any, table: str) -> bool:
    return any(one.id == table for one in paper.tables)


def _runs(protocol: Protocol, table: str, row: Row) -> bool:
    """Of the protocol's own tables the backbones that it runs; of a table that was asked for beside them all."""
    own = table in protocol.tables
    return not own or protocol.run_backbones is None or row.backbone in protocol.run_backbones


def judge_controls(
    asked: Sequence[Question],
    protocol: Protocol,
    judging: Judging,
    runs: Runs,
    pooled: Mapping[str, Spread],
    resample: Resampler,
) -> Controls:
    """All controls, and what they say of the protocol."""
    if not asked:
        return Controls(NONE, "the protocol has no controls", ())
    gathered = [gather_runs(question, protocol, judging, runs, resample) for question in asked]
    apart = {question.row.variant or "" for question in asked}
    rules = Rules(judging, size=False)
    entries = tuple(_entry(one, rules) for one in judge_claims(gathered, rules, runs, pooled, apart))
    failed = [entry for entry in entries if entry["passed"] is False]
    waiting = [entry for entry in entries if entry["passed"] is None]
    if failed:
        missed = "; ".join(
            f"{_name(one)}: {EXPECTED[one['expected']]} expected, {one['verdict']} found" for one in failed
        )
        return Controls(UNFIT, f"controls failed: {missed}", entries)
    if waiting:
        missing = "; ".join(f"{_name(one)}, {one['reason']}" for one in waiting)
        return Controls(NOT_RUN, f"controls not run yet: {missing}", entries)
    return Controls(FIT, "all controls passed", entries)


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry["row"]["label"])


def _entry(judged: JudgedClaim, rules: Rules) -> dict[str, Any]:
    expected = judged.evidence.question.row.control
    entry = verdict_entry(judged, rules)
    firm = entry["verdict"] if entry["verdict"] in ("gain", "loss") else None
    passed = None if entry["estimand"] is None else firm == ("loss" if expected == "loss" else None)
    kept = {key: value for key, value in entry.items() if key not in ("claimed", "primary", "supported_classes")}
    return kept | {"qualifiers": [], "expected": expected, "passed": passed}


def withhold(entries: Sequence[dict[str, Any]], controls: Controls) -> list[dict[str, Any]]:
    """The entries, all verdicts withheld where the protocol is not fit to judge; the numbers stay."""
    if controls.state != UNFIT:
        return list(entries)
    return [_withheld(entry, controls) if entry["estimates"] else entry for entry in entries]


def _withheld(entry: dict[str, Any], controls: Controls) -> dict[str, Any]:
    blank = {"verdict": WITHHELD, "qualifiers": []}
    estimates = {name: estimate | blank for name, estimate in entry["estimates"].items()}
    return entry | blank | {"reason": f"{UNFIT}: {controls.reason}", "estimates": estimates}
