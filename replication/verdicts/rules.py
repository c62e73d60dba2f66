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


def judge_direction(interval: Interval, practical: float) -> Words:
    """Against 0: gain, loss, no gain of practical size (all of the interval below ``practical``), or not resolved."""
    return np.select(
        [interval.low > 0, interval.high < 0, interval.high < practical],
        ["gain", "loss", "no gain of practical size"],
        "not resolved",
    )


def size_qualifiers(family: Interval, nominal: Interval, claimed: float, cut: float) -> list[str]:
    """What else one interval says. ``family`` is at the level of the verdict, ``nominal`` at the stated one."""
    found = []
    if nominal.low <= claimed <= nominal.high:
        found.append("size agrees")
    if family.high < 0:
        found.append("contradicted")
    elif family.low > 0 and family.high <= cut:
        found.append("real but less than half")
    if str(judge_size(nominal, cut)) != str(judge_size(family, cut)):
        found.append("firm only without Holm")
    return found


def direction_qualifiers(family: Interval, nominal: Interval, practical: float) -> list[str]:
    """What else one interval says of a direction."""
    found = []
    if family.low > 0 and family.high < practical:
        found.append("below practical size")
    if str(judge_direction(nominal, practical)) != str(judge_direction(family, practical)):
        found.append("firm only without Holm")
    return found
