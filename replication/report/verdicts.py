"""The verdicts on the page: an overview with a line a claim, and a forest plot a paper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replication.catalog import Catalog, Protocol, load_judging
from replication.errors import ResultError
from replication.report.cells import Comparison
from replication.report.drawing import Drawing
from replication.report.forest import RELATIVE, Effect, draw_forest
from replication.results.files import read_json
from replication.verdicts import SCHEMA, misjudged, verdicts_path
from replication.verdicts.output import gain_text, interval_text
from replication.verdicts.registered import plan_hash, registered_plan

COLORS = {"good": "#22997a", "bad": "#d9534f", "open": "#5f87a0"}
TONES = {
    "reproduced": "good",
    "gain": "good",
    "not reproduced": "bad",
    "loss": "bad",
    "no gain of practical size": "bad",
}
"""How a verdict is coloured; any other is open."""

MINUS = "\N{MINUS SIGN}"
POINTS = "gain in AP points"
CAPTION = (
    "Claimed gains (open diamonds) and measured ones (dots) with 95% intervals for {estimand} where they can be had. "
    "Green: the verdict is for the claim; red: against it; dotted line: other images alone, which is no verdict."
)


@dataclass(frozen=True)
class Verdicts:
    """What ``verdicts.json`` says of the tables on the page."""

    document: Mapping[str, Any]
    entries: tuple[Mapping[str, Any], ...]
    forests: Mapping[str, Drawing]

    @property
    def primary(self) -> list[Mapping[str, Any]]:
        """The claims judged first, where both rows can run."""
        return [one for one in self.entries if one["primary"] and one["verdict"] != "not measured"]

    @property
    def others(self) -> list[Mapping[str, Any]]:
        """The other claims that have numbers."""
        return [one for one in self.entries if not one["primary"] and one["verdict"] != "not measured"]

    @property
    def unmeasured(self) -> list[Mapping[str, Any]]:
        """Claims that this protocol cannot speak of, with their reasons."""
        return [one for one in self.entries if one["verdict"] == "not measured"]

    @property
    def counts(self) -> dict[str, int]:
        """How many primary claims have which verdict."""
        return dict(Counter(one["verdict"] for one in self.primary))


def read_verdicts(
    catalog: Catalog, protocol: Protocol, results: Path, comparisons: Sequence[Comparison]
) -> Verdicts | None:
    """The verdicts on the tables shown; None when nothing has been judged.

    Raises ResultError when the file is of another protocol or plan, or judges other tables or other runs than the page
    shows.
    """
    path = verdicts_path(protocol, results)
    if not path.exists():
        return None
    document = read_json(path, SCHEMA)
    again = "run `replication verdicts` for the same tables again"
    if document["protocol"] != protocol.name:
        raise ResultError(f"{path}: protocol: is {document['protocol']}, the page is of {protocol.name}; {again}")
    if document["plan_hash"] != plan_hash(registered_plan(catalog, protocol, load_judging())):
        raise ResultError(f"{path}: plan_hash: claims, rules or seeds have changed since the judging; {again}")
    missing = [one.table.id for one in comparisons if one.table.id not in document["tables"]]
    if missing:
        raise ResultError(f"{path}: tables: has no verdicts on {', '.join(missing)}; {again}")
    _check_runs(document, comparisons, path, again)
    tables = [one.table.id for one in comparisons]
    entries = tuple(one for one in document["verdicts"] if one["table"] in tables)
    return Verdicts(document, entries, _forests(document, entries))


def _check_runs(document: Mapping[str, Any], comparisons: Sequence[Comparison], path: Path, again: str) -> None:
    """Of the variants in the tables shown, the runs that were judged must be those that are there."""
    variants = {line.row.variant for one in comparisons for line in one.lines if line.row.variant}
    shown = {(run.variant, run.seed): run for one in comparisons for run in one.runs}
    wrong = misjudged(document, shown.values(), variants)
    if wrong:
        (variant, seed), run = wrong[0], shown.get(wrong[0])
        what = (
            f"{run.metrics_file} is not the one that was judged"
            if run
            else f"{variant} seed {seed} was judged and is no longer there"
        )
        raise ResultError(f"{path}: runs: {what}; {again}")


def tone(verdict: str) -> str:
    """``good``, ``bad`` or ``open``."""
    return TONES.get(verdict, "open")


def decisive(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The answer that gave the verdict; None where there is none."""
    answer: Mapping[str, Any] | None = entry["answers"].get(entry["estimand"])
    return answer


def interval_of(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The interval to show: of the answer, or of the images alone for a single run."""
    answer = decisive(entry)
    shown: Mapping[str, Any] | None = answer["interval"] if answer else entry["image_interval"]
    return shown


def gain(value: float, entry: Mapping[str, Any]) -> str:
    """A gain in the paper's unit, with a true minus sign."""
    return gain_text(value, entry["unit"]).replace("-", MINUS)


def percent(value: float | None) -> str:
    """A relative gain with a true minus sign, what rounds to zero as +0.0; empty for None."""
    return "" if value is None else f"{round(value, 1) + 0.0:+.1f} %".replace("-", MINUS)


def bounds(entry: Mapping[str, Any]) -> str:
    """The interval in the paper's unit."""
    return interval_text(interval_of(entry), entry["unit"]).replace("-", MINUS)


def _forests(document: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> dict[str, Drawing]:
    shown = [one for one in entries if one["primary"] and one["measured"] is not None]
    relative = document["judges"] == "direction"
    caption = CAPTION.format(estimand=document["rules"]["estimand"])
    drawn = {}
    for paper in dict.fromkeys(one["paper"] for one in shown):
        name = f"{paper}_forest"
        lines = effects([one for one in shown if one["paper"] == paper], relative)
        drawn[paper] = Drawing(name, draw_forest(name, lines, RELATIVE if relative else POINTS), caption)
    return drawn


def effects(entries: Sequence[Mapping[str, Any]], relative: bool) -> list[Effect]:
    """A line a claim: in percent of each side's own baseline where the scales differ, else in AP points."""
    return [_effect(entry, relative) for entry in entries]


def _effect(entry: Mapping[str, Any], relative: bool) -> Effect:
    scale = 100.0 if entry["unit"] == "fraction" else 1.0
    interval, claimed, measured = interval_of(entry), entry["claimed"], entry["measured"]
    ends = None
    if interval is not None:
        ends = interval["relative_percent"] if relative else [scale * interval[key] for key in ("low", "high")]
    return Effect(
        label=f"{entry['row']['label']} over {entry['baseline']['label']}\n{entry['column']['head']}, {entry['table']}",
        published=claimed["relative_percent"] if relative else scale * claimed["gain"],
        measured=measured["relative_percent"] if relative else scale * measured["gain"],
        interval=tuple(ends) if ends is not None else None,
        color=COLORS[tone(entry["verdict"])],
        open=decisive(entry) is None,
    )
