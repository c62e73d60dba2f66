"""How the page's template writes what it is given: names, links, numbers to sort by."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup, escape

from replication.catalog import Column, Protocol
from replication.catalog.units import MINUS, gain, number, percent, points, signed
from replication.report.claims import Entry, bounds, decisive, interval_of, tone
from replication.report.glossary import gloss, term
from replication.report.head import ran_on
from replication.report.samples import Box
from replication.report.tables import ratio_text
from replication.verdicts.halves import halves_text
from replication.verdicts.output import EXPECTED, needed_text, passed_text

_ADDRESS = re.compile(r"(arXiv[ :]\d{4}\.\d{4,5}|https://[^\s;,)<>\"]+)")


def filters(protocol: Protocol) -> dict[str, Callable[..., Any]]:
    """All filters of the page by name."""
    return {
        "arxiv": arxiv,
        "boxes": boxes,
        "passed": passed_text,
        "claim_bounds": bounds,
        "claim_gain": lambda value, entry: gain(value, entry["unit"]),
        "claim_percent": percent,
        "decisive": decisive,
        "duration": duration,
        "expected": EXPECTED.__getitem__,
        "gloss": gloss,
        "halves": halves_text,
        "linked": linked,
        "needed": needed_text,
        "number": _number,
        "ran_on": lambda backbone: ran_on(protocol, backbone),
        "ratio": ratio_text,
        "short": short,
        "signed": _signed,
        "sortable": sortable,
        "term": term,
        "tone": tone,
    }


def _number(value: float, column: Column) -> str:
    return number(value, column.unit)


def _signed(value: float, column: Column) -> str:
    return signed(value, column.unit, minus=MINUS)


def short(title: str) -> str:
    """A paper's title up to its colon, cut at 40 characters."""
    head = title.partition(":")[0]
    return head if len(head) <= 40 else head[:40].rsplit(" ", 1)[0] + "…"


def arxiv(number: str) -> Markup:
    """A link to a paper's abstract."""
    return Markup('<a href="https://arxiv.org/abs/{0}">arXiv {0}</a>').format(number)


def linked(text: str) -> Markup:
    """The text, escaped, with arXiv numbers and https addresses as links."""
    parts = _ADDRESS.split(text)
    return Markup("").join(_link(part) if place % 2 else escape(part) for place, part in enumerate(parts))


def _link(text: str) -> Markup:
    if text.startswith("https:"):
        return Markup('<a href="{0}">{0}</a>').format(text)
    return arxiv(text[6:])


def boxes(found: Sequence[Box]) -> str:
    """What stands in a picture, for a screen reader."""
    words = [f"{box.label} {box.score:.2f}" if box.score is not None else box.label for box in found]
    return ", ".join(words) or "no box"


def sortable(entry: Entry, what: str) -> str:
    """A number to sort claims of different units by, in AP points; empty where there is none.

    ``what`` is ``claimed``, ``measured``, ``low`` (the interval's lower bound) or ``detectable`` (the minimum gain).
    """
    estimate, interval = decisive(entry), interval_of(entry)
    value = {
        "claimed": entry["claimed"]["gain"],
        "measured": entry["measured"] and entry["measured"]["gain"],
        "low": interval and interval["low"],
        "detectable": estimate and estimate["minimum_detectable_gain"],
    }[what]
    return "" if value is None else f"{points(entry['unit']) * value:.6g}"


def duration(seconds: float | None) -> str:
    """Hours and minutes, or minutes and seconds; empty where it is unknown."""
    if not seconds:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
