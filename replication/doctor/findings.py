"""Findings of the doctor, and their two forms: text for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Level = Literal["ok", "warning", "error"]
Area = Literal["environment", "data", "variants", "weights"]

SHOWN = 50  # findings of one kind in one folder; the rest are counted


@dataclass(frozen=True)
class Finding:
    """One thing looked at: ``subject`` is a file, folder or package; ``action`` what to do, empty when ``ok``."""

    level: Level
    area: Area
    subject: str
    message: str
    action: str = ""


def exit_code(findings: Sequence[Finding]) -> int:
    """2 when there is an error, else 0: warnings do not fail."""
    return 2 if any(finding.level == "error" for finding in findings) else 0


def findings_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """The findings as schema ``doctor/1``."""
    counts = {level: sum(finding.level == level for finding in findings) for level in ("ok", "warning", "error")}
    return {"schema": "doctor/1", "counts": counts, "findings": [asdict(finding) for finding in findings]}


def findings_table(findings: Sequence[Finding], verbose: bool = False) -> str:
    """The findings as text: errors, then warnings, each with its action on a second line, and the counts at the end.

    Passed checks are shown when ``verbose``, below the problems.
    """
    levels = ("error", "warning", "ok") if verbose else ("error", "warning")
    shown = [finding for level in levels for finding in findings if finding.level == level]
    width = max((len(finding.area) for finding in shown), default=0)
    lines = []
    for finding in shown:
        lines.append(f"{finding.level:<7}  {finding.area:<{width}}  {finding.subject}: {finding.message}")
        if finding.action:
            lines.append(f"{'':<7}  {'':<{width}}  -> {finding.action}")
    counts = findings_json(findings)["counts"]
    hint = "" if verbose or not counts["ok"] else " (shown with -v)"
    lines.append(f"{counts['error']} errors, {counts['warning']} warnings, {counts['ok']} ok{hint}")
    return "\n".join(lines)


def shorten(findings: Sequence[Finding]) -> list[Finding]:
    """At most SHOWN findings that ask for the same action in the same folder, then one that counts the rest."""
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        key = (finding.level, finding.action, str(Path(finding.subject).parent) if finding.action else finding.subject)
        groups.setdefault(key, []).append(finding)
    kept: list[Finding] = []
    for (_, _, folder), group in groups.items():
        kept += group[:SHOWN]
        if len(group) > SHOWN:
            rest = f"{len(group) - SHOWN} more findings of this kind"
            kept.append(Finding(group[0].level, group[0].area, folder, rest, group[0].action))
    return kept
