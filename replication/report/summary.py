"""What the page opens with: per paper, in sentences, what was claimed and measured, and what can and cannot be said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from replication.catalog import Catalog, Paper, Protocol, withdrawn
from replication.catalog.units import MINUS, gain, percent, signed
from replication.report.claims import Entry, bounds, decisive, distinct, tone
from replication.results.files import read_json
from replication.results.layout import Layout
from replication.verdicts import SCHEMA
from replication.verdicts.output import withdraw
from replication.verdicts.rules import NOT_TESTABLE, NOT_TESTABLE_HERE, WITHDRAWN, WITHHELD

HEADLINES = 3
_DECIDED = {
    "reproduced": ("is reproduced in size", "are reproduced in size"),
    "gain": ("shows a gain", "show a gain"),
    "not reproduced": ("is not reproduced", "are not reproduced"),
    "loss": ("shows a loss", "show a loss"),
    "no gain of practical size": ("shows no gain of practical size", "show no gain of practical size"),
}
_UNDECIDED = {
    "single run": ("has a single run, which gives no verdict", "have a single run, which gives no verdict"),
    "blocked": ("could not be judged", "could not be judged"),
    WITHHELD: ("has its verdict withheld", "have their verdicts withheld"),
    WITHDRAWN: ("has its verdict withdrawn", "have their verdicts withdrawn"),
    NOT_TESTABLE: ("cannot be tested", "cannot be tested"),
    NOT_TESTABLE_HERE: ("cannot be tested here", "cannot be tested here"),
}


@dataclass(frozen=True)
class PaperSummary:
    """Sentences on the primary claims of one paper; each of the four is one text."""

    paper: Paper
    claimed: str
    measured: str
    can: str
    cannot: str


def summarize(paper: Paper, entries: Sequence[Entry], protocol: str) -> PaperSummary:
    """The summary of the paper's primary claims, each given once."""
    return PaperSummary(paper, _claimed(entries), _measured(entries), _can(entries), _cannot(entries, protocol))


def headlines(catalog: Catalog, protocol: Protocol, results: Path, tables: Sequence[str]) -> list[str]:
    """For the terminal: per paper its largest claim that was measured, at most three; none before judging."""
    path = Layout(results, protocol.name).verdicts
    if not path.exists():
        return []
    entries = [one for one in read_json(path, SCHEMA)["verdicts"] if one["primary"] and one["table"] in tables]
    shown = distinct(withdraw(entries, withdrawn(catalog, protocol)))
    papers = dict.fromkeys(one["paper"] for one in shown)
    largest = [_largest([one for one in shown if one["paper"] == name]) for name in papers]
    return [_headline(one) for one in largest[:HEADLINES]]


def _headline(entry: Entry) -> str:
    text = f"{entry['table']}: {compared(entry)}: {entry['verdict']}; claimed {printed(entry)}"
    return f"{text}, not measured" if entry["measured"] is None else f"{text}, measured {found(entry)}{_and(entry)}"


def compared(entry: Entry) -> str:
    """The two rows and the column in words."""
    return f"{entry['row']['label']} over {entry['baseline']['label']}, {entry['column']['head']}"


def printed(entry: Entry) -> str:
    """The claimed gain with the paper's decimals."""
    return signed(entry["claimed"]["gain"], entry["unit"], minus=MINUS)


def found(entry: Entry) -> str:
    """The measured gain, with one decimal more."""
    return gain(entry["measured"]["gain"], entry["unit"])


def _largest(entries: Sequence[Entry]) -> Entry:
    """The largest claimed gain, of the measured ones where there are any."""
    measured = [one for one in entries if one["measured"] is not None]
    return max(measured or entries, key=lambda one: one["claimed"]["relative_percent"] or 0.0)


def _claimed(entries: Sequence[Entry]) -> str:
    if not entries:
        return "No primary claim of the tables shown."
    largest = _largest(entries)
    amount = f"{compared(largest)}: {printed(largest)}{_relative(largest, 'claimed')}."
    if len(entries) == 1:
        return amount
    which = "the largest that was measured is" if largest["measured"] else "the largest is"
    return f"{len(entries)} gains of {_span(entries, printed, lambda one: one['claimed']['gain'])}; {which} {amount}"


def _measured(entries: Sequence[Entry]) -> str:
    measured = [one for one in entries if one["measured"] is not None]
    if not measured:
        return "Nothing of it yet."
    one = _largest(entries)
    interval, runs = bounds(one), one["runs"]
    facts = [f"95% interval {interval}" if interval else "", f"{runs['row']} and {runs['baseline']} runs"]
    rest = f" {len(measured)} of {len(entries)} claims were measured." if len(entries) > 1 else ""
    where = "For that one " if len(entries) > 1 else ""
    return f"{where}{found(one)}{_relative(one, 'measured')}; {'; '.join(filter(None, facts))}.{rest}"


def _can(entries: Sequence[Entry]) -> str:
    """The verdicts that decide something, each claim with its number."""
    sentences = []
    for verdict, words in _DECIDED.items():
        own = [one for one in entries if one["verdict"] == verdict]
        if own:
            each = "; ".join(f"{compared(one)}, {found(one)}{_and(one)}" for one in own)
            sentences.append(f"{_count(own, entries)} {_agree(own, words)}: {each}.")
    return " ".join(sentences) or "Nothing: none of the claims is decided."


def _and(entry: Entry) -> str:
    interval = bounds(entry)
    return f" ({interval})" if interval else ""


def _cannot(entries: Sequence[Entry], protocol: str) -> str:
    sentences = []
    known = _DECIDED.keys() | _UNDECIDED.keys()
    for verdict in dict.fromkeys(one["verdict"] for one in entries if one["verdict"] not in known):
        sentences.append(_open([one for one in entries if one["verdict"] == verdict], entries))
    for verdict, words in _UNDECIDED.items():
        own = [one for one in entries if one["verdict"] == verdict]
        if own:
            reasons = "; ".join(dict.fromkeys(_first(one["reason"]) for one in own if one["reason"]))
            sentences.append(f"{_count(own, entries)} {_agree(own, words)}{f': {reasons}' if reasons else ''}.")
    return " ".join(sentences) or f"Nothing is left open under protocol {protocol}."


def _open(own: Sequence[Entry], entries: Sequence[Entry]) -> str:
    """Of inconclusive claims: the range of what was measured, and of what these runs could have detected."""
    text = f"{_count(own, entries)} {_agree(own, ('is', 'are'))} {own[0]['verdict']}"
    numbers = [f"measured {_span(own, found, lambda one: one['measured']['gain'])}"]
    estimated = [one for one in own if decisive(one)]
    if estimated:
        numbers.append(f"minimum detectable gain {_span(estimated, _detectable, _detectable_gain)}")
    before = sum("before Holm" in " ".join(one["qualifiers"]) for one in own)
    if before:
        numbers.append(f"{before} significant only before Holm correction")
    return f"{text} ({'; '.join(numbers)})."


def _detectable_gain(entry: Entry) -> float:
    estimate = decisive(entry)
    return float(estimate["minimum_detectable_gain"]) if estimate else 0.0


def _detectable(entry: Entry) -> str:
    return gain(_detectable_gain(entry), entry["unit"])


def _span(entries: Sequence[Entry], text: Callable[[Entry], str], value: Callable[[Entry], float]) -> str:
    """Lowest to highest value as text; of each unit by itself where the claims have several."""
    spans = []
    for unit in dict.fromkeys(one["unit"] for one in entries):
        own = sorted((one for one in entries if one["unit"] == unit), key=value)
        spans.append(" to ".join(dict.fromkeys([text(own[0]), text(own[-1])])))
    return " and ".join(spans)


def _relative(entry: Entry, side: str) -> str:
    """A gain in percent of its own baseline, in parentheses."""
    relative = entry[side]["relative_percent"]
    return f" ({percent(relative)})" if relative is not None else ""


def _count(own: Sequence[Entry], entries: Sequence[Entry]) -> str:
    return f"{len(own)} of {len(entries)} claims" if len(entries) > 1 else "The claim"


def _agree(own: Sequence[Entry], words: tuple[str, str]) -> str:
    return words[0] if len(own) == 1 else words[1]


def _first(reason: str) -> str:
    """The first sentence of a reason, which stands in full beside the verdicts."""
    return reason.partition(". ")[0].rstrip(".")


def opening(summaries: Sequence[PaperSummary], entries: Sequence[Entry]) -> str:
    """The one sentence above all papers: how many claims support, contradict or leave open what was claimed."""
    tones = [tone(one["verdict"]) for one in entries]
    if not entries:
        return "No claim has been judged yet."
    undecided = tones.count("open") + tones.count("withdrawn")
    return (
        f"Of {len(entries)} claims in {len(summaries)} paper{'' if len(summaries) == 1 else 's'}, "
        f"{_are(tones.count('good'))} supported by the runs, {_are(tones.count('bad'))} contradicted, and "
        f"{undecided or 'none'} cannot be decided here."
    )


def _are(count: int) -> str:
    return {0: "none is", 1: "1 is"}.get(count, f"{count} are")
