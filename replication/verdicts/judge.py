"""All claims of some tables under one protocol: families, intervals at their level, words.

A paper's claims are two families: the primary ones, whose answers are the verdicts, and all others, which are
secondary. Holm's procedure holds the level over each family by itself, not over the two together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from replication.catalog import Judging
from replication.verdicts import holm
from replication.verdicts.cases import Case, Pair, Question, Runs, copies, strength
from replication.verdicts.intervals import (
    ESTIMANDS,
    Estimand,
    Interval,
    Terms,
    one_sided,
    p_value,
    t_interval,
    variance_terms,
)
from replication.verdicts.power import Design, design, detectable_effect, power, seeds_needed
from replication.verdicts.rules import direction_qualifiers, judge_direction, judge_size, size_qualifiers
from replication.verdicts.spread import MIN_POOLED_DF, Spread, pool


@dataclass(frozen=True)
class Answer:
    """The answer to a claim under one estimand, in the column's unit.

    ``nominal`` is the interval of the registered level; ``family`` that of ``level``, at which Holm's procedure tests
    the claim within its family, and which decides. ``smallest_gain`` would have been seen with the registered power.
    ``expected_gain`` is what a true claim would bring and ``power`` what it had; ``seeds_needed`` runs a side reach the
    registered power, and where none do, ``too_few_images`` says whether the images are why.
    """

    verdict: str
    qualifiers: tuple[str, ...]
    nominal: Interval
    family: Interval
    level: float
    p: float
    p_holm: float
    variance: float
    smallest_gain: float
    expected_gain: float
    power: float
    seeds_needed: int | None
    too_few_images: bool


@dataclass(frozen=True)
class Comparison:
    """A pair of sides with at least two runs each. ``spread`` is None where their own run variance is used."""

    question: Question
    pair: Pair
    terms: Terms
    spread: Spread | None


@dataclass(frozen=True)
class Judged:
    """A case with its comparison (None below two runs a side) and its answers (none behind an obstacle)."""

    case: Case
    comparison: Comparison | None
    answers: dict[Estimand, Answer]

    def headline(self, registered: Estimand) -> Estimand | None:
        """The registered estimand, or the other where the files for it are not there; None without a verdict."""
        order = (registered, *(one for one in ESTIMANDS if one != registered))
        return next((one for one in order if one in self.answers), None)


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
        """What a true claim brings here: the claimed gain, at another scale the same share of our own baseline."""
        if self.size or question.relative is None:
            return question.claim.gain
        return question.relative / 100 * float(pair.baseline.mean)

    def hypothesis(self, question: Question) -> tuple[str | None, str | None, str, float]:
        """What is tested: claims of several tables about the same runs and cut are one hypothesis."""
        cut = round(self.cut(question) * question.scale, 9)
        return question.row.variant, question.baseline.variant, question.metric, cut

    def p(self, one: Comparison, estimand: Estimand) -> float:
        """Two-sided. Of a direction it is twice the smaller p of "no gain" and "a gain of practical size"."""
        if self.size:
            return float(p_value(one.terms, estimand, self.cut(one.question)))
        gain, _ = one_sided(one.terms, estimand, 0.0)
        _, none = one_sided(one.terms, estimand, self.practical(one.question))
        return min(1.0, 2 * min(float(gain), float(none)))

    def word(self, question: Question, family: Interval, nominal: Interval) -> tuple[str, list[str]]:
        """Verdict and qualifiers."""
        cut, practical = self.cut(question), self.practical(question)
        if self.size:
            return str(judge_size(family, cut)), size_qualifiers(family, nominal, question.claim.gain, cut)
        return str(judge_direction(family, practical)), direction_qualifiers(family, nominal, practical)


def spreads(cases: Sequence[Case], runs: Runs, judging: Judging) -> dict[str, Spread]:
    """The spread of runs of every metric in the cases, in AP points, over all variants that have runs.

    Copies of one run and detectors that learned nothing hardly vary: they would narrow everybody's interval. So would a
    test-time variant beside its source, whose trainings would count twice.
    """
    found = {}
    for metric, column in {case.question.metric: case.question.column for case in cases}.items():
        groups, left_out = [], []
        for variant, group in runs.items():
            values = [run.value(column) for run in group]
            if None in values or any(run.weights_of != variant and run.weights_of in runs for run in group):
                continue
            if copies(group) or strength(column, group)[1] < judging.baseline_floor:
                left_out.append(variant)
            elif len(set(values)) > 1:
                groups.append(np.array(values, dtype=np.float64))
        spread = pool(groups)
        if spread is not None:
            found[metric] = replace(spread, left_out=frozenset(left_out))
    return found


def usable(spread: Spread, judging: Judging) -> bool:
    """Whether a pooled spread may stand for the own one of every variant in it."""
    return spread.pooled.df >= MIN_POOLED_DF and spread.equal(judging.equal_spread_alpha)


def judge_cases(cases: Sequence[Case], rules: Rules, found: Mapping[str, Spread]) -> list[Judged]:
    """Every case, judged where nothing stands in the way."""
    compared = [_compare(case, rules.judging, found.get(case.question.metric)) for case in cases]
    answers: list[dict[Estimand, Answer]] = [{} for _ in cases]
    for estimand in ESTIMANDS:
        families = defaultdict(list)
        for place, (case, one) in enumerate(zip(cases, compared, strict=True)):
            if case.obstacle is None and one is not None and estimand in one.terms.estimands:
                families[case.question.paper.id, case.question.claim.primary].append((place, one))
        for family in families.values():
            places, members = zip(*family, strict=True)
            for place, answer in zip(places, _answers(members, estimand, rules), strict=True):
                answers[place][estimand] = answer
    return [Judged(*one) for one in zip(cases, compared, answers, strict=True)]


def _compare(case: Case, judging: Judging, spread: Spread | None) -> Comparison | None:
    if case.pair is None or case.pair.runs < 2:
        return None
    sides = {case.question.row.variant, case.question.baseline.variant}
    used = spread if spread is not None and usable(spread, judging) and not sides & spread.left_out else None
    variance = used.pooled.scaled(case.question.scale) if used is not None else None
    return Comparison(case.question, case.pair, variance_terms(case.pair.row, case.pair.baseline, variance), used)


def _answers(family: Sequence[Comparison], estimand: Estimand, rules: Rules) -> list[Answer]:
    """The answers of one family of claims, Holm's procedure over its distinct hypotheses."""
    distinct = {rules.hypothesis(one.question): one for one in family}
    p = np.array([rules.p(one, estimand) for one in distinct.values()])
    tested = zip(holm.levels(p, rules.judging.alpha), p, holm.adjusted(p), strict=True)
    places = dict(zip(distinct, tested, strict=True))
    return [_one_answer(one, estimand, rules, *map(float, places[rules.hypothesis(one.question)])) for one in family]


def _one_answer(one: Comparison, estimand: Estimand, rules: Rules, level: float, p: float, p_holm: float) -> Answer:
    judging, question, terms = rules.judging, one.question, one.terms
    nominal, family = (t_interval(terms, estimand, alpha) for alpha in (judging.alpha, level))
    word, qualifiers = rules.word(question, family, nominal)
    variance, df, cut = float(terms.variance(estimand)), float(family.df), rules.cut(question)
    expected, plan = rules.expected(question, one.pair), _design(one, estimand)
    chance = float(power(expected - cut, variance, df, level)) if variance > 0 else float(expected > cut)
    return Answer(
        verdict=word,
        qualifiers=tuple(qualifiers),
        nominal=nominal,
        family=family,
        level=level,
        p=p,
        p_holm=p_holm,
        variance=variance,
        smallest_gain=cut + detectable_effect(variance, df, level, judging.power),
        expected_gain=expected,
        power=chance,
        seeds_needed=seeds_needed(plan, expected - cut, level, judging.power, judging.min_runs),
        too_few_images=plan.too_few_images(expected - cut, level, judging.power),
    )


def _design(one: Comparison, estimand: Estimand) -> Design:
    pooled = None if one.spread is None else float(one.spread.pooled.scaled(one.question.scale).value)
    variants = 2 if one.spread is None else one.spread.variants
    return design(one.terms, estimand, one.pair.row, one.pair.baseline, pooled, variants)
