"""What `verify` says of one protocol, as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from tabulate import tabulate

from replication.verdicts.agreement import Agreement
from replication.verdicts.verification import Recomputed, Verified

HEADS = ("number", "variant", "metric", "value", "runs' mean", "prediction interval", "runs", "images", "")


def verification_text(verified: Verified) -> str:
    """Counts first, then everything that is wrong or was not checked, then the numbers that were compared."""
    return "\n".join(_lines(verified))


def _lines(verified: Verified) -> Iterator[str]:
    elsewhere = f", {verified.elsewhere} of them made elsewhere" if verified.elsewhere else ""
    yield f"protocol {verified.protocol}: {verified.runs} finished runs{elsewhere}"
    wrong = len(verified.problems)
    yield f"hashes: {verified.hashes} compared, {wrong} problem{'' if wrong == 1 else 's'}"
    yield from (f"  {text}" for text in (*verified.problems, *verified.unrecorded))
    yield f"numbers of runs: {_counts(verified.evaluations)}"
    yield from _wrong(verified.evaluations)
    yield f"verdicts: {_counts(verified.verdicts)}"
    yield from _wrong(verified.verdicts)
    if verified.numbers:
        words = Counter(one.word for one in verified.numbers)
        yield "numbers compared: " + ", ".join(f"{count} {word}" for word, count in words.items())
        yield ""
        yield tabulate([_row(one) for one in verified.numbers], HEADS, disable_numparse=True)
        yield ""
    yield "verified" if verified.holds else "NOT verified"


def _counts(parts: Sequence[Recomputed]) -> str:
    """How many were reproduced, and how many could not be computed again for which reason."""
    found = Counter(part.found or f"not computed again ({part.text})" for part in parts)
    partly = Counter(part.text for part in parts if part.found == "reproduced" and part.text)
    texts = [f"{count} {word}" for word, count in found.items()]
    return ", ".join([*texts, *(f"{count} of them {text}" for text, count in partly.items())]) or "none stored"


def _wrong(parts: Sequence[Recomputed]) -> Iterator[str]:
    yield from (f"  {part.name}: {part.text}" for part in parts if part.found == "not reproduced")


def _row(one: Agreement) -> list[str]:
    interval = one.text if one.low is None or one.high is None else f"{one.low:.3f} to {one.high:.3f}"
    numbers = f"{one.value:.3f}", f"{one.mean:.3f}"
    return [one.source, one.variant, one.metric, *numbers, interval, str(one.runs), one.images, one.word]
