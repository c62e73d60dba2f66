"""Whole families of claims through the judge itself: seldom a gain where there is none, and the true ones found."""

from __future__ import annotations

import numpy as np
import pytest
from verdicts_papers import PAPER
from verdicts_worlds import Regime, draw_side

from replication.catalog import Paper
from replication.verdicts.cases import Case, Pair, Question
from replication.verdicts.intervals import RunVariance, Side
from replication.verdicts.judge import Rules, judge_cases
from replication.verdicts.spread import Spread

WORLDS = 60
REGIME = Regime(0.20, 0.15, 0.15)
NAMES = ("real", "null", "worse", "once")


@pytest.fixture
def asked():
    paper = Paper.model_validate(PAPER)
    claims = {claim.id: claim for claim in paper.claims}
    return [Question(paper, paper.tables[0], claims[f"{name}-AP"]) for name in NAMES]


def judged(rng, asked, rules, gains, spread=None):
    """Verdicts (WORLDS, claims) under "new images"; all rows share one baseline, in fractions as the paper prints."""

    def sides(gain):
        drawn = draw_side(rng, REGIME, WORLDS, 4, 36.0 + gain, 60)
        return [Side(drawn.points[i] / 100, drawn.replicates[i] / 100) for i in range(WORLDS)]

    baselines, rows = sides(0.0), [sides(gain) for gain in gains]
    found = []
    for i, baseline in enumerate(baselines):
        cases = [Case(one, Pair(row[i], baseline)) for one, row in zip(asked, rows, strict=True)]
        answers = judge_cases(cases, rules, {asked[0].metric: spread} if spread else {})
        found.append([one.answers["new images"].verdict for one in answers])
    return np.array(found)


def test_a_paper_without_any_true_gain_has_seldom_a_claim_called_one(rng, asked, judging):
    words = judged(rng, asked, Rules(judging, size=False), [0.0] * 4)
    # Binomial, 60 worlds at 5%: more than 9 come once in a thousand times.
    assert (words == "gain").any(axis=1).sum() <= 9
    assert (words == "loss").any(axis=1).sum() <= 9


def test_true_gains_at_the_papers_scale_are_reproduced_and_missing_ones_are_not(rng, asked, judging):
    """Claims of 2, 2, 1 and 3 AP; the first and last are true, the second is nothing, the third half of it."""
    known = Spread(RunVariance(np.asarray(0.15**2 + 0.15**2), 30), None, 10)
    words = judged(rng, asked, Rules(judging, size=True), [2.0, 0.0, 0.5, 3.0], known)
    assert np.mean(words[:, 0] == "reproduced") > 0.9
    assert np.mean(words[:, 1] == "not reproduced") > 0.9
    assert np.mean(words[:, 2] == "inconclusive") > 0.8
    assert np.mean(words[:, 3] == "reproduced") > 0.95
    assert not (words[:, [0, 3]] == "not reproduced").any()
    assert not (words[:, 1] == "reproduced").any()
