"""Whole families of claims through the judge itself: seldom a gain where there is none, and the true ones found."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from support.verdict_papers import PAPER
from support.verdict_worlds import Regime, draw_side

from replication.catalog import Paper
from replication.verdicts.evidence import Evidence, Pair, Question
from replication.verdicts.intervals import RunVariance, Side
from replication.verdicts.judge import Rules, judge_claims
from replication.verdicts.spread import Spread

WORLDS = 60
REGIME = Regime(0.20, 0.15, 0.15)
NAMES = ("real", "null", "worse", "once", "gone", "big")
MEMBERS = frozenset(("base", *NAMES))
# Judged as independent runs, of which only the number of images is asked.
RUNS = defaultdict(lambda: [SimpleNamespace(image_set=(1000, None))])


@pytest.fixture
def asked():
    paper = Paper.model_validate(PAPER)
    claims = {claim.id: claim for claim in paper.claims}
    return [Question(paper, paper.tables[0], claims[f"{name}-AP"]) for name in NAMES]


def known(sd, metric):
    """A spread of runs of this SD in AP that is all but known."""
    return Spread(RunVariance(np.asarray(sd**2), 30), None, 10, metric, MEMBERS)


def judged(rng, asked, rules, gains, spread=None, regime=REGIME, worlds=WORLDS, replicates=60):
    """Verdicts (worlds, claims); all rows share one baseline, in fractions as the paper prints."""

    def sides(gain):
        drawn = draw_side(rng, regime, worlds, 4, 36.0 + gain, replicates)
        draws = [None] * worlds if drawn.replicates is None else drawn.replicates / 100
        return [Side(points, draw) for points, draw in zip(drawn.points / 100, draws, strict=True)]

    baselines, rows = sides(0.0), [sides(gain) for gain in gains]
    independent = replace(rules, judging=rules.judging.model_copy(update={"analysis": "independent runs"}))
    found = []
    for i, baseline in enumerate(baselines):
        cases = [Evidence(one, Pair(row[i], baseline)) for one, row in zip(asked, rows, strict=False)]
        estimates = judge_claims(cases, independent, RUNS, {"": spread} if spread else {})
        found.append([one.estimates[one.headline("new images")].verdict for one in estimates])
    return np.array(found)


def test_a_paper_without_any_true_gain_has_seldom_a_claim_called_one(rng, asked, judging):
    words = judged(rng, asked, Rules(judging, size=False), [0.0] * 4)
    # Binomial, 60 worlds at 2.5%: more than 6 come once in a thousand times.
    assert (words == "gain").any(axis=1).sum() <= 6
    assert (words == "loss").any(axis=1).sum() <= 6


def test_what_is_firmly_of_no_practical_size_does_not_make_a_gain_of_another_claim(rng, asked, judging):
    """Run SD 0.08: nearly every claim is of no practical size, and that must not loosen the level of "gain"."""
    spread, worlds = known(0.08, asked[0].metric), 200
    rules = Rules(judging, size=False)
    words = judged(rng, asked, rules, [0.0] * 6, spread, Regime(0, 0.08, 0), worlds, replicates=0)
    assert np.mean(words == "no gain of practical size") > 0.8
    # Binomial, 200 worlds at 2.5%: more than 12 come once in a thousand times; one procedure for both would give 20.
    assert (words == "gain").any(axis=1).sum() <= 12
    assert (words == "loss").any(axis=1).sum() <= 12


def test_true_gains_at_the_papers_scale_are_reproduced_and_missing_ones_are_not(rng, asked, judging):
    """Claims of 2, 2, 1 and 3 AP; the first and last are true, the second is nothing, the third half of it."""
    spread = known(np.hypot(0.15, 0.15), asked[0].metric)
    words = judged(rng, asked, Rules(judging, size=True), [2.0, 0.0, 0.5, 3.0], spread)
    assert np.mean(words[:, 0] == "reproduced") > 0.9
    assert np.mean(words[:, 1] == "not reproduced") > 0.9
    assert np.mean(words[:, 2] == "inconclusive") > 0.8
    assert np.mean(words[:, 3] == "reproduced") > 0.95
    assert not (words[:, [0, 3]] == "not reproduced").any()
    assert not (words[:, 1] == "reproduced").any()
