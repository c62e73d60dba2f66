"""From an interval to a verdict. Two sets of rules: for the papers' own scale, and for every other protocol.

Gains are oriented as claimed: above 0 is what the paper says. Arrays (...) in, arrays of verdicts out.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from replication.verdicts.intervals import Interval

Verdict = Literal[
    "reproduced", "not reproduced", "inconclusive",
    "gain", "loss", "no gain of practical size",
    "single run", "blocked", "not testable", "not testable here", "withdrawn", "withheld",
]  # fmt: skip
NOT_TESTABLE: Literal["not testable"] = "not testable"
"""The verdict on a claim that the protocol cannot test, whatever runs there are."""

NOT_TESTABLE_HERE: Literal["not testable here"] = "not testable here"
"""The verdict on a claim for which the protocol's file says why it cannot test it."""

UNTESTED = (NOT_TESTABLE, NOT_TESTABLE_HERE)

WITHHELD: Literal["withheld"] = "withheld"
"""The verdict on any claim under a protocol with a failed control."""

WITHDRAWN: Literal["withdrawn"] = "withdrawn"
"""The verdict on a claim for which the protocol's file says why its runs must not be used."""

BEFORE_HOLM = "only before Holm correction"
Verdicts = NDArray[np.str_]


def judge_size(interval: Interval, cut: float) -> Verdicts:
    """Against the cut, half the claimed gain: reproduced, not reproduced, or inconclusive."""
    return np.select([interval.low >= cut, interval.high <= cut], ["reproduced", "not reproduced"], "inconclusive")


def judge_direction(interval: Interval, margin: Interval, practical: float) -> Verdicts:
    """Gain or loss against 0; no gain of practical size where all of ``margin`` is below ``practical``; inconclusive.

    The two intervals differ in their level only: each hypothesis has a family of its own.
    """
    return np.select(
        [interval.low > 0, interval.high < 0, margin.high < practical],
        ["gain", "loss", "no gain of practical size"],
        "inconclusive",
    )


def size_qualifiers(cut: Interval, margin: Interval, nominal: Interval, claimed: float, value: float) -> list[str]:
    """What else is said of a size, judged against ``value``.

    ``cut`` is the interval at the level of that test, ``margin`` at the level of the test against 0, ``nominal`` at the
    registered level.
    """
    qualifiers = []
    if nominal.low <= claimed <= nominal.high:
        qualifiers.append("size agrees")
    if margin.high < 0:
        qualifiers.append("contradicted")
    elif margin.low > 0 and cut.high <= value:
        qualifiers.append("a gain, but less than half the claimed one")
    verdict, uncorrected = str(judge_size(cut, value)), str(judge_size(nominal, value))
    if uncorrected != verdict:
        qualifiers.append(f"significant {BEFORE_HOLM}")
    return qualifiers


def direction_qualifiers(cut: Interval, margin: Interval, nominal: Interval, practical: float) -> list[str]:
    """What else is said of a direction; intervals as of ``judge_direction``, and of the registered level."""
    qualifiers = []
    if cut.low > 0 and margin.high < practical:
        qualifiers.append("below practical size")
    uncorrected = str(judge_direction(nominal, nominal, practical))
    verdict = str(judge_direction(cut, margin, practical))
    if uncorrected != verdict:
        qualifiers.append(f"{'significant' if verdict == 'inconclusive' else uncorrected} {BEFORE_HOLM}")
    return qualifiers
