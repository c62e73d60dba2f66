"""All claims of some tables under one protocol: families, tests, intervals at their level, verdicts.

A paper's claims are two families: the primary ones, which are the verdicts, and all others, which are
secondary. Holm's procedure holds the level over each family by itself, not over the two together. A family is all that
the protocol can measure, whether it has run or not, so that no verdict hangs on what else has finished.

Each claim is tested against two values, and each of them has Holm's procedure to itself: the cut, which decides on
reproduced, gain and loss, and the margin (the gain of practical size; at the papers' own scale 0). Under one procedure
a claim rejected for the one would loosen the level at which the other is tested.

Under the registered analysis "seeds as blocks" the runs of both sides are paired by seed (``blocks``); where the sides
do not have the same seeds, and for comparison, stands the analysis of independent runs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from replication.catalog import Judging
from replication.verdicts import holm
from replication.verdicts.blocks import Blocks, blocked_terms
from replication.verdicts.evidence import Evidence, Pair, Question, Runs
from replication.verdicts.intervals import (
    ESTIMANDS,
    Estimand,
    Floats,
    Interval,
    Terms,
    one_sided,
    p_value,
    t_interval,
    variance_terms,
)
from replication.verdicts.needed import images_needed, needs
from replication.verdicts.pooling import claim_blocks, common_spread
from replication.verdicts.power import Design, design, detectable_effect, paired_design, power, seeds_needed
from replication.verdicts.rules import direction_qualifiers, judge_direction, judge_size, size_qualifiers
from replication.verdicts.spread import Spread

Hypothesis = tuple[str | None, str | None, str, float]
"""Row's and baseline's variant, metric, cut in AP."""


@dataclass(frozen=True)
class HypothesisTest:
    """A test of one claim against ``null``: ``interval`` is that of ``level``, at which Holm's procedure tests it."""

    null: float
    p: float
    p_holm: float
    level: float
    interval: Interval


@dataclass(frozen=True)
class Estimate:
    """What the runs say about a claim under one estimand, in the column's unit.

    ``nominal`` is the interval of the registered level. ``cut_test`` is against the cut, ``margin_test`` against the
    gain of practical size, at the papers' own scale against 0. ``minimum_detectable_gain`` is detected with the
    registered power, ``expected_gain`` is what a true claim would bring, ``power`` the chance of detecting that.
    ``seeds_needed`` runs per variant on these images reach the registered power, or ``images_needed`` test images with
    these runs; None where no number does. ``unblocked`` is the interval of the registered level by independent runs.
    """

    verdict: str
    qualifiers: tuple[str, ...]
    nominal: Interval
    unblocked: Interval
    cut_test: HypothesisTest
    margin_test: HypothesisTest
    variance: float
    minimum_detectable_gain: float
    expected_gain: float
    power: float
    seeds_needed: int | None
    images_needed: int | None


@dataclass(frozen=True)
class Contrast:
    """A pair of sides with at least two runs each; ``images`` is the number of test images.

    ``terms`` are those of the verdict: with seeds as blocks or, where there are no ``blocks``, the same as
    ``unblocked``, of independent runs. ``spread`` is what the latter pool; None where they use the sides' own variance.
    """

    question: Question
    pair: Pair
    terms: Terms
    unblocked: Terms
    spread: Spread | None
    blocks: Blocks | None
    images: int

    def estimand(self, wanted: Estimand) -> Estimand:
        """The one wanted, or the other where the files for it are not there."""
        return wanted if wanted in self.terms.estimands else "this benchmark"


@dataclass(frozen=True)
class JudgedClaim:
    """A claim with its contrast (None below two runs per variant) and its estimates (none behind an obstacle)."""

    evidence: Evidence
    contrast: Contrast | None
    estimates: dict[Estimand, Estimate]

    def headline(self, registered: Estimand) -> Estimand | None:
        """The registered estimand, or the other where the files for it are not there; None without a verdict."""
        order = (registered, *(estimand for estimand in ESTIMANDS if estimand != registered))
        return next((estimand for estimand in order if estimand in self.estimates), None)


@dataclass(frozen=True)
class Rules:
    """The registered rules at the scale of one protocol."""

    judging: Judging
    size: bool

    def cut(self, question: Question) -> float:
        """In the column's unit."""
        return self.judging.cut * question.claim.gain if self.size else 0.0

    def practical(self, question: Question) -> float:
        """In the column's unit."""
        return self.judging.practical_size / question.scale

    def expected(self, question: Question, pair: Pair) -> float:
        """What a true claim brings here: the claimed gain, at another scale the same share of the measured baseline."""
        if self.size or question.relative is None:
            return question.claim.gain
        return question.relative / 100 * float(pair.baseline.mean)

    def hypothesis(self, question: Question) -> Hypothesis:
        """What is tested: claims of several tables about the same runs and cut are one hypothesis."""
        cut = round(self.cut(question) * question.scale, 9)
        return question.row.variant, question.baseline.variant, question.metric, cut

    def margin(self, question: Question) -> float:
        """The other value that is tested: the gain of practical size, at the papers' own scale 0."""
        return 0.0 if self.size else self.practical(question)

    def p_values(self, contrast: Contrast, estimand: Estimand) -> tuple[float, float]:
        """Of the cut, two-sided; and of the margin, of a practical gain twice the p of "at least that"."""
        terms, question = contrast.terms, contrast.question
        if self.size:
            return float(p_value(terms, estimand, self.cut(question))), float(p_value(terms, estimand, 0.0))
        _, at_least = one_sided(terms, estimand, self.practical(question))
        return float(p_value(terms, estimand, 0.0)), min(1.0, 2 * float(at_least))

    def verdict(self, question: Question, cut: Interval, margin: Interval, nominal: Interval) -> tuple[str, list[str]]:
        """Verdict and qualifiers, from the intervals at the levels of the two tests and at the registered one."""
        value, practical = self.cut(question), self.practical(question)
        if self.size:
            return str(judge_size(cut, value)), size_qualifiers(cut, margin, nominal, question.claim.gain, value)
        return str(judge_direction(cut, margin, practical)), direction_qualifiers(cut, margin, nominal, practical)


def judge_claims(
    claims: Sequence[Evidence], rules: Rules, runs: Runs, pooled: Mapping[str, Spread], apart: Collection[str] = ()
) -> list[JudgedClaim]:
    """Every claim, judged where nothing stands in the way; variants ``apart`` are in no other claim's blocks."""
    contrasts = [_contrast(evidence, rules.judging, runs, pooled, apart) for evidence in claims]
    estimates: list[dict[Estimand, Estimate]] = [{} for _ in claims]
    families = defaultdict(list)
    for place, evidence in enumerate(claims):
        if evidence.measurable:
            families[evidence.question.paper.id, evidence.question.claim.primary].append(place)
    # First the family of the verdicts: a claim without an estimate for new images is in it by its other estimate.
    for wanted in sorted(ESTIMANDS, key=lambda estimand: estimand != rules.judging.estimand):
        for family in families.values():
            for place, (estimand, estimate) in _family_estimates(family, claims, contrasts, wanted, rules).items():
                estimates[place].setdefault(estimand, estimate)
    return [JudgedClaim(*parts) for parts in zip(claims, contrasts, estimates, strict=True)]


def _contrast(
    evidence: Evidence, judging: Judging, runs: Runs, pooled: Mapping[str, Spread], apart: Collection[str]
) -> Contrast | None:
    question, pair = evidence.question, evidence.pair
    if pair is None or pair.runs < 2:
        return None
    variants = {question.row.variant, question.baseline.variant}
    spread = common_spread(pooled, question.metric, variants, judging)
    own = [question.scale * side.points for side in (pair.row, pair.baseline)]
    if spread is not None and not spread.covers(own, judging.outlying_spread_alpha):
        spread = None
    variance = spread.pooled.scaled(question.scale) if spread is not None else None
    terms = unblocked = variance_terms(pair.row, pair.baseline, variance)
    blocks = claim_blocks(question, runs, judging, apart) if judging.analysis == "seeds as blocks" else None
    if blocks is not None:
        paired = blocks.difference(question.row.variant or "", question.baseline.variant or "")
        terms = blocked_terms(pair.row, pair.baseline, paired.scaled(question.scale))
    images = runs[question.row.variant or ""][0].image_set[0] or 0
    return Contrast(question, pair, terms, unblocked, spread, blocks, images)


def _family_estimates(
    family: Sequence[int],
    claims: Sequence[Evidence],
    contrasts: Sequence[Contrast | None],
    wanted: Estimand,
    rules: Rules,
) -> dict[int, tuple[Estimand, Estimate]]:
    """Of one family of claims by place the estimand and its estimate, Holm's procedure over its distinct hypotheses.

    Claims that cannot be tested yet take part with a p of 1.
    """
    p: dict[Hypothesis, tuple[float, float]] = {}
    for place in family:
        contrast, barred = contrasts[place], claims[place].obstacle is not None
        p[rules.hypothesis(claims[place].question)] = (
            (1.0, 1.0) if barred or contrast is None else rules.p_values(contrast, contrast.estimand(wanted))
        )
    values = np.array(list(p.values())).T
    tests = [values, holm.adjusted(values), holm.levels(values, rules.judging.alpha)]
    by_hypothesis = dict(zip(p, np.stack(tests, axis=-1).transpose(1, 0, 2), strict=True))
    estimates = {}
    for place in family:
        contrast = contrasts[place]
        if contrast is not None and claims[place].obstacle is None:
            estimand = contrast.estimand(wanted)
            own = by_hypothesis[rules.hypothesis(contrast.question)]
            estimates[place] = estimand, _estimate(contrast, estimand, rules, own)
    return estimates


def _estimate(contrast: Contrast, estimand: Estimand, rules: Rules, tests: Floats) -> Estimate:
    """``tests`` (2, 3) holds p, p after Holm, and level of the test against the cut and of that against the margin."""
    judging, question, terms = rules.judging, contrast.question, contrast.terms
    cut = rules.cut(question)
    cut_test, margin_test = (
        HypothesisTest(null, float(p), float(p_holm), float(level), t_interval(terms, estimand, float(level)))
        for null, (p, p_holm, level) in zip((cut, rules.margin(question)), tests, strict=True)
    )
    nominal = t_interval(terms, estimand, judging.alpha)
    verdict, qualifiers = rules.verdict(question, cut_test.interval, margin_test.interval, nominal)
    variance, df = float(terms.variance(estimand)), float(nominal.df)
    expected, plan = rules.expected(question, contrast.pair), _design(contrast, estimand)
    effect, level = expected - cut, cut_test.level
    chance = float(power(effect, variance, df, level)) if variance > 0 else float(effect > 0)
    seeds = seeds_needed(plan, effect, level, judging.power, judging.min_runs)
    images = (
        images_needed(terms, contrast.images, effect, level, judging.power)
        if estimand == "new images" and contrast.images
        else None
    )
    if verdict == "inconclusive":
        qualifiers += needs(seeds, images, contrast.pair.runs, contrast.images, effect)
    return Estimate(
        verdict=verdict,
        qualifiers=tuple(qualifiers),
        nominal=nominal,
        unblocked=t_interval(contrast.unblocked, estimand, judging.alpha),
        cut_test=cut_test,
        margin_test=margin_test,
        variance=variance,
        minimum_detectable_gain=cut + detectable_effect(variance, df, cut_test.level, judging.power),
        expected_gain=expected,
        power=chance,
        seeds_needed=seeds,
        images_needed=images,
    )


def _design(contrast: Contrast, estimand: Estimand) -> Design:
    if contrast.blocks is not None:
        return paired_design(contrast.terms, estimand, contrast.pair.runs)
    scale, spread = contrast.question.scale, contrast.spread
    pooled = None if spread is None else float(spread.pooled.scaled(scale).value)
    variants = 2 if spread is None else spread.variants
    return design(contrast.terms, estimand, contrast.pair.row, contrast.pair.baseline, pooled, variants)
