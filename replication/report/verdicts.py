"""The verdicts on the page: an overview with one line per claim, and one forest plot per paper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replication.catalog import Catalog, Protocol, load_judging, withdrawn
from replication.catalog.units import gain_interval, points
from replication.errors import ResultError
from replication.report.cells import Comparison
from replication.report.drawing import Drawing
from replication.report.forest import RELATIVE, Effect, draw_forest
from replication.results.files import read_json, reading
from replication.results.layout import Layout
from replication.verdicts import SCHEMA, misjudged
from replication.verdicts.controls import UNFIT
from replication.verdicts.output import withdraw
from replication.verdicts.registered import check_plan
from replication.verdicts.rules import NOT_TESTABLE, NOT_TESTABLE_HERE, UNTESTED, WITHDRAWN, WITHHELD

COLORS = {"good": "#22997a", "bad": "#d9534f", "open": "#5f87a0", "withdrawn": "#9a9a9a"}
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

POINTS = "gain in AP points"
CAPTION = (
    "Claimed gains (open diamonds) and measured ones (dots) with 95% intervals for {estimand} where there are any. "
    "Green: the verdict supports the claim; red: it is against it; grey: withdrawn or withheld; dotted line: an "
    "interval of the images alone, which gives no verdict."
)


@dataclass(frozen=True)
class Verdicts:
    """What ``verdicts.json`` says of the tables on the page."""

    document: Mapping[str, Any]
    entries: tuple[Mapping[str, Any], ...]
    forests: Mapping[str, Drawing]

    @property
    def primary(self) -> list[Mapping[str, Any]]:
        """The primary claims that the protocol can test."""
        return [one for one in self.entries if one["primary"] and one["verdict"] not in UNTESTED]

    @property
    def others(self) -> list[Mapping[str, Any]]:
        """The secondary claims that the protocol can test."""
        return [one for one in self.entries if not one["primary"] and one["verdict"] not in UNTESTED]

    @property
    def untestable(self) -> list[Mapping[str, Any]]:
        """Claims that cannot be tested, with their reasons."""
        return [one for one in self.entries if one["verdict"] == NOT_TESTABLE]

    @property
    def untestable_here(self) -> dict[str, list[str]]:
        """By the protocol's reason the primary claims that it cannot test, in words."""
        return _by_reason(one for one in self.entries if one["primary"] and one["verdict"] == NOT_TESTABLE_HERE)

    @property
    def unfit(self) -> str:
        """Why all verdicts are withheld; empty where they are not."""
        controls = self.document["controls"]
        return str(controls["reason"]) if controls["state"] == UNFIT else ""

    @property
    def withdrawn(self) -> dict[str, list[str]]:
        """By reason the primary claims whose verdicts are withdrawn, in words."""
        return _by_reason(one for one in self.primary if one["verdict"] == WITHDRAWN)

    @property
    def papers(self) -> set[str]:
        """Ids of the papers of the tables on the page."""
        return {entry["paper"] for entry in self.entries}

    @property
    def counts(self) -> dict[str, int]:
        """How many primary claims have which verdict."""
        return dict(Counter(one["verdict"] for one in self.primary))


def _by_reason(entries: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    claims: dict[str, dict[str, None]] = {}
    for entry in entries:
        words = f"{entry['table']}, {entry['row']['label']} over {entry['baseline']['label']}"
        claims.setdefault(entry["reason"], {})[words] = None
    return {reason: list(words) for reason, words in claims.items()}


def read_verdicts(
    catalog: Catalog, protocol: Protocol, results: Path, comparisons: Sequence[Comparison]
) -> Verdicts | None:
    """The verdicts on the tables shown; None when nothing has been judged.

    Raises ResultError when the file is of another protocol, or when a table shown was not judged, or by other claims,
    rules or runs than those that are there; what else the file says does not matter.
    """
    layout = Layout(results, protocol.name)
    path = layout.verdicts
    if not path.exists():
        return None
    document = read_json(path, SCHEMA)
    again = "run `replication verdicts` for the same tables again"
    with reading(path, "verdicts"):
        if document["protocol"] != protocol.name:
            raise ResultError(f"{path}: protocol: is {document['protocol']}, the page is of {protocol.name}; {again}")
        tables = [comparison.table.id for comparison in comparisons]
        check_plan(layout, document, catalog, protocol, load_judging(), tables)
        _check_runs(document, comparisons, path, again)
        shown = [entry for entry in document["verdicts"] if entry["table"] in tables]
        entries = tuple(withdraw(shown, withdrawn(catalog, protocol)))
        return Verdicts(document, entries, _forests(document, entries))


def _check_runs(document: Mapping[str, Any], comparisons: Sequence[Comparison], path: Path, again: str) -> None:
    """Of the variants in the tables shown, the runs that were judged must be those that are there."""
    variants = {line.row.variant for one in comparisons for line in one.lines if line.row.variant}
    shown = {(run.variant, run.seed): run for one in comparisons for run in one.runs}
    wrong = misjudged(document, shown.values(), variants)
    if wrong:
        (variant, seed), run = wrong[0], shown.get(wrong[0])
        what = (
            f"{run.files.metrics} is not the one that was judged"
            if run
            else f"{variant} seed {seed} was judged and is no longer there"
        )
        raise ResultError(f"{path}: runs: {what}; {again}")


def tone(verdict: str) -> str:
    """``good``, ``bad``, ``withdrawn`` or ``open``."""
    return TONES.get(verdict, "open")


def decisive(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The estimate that gave the verdict; None where there is none."""
    estimate: Mapping[str, Any] | None = entry["estimates"].get(entry["estimand"])
    return estimate


def interval_of(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The interval to show: of the decisive estimate, or of the images alone for a single run."""
    estimate = decisive(entry)
    shown: Mapping[str, Any] | None = estimate["interval"] if estimate else entry["image_interval"]
    return shown


def bounds(entry: Mapping[str, Any]) -> str:
    """The interval in the paper's unit; empty where there is none."""
    interval = interval_of(entry)
    return gain_interval(interval["low"], interval["high"], entry["unit"]) if interval else ""


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
    """One line per claim: in percent of each side's own baseline where the scales differ, else in AP points."""
    return [_effect(entry, relative) for entry in entries]


def _effect(entry: Mapping[str, Any], relative: bool) -> Effect:
    scale = points(entry["unit"])
    interval, claimed, measured = interval_of(entry), entry["claimed"], entry["measured"]
    taken_back = [entry["verdict"]] if entry["verdict"] in (WITHDRAWN, WITHHELD) else []
    where = ", ".join([entry["column"]["head"], entry["table"], *taken_back])
    ends = None
    if interval is not None:
        ends = interval["relative_percent"] if relative else [scale * interval[key] for key in ("low", "high")]
    return Effect(
        label=f"{entry['row']['label']} over {entry['baseline']['label']}\n{where}",
        published=claimed["relative_percent"] if relative else scale * claimed["gain"],
        measured=measured["relative_percent"] if relative else scale * measured["gain"],
        interval=tuple(ends) if ends is not None else None,
        color=COLORS[tone(entry["verdict"])],
        open=decisive(entry) is None,
    )
