"""The verdicts on the page: an overview with one line per claim, and one forest plot per paper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from replication.catalog import Catalog, Paper, Protocol, Row, load_judging, withdrawn
from replication.catalog.units import points
from replication.errors import ResultError
from replication.report.cells import Comparison
from replication.report.claims import Entry, decisive, distinct, interval_of, tone
from replication.report.drawing import Drawing
from replication.report.forest import RELATIVE, Effect, draw_forest
from replication.report.summary import PaperSummary, opening, summarize
from replication.results.files import read_json, reading
from replication.results.layout import Layout
from replication.verdicts import SCHEMA, misjudged
from replication.verdicts.controls import UNFIT
from replication.verdicts.output import withdraw
from replication.verdicts.registered import check_plan
from replication.verdicts.rules import NOT_TESTABLE, NOT_TESTABLE_HERE, UNTESTED, WITHDRAWN, WITHHELD

COLORS = {"good": "#22997a", "bad": "#d9534f", "open": "#5f87a0", "withdrawn": "#9a9a9a"}
POINTS = "gain in AP points"
CAPTION = (
    "Gains claimed (open diamonds) and measured (dots), one line per claim, with intervals for {estimand} where there "
    "are any. Thin line: the 95% interval of the claim by itself; thick band: the wider interval at the level that "
    "Holm's procedure leaves it among all primary claims of the paper, by which the verdict is given. Colour follows "
    "the verdict only. Green: it supports the claim; red: it is against it; blue: neither; grey: withdrawn or "
    "withheld. Dotted line: an interval of the images alone, which gives no verdict. {note}"
)
SIZE_NOTE = "Short upright line: half of the claimed gain, which the thick band is judged against."
DIRECTION_NOTE = (
    "The thick band tells gain from loss; that there is no gain of practical size is judged by an interval of a second "
    "family, which is not drawn."
)


@dataclass(frozen=True)
class Verdicts:
    """What ``verdicts.json`` says of the tables on the page."""

    document: Mapping[str, Any]
    entries: tuple[Mapping[str, Any], ...]
    forests: Mapping[str, Drawing]
    shown: Mapping[str, Paper]

    @cached_property
    def summaries(self) -> list[PaperSummary]:
        """What the page opens with, for each paper of which it has claims."""
        protocol = self.document["protocol"]
        return [
            summarize(paper, self.of_paper(name), protocol) for name, paper in self.shown.items() if name in self.papers
        ]

    @property
    def opening(self) -> str:
        """The first sentence of the page."""
        return opening(self.summaries, self.claims)

    @property
    def titles(self) -> dict[str, str]:
        """Titles of the papers by id."""
        return {name: paper.title for name, paper in self.shown.items()}

    @cached_property
    def claims(self) -> list[Entry]:
        """All primary claims, one that several tables share once."""
        return distinct(one for one in self.entries if one["primary"])

    @property
    def primary(self) -> list[Entry]:
        """The primary claims that the protocol can test."""
        return [one for one in self.claims if one["verdict"] not in UNTESTED]

    @property
    def others(self) -> list[Entry]:
        """The secondary claims that the protocol can test."""
        return distinct(one for one in self.entries if not one["primary"] and one["verdict"] not in UNTESTED)

    def of_paper(self, paper: str) -> list[Entry]:
        """The primary claims of one paper."""
        return [one for one in self.claims if one["paper"] == paper]

    def cell_tone(self, table: str, row: Row, column: str) -> str:
        """The colour of a row's measured gain over its own baseline: that of a verdict on just it, else none."""
        compared = table, row.id, row.baseline, column
        return self._tones.get(compared, "open")

    @cached_property
    def _tones(self) -> dict[tuple[str, str, str | None, str], str]:
        return {
            (one["table"], one["row"]["id"], one["baseline"]["id"], one["column"]["id"]): tone(one["verdict"])
            for one in self.entries
        }

    @property
    def untestable(self) -> list[Entry]:
        """Claims that cannot be tested, with their reasons."""
        return distinct(one for one in self.entries if one["verdict"] == NOT_TESTABLE)

    @property
    def untestable_here(self) -> dict[str, list[str]]:
        """By the protocol's reason the primary claims that it cannot test, in words."""
        return _by_reason(one for one in self.claims if one["verdict"] == NOT_TESTABLE_HERE)

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
        """How many primary claims have which verdict, those that cannot be tested too; first the decided ones."""
        counts = Counter(one["verdict"] for one in self.claims)
        return dict(sorted(counts.items(), key=lambda item: list(COLORS).index(tone(item[0]))))


def _by_reason(entries: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    claims: dict[str, dict[str, None]] = {}
    for entry in entries:
        words = f"{', '.join(entry['tables'])}, {entry['row']['label']} over {entry['baseline']['label']}"
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
        papers = {comparison.paper.id: comparison.paper for comparison in comparisons}
        return Verdicts(document, entries, _forests(document, entries), papers)


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


def _forests(document: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> dict[str, Drawing]:
    shown = distinct(one for one in entries if one["primary"] and one["measured"] is not None)
    relative = document["judges"] == "direction"
    caption = CAPTION.format(estimand=document["rules"]["estimand"], note=DIRECTION_NOTE if relative else SIZE_NOTE)
    drawn = {}
    for paper in dict.fromkeys(one["paper"] for one in shown):
        name = f"{paper}_forest"
        lines = effects([one for one in shown if one["paper"] == paper], relative)
        drawn[paper] = Drawing(name, draw_forest(name, lines, RELATIVE if relative else POINTS), caption)
    return drawn


def effects(entries: Sequence[Entry], relative: bool) -> list[Effect]:
    """One line per claim: in percent of each side's own baseline where the scales differ, else in AP points."""
    return [_effect(entry, relative) for entry in entries]


def _effect(entry: Entry, relative: bool) -> Effect:
    claimed, measured, estimate = entry["claimed"], entry["measured"], decisive(entry)
    scale = points(entry["unit"])
    taken_back = [entry["verdict"]] if entry["verdict"] in (WITHDRAWN, WITHHELD) else []
    where = ", ".join([entry["column"]["head"], *entry.get("tables", [entry["table"]]), *taken_back])
    return Effect(
        label=f"{entry['row']['label']} over {entry['baseline']['label']}\n{where}",
        published=claimed["relative_percent"] if relative else scale * claimed["gain"],
        measured=measured["relative_percent"] if relative else scale * measured["gain"],
        interval=_ends(interval_of(entry), scale, relative),
        family=_ends(estimate["cut_test"]["interval"], scale, relative) if estimate else None,
        cut=None if relative else scale * claimed["cut"],
        color=COLORS[tone(entry["verdict"])],
        open=estimate is None,
    )


def _ends(interval: Mapping[str, Any] | None, scale: float, relative: bool) -> tuple[float, float] | None:
    """Both bounds on the plot's axis."""
    if interval is None or (relative and interval["relative_percent"] is None):
        return None
    low, high = interval["relative_percent"] if relative else (scale * interval[key] for key in ("low", "high"))
    return low, high
