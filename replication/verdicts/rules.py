"""From an interval to a word. Two sets of rules: for the papers' own scale, and for every other protocol.

Gains are oriented as claimed: above 0 is what the paper says. Arrays (...) in, arrays of words out.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from replication.verdicts.intervals import Interval

Verdict = Literal[
    "reproduced", "not reproduced", "inconclusive",
    "gain", "loss", "no gain of practical size", "not resolved",
    "single run", "blocked", "not measured",
]  # fmt: skip
Words = NDArray[np.str_]


def judge_size(interval: Interval, cut: float) -> Words:
    """Against the cut, half the claimed gain: reproduced, not reproduced, or inconclusive."""
    return np.select([interval.low >= cut, interval.high <= cut], ["reproduced", "not reproduced"], "inconclusive")


def judge_direction(interval: Interval, beside: Interval, practical: float) -> Words:
    """Gain or loss against 0; no gain of practical size where all of ``beside`` is below ``practical``; not resolved.

    The two intervals differ in their level only: each hypothesis has a family of its own.
    """
    return np.select(
        [interval.low > 0, interval.high < 0, beside.high < practical],
        ["gain", "loss", "no gain of practical size"],
        "not resolved",
    )


def size_qualifiers(family: Interval, beside: Interval, nominal: Interval, claimed: float, cut: float) -> list[str]:
    """What else is said of a size: ``family`` is at the level of the verdict, ``beside`` at that of a gain of 0.

    ``nominal`` is at the stated level.
    """
    found = []
    if nominal.low <= claimed <= nominal.high:
        found.append("size agrees")
    if beside.high < 0:
        found.append("contradicted")
    elif beside.low > 0 and family.high <= cut:
        found.append("real but less than half")
    if str(judge_size(nominal, cut)) != str(judge_size(family, cut)):
        found.append("firm only without Holm")
    return found


def direction_qualifiers(family: Interval, beside: Interval, nominal: Interval, practical: float) -> list[str]:
    """What else is said of a direction; the intervals are those of ``judge_direction`` and that of the stated level."""
    found = []
    if family.low > 0 and beside.high < practical:
        found.append("below practical size")
    alone, word = (str(judge_direction(*one, practical)) for one in ((nominal, nominal), (family, beside)))
    if alone != word:
        found.append("firm only without Holm" if word == "not resolved" else f"{alone} only without Holm")
    return found
