"""All claims of some tables under one protocol: families, intervals at their level, words.

A paper's claims are two families: the primary ones, whose answers are the verdicts, and all others, which are
secondary. Holm's procedure holds the level over each family by itself, not over the two together. A family is all that
the protocol can measure, whether it has run or not, so that no verdict hangs on what else has finished.

Each claim is two hypotheses, and each of them has the procedure to itself: that the gain is the cut's, which decides on
reproduced, gain and loss, and another one beside it (a gain of practical size; at the papers' own scale, none at all).
Under one procedure a claim rejected for the one would loosen the level at which the other is tested.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

import numpy as np

from replication.catalog import Column, Judging
from replication.verdicts import holm
from replication.verdicts.cases import Case, Pair, Question, Runs, copies, strength
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
from replication.verdicts.power import Design, design, detectable_effect, power, seeds_needed
from replication.verdicts.rules import direction_qualifiers, judge_direction, judge_size, size_qualifiers
from replication.verdicts.spread import MIN_POOLED_DF, Spread, pool

Hypothesis = tuple[str | None, str | None, str, float]
"""Row's and baseline's variant, metric, cut in AP."""


@dataclass(frozen=True)
class Tested:
    """One hypothesis of one claim: ``interval`` is that of ``level``, at which Holm's procedure tests it."""

    null: float
    p: float
    p_holm: float
    level: float
    interval: Interval


@dataclass(frozen=True)
class Answer:
    """The answer to a claim under one estimand, in the column's unit.

    ``nominal`` is the interval of the registered level. ``test`` is against the cut, ``beside`` against the gain of
    practical size, at the papers' own scale against 0. ``smallest_gain`` would have been seen with the registered
    power. ``expected_gain`` is what a true claim would bring and ``power`` what it had; ``seeds_needed`` runs a side
    reach the registered power, and where none do, ``too_few_images`` says whether the images are why.
    """

    verdict: str
    qualifiers: tuple[str, ...]
    nominal: Interval
    test: Tested
    beside: Tested
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

    def estimand(self, wanted: Estimand) -> Estimand:
        """The one wanted, or the other where the files for it are not there."""
        return wanted if wanted in self.terms.estimands else "this benchmark"


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

    def hypothesis(self, question: Question) -> Hypothesis:
        """What is tested: claims of several tables about the same runs and cut are one hypothesis."""
        cut = round(self.cut(question) * question.scale, 9)
        return question.row.variant, question.baseline.variant, question.metric, cut

    def beside(self, question: Question) -> float:
        """The gain of the other hypothesis: of practical size, at the papers' own scale none at all."""
        return 0.0 if self.size else self.practical(question)

    def p(self, one: Comparison, estimand: Estimand) -> tuple[float, float]:
        """Of the cut, two-sided; and of the gain beside it, of a practical one twice the p of "at least that"."""
        if self.size:
            return float(p_value(one.terms, estimand, self.cut(one.question))), float(p_value(one.terms, estimand, 0.0))
        _, none = one_sided(one.terms, estimand, self.practical(one.question))
        return float(p_value(one.terms, estimand, 0.0)), min(1.0, 2 * float(none))

    def word(self, question: Question, test: Interval, beside: Interval, nominal: Interval) -> tuple[str, list[str]]:
        """Verdict and qualifiers."""
        cut, practical = self.cut(question), self.practical(question)
        if self.size:
            return str(judge_size(test, cut)), size_qualifiers(test, beside, nominal, question.claim.gain, cut)
        return str(judge_direction(test, beside, practical)), direction_qualifiers(test, beside, nominal, practical)


def spreads(cases: Sequence[Case], runs: Runs, judging: Judging) -> dict[str, Spread]:
    """The spread of runs of every metric in the cases and every schedule, in AP points, over all variants with runs.

    Copies of one run and detectors that learned nothing hardly vary: they would narrow everybody's interval. So would a
    test-time variant beside its source, whose trainings would count twice.
    """
    columns = {case.question.metric: case.question.column for case in cases}
    schedules = dict.fromkeys(run.schedule for group in runs.values() for run in group)
    found = {}
    for metric, column in columns.items():
        for schedule in schedules:
            chosen = {name: group for name, group in runs.items() if {run.schedule for run in group} == {schedule}}
            spread = _spread(metric, column, chosen, judging)
            if spread is not None:
                found[", ".join(filter(None, (metric, schedule)))] = spread
    return found


def _spread(metric: str, column: Column, runs: Runs, judging: Judging) -> Spread | None:
    groups, members, left_out = [], [], []
    for variant, group in runs.items():
        values = [run.value(column) for run in group]
        if None in values:
            continue
        if copies(group) or strength(column, group)[1] < judging.baseline_floor:
            left_out.append(variant)
            continue
        members.append(variant)
        twice = any(run.weights_of != variant and run.weights_of in runs for run in group)
        if len(set(values)) > 1 and not twice:
            groups.append(np.array(values, dtype=np.float64))
    spread = pool(groups)
    if spread is None:
        return None
    return replace(spread, metric=metric, members=frozenset(members), left_out=frozenset(left_out))


def common_spread(
    found: Mapping[str, Spread], metric: str, variants: AbstractSet[str | None], judging: Judging
) -> Spread | None:
    """The pooled spread that may stand for the own ones of some variants; None where there is none."""
    for spread in found.values():
        if spread.metric == metric and variants <= spread.members and usable(spread, judging):
            return spread
    return None


def usable(spread: Spread, judging: Judging) -> bool:
    """Whether a pooled spread may stand for the own one of its members."""
    return spread.pooled.df >= MIN_POOLED_DF and spread.equal(judging.equal_spread_alpha)


def judge_cases(cases: Sequence[Case], rules: Rules, found: Mapping[str, Spread]) -> list[Judged]:
    """Every case, judged where nothing stands in the way."""
    compared = [_compare(case, rules.judging, found) for case in cases]
    answers: list[dict[Estimand, Answer]] = [{} for _ in cases]
    families = defaultdict(list)
    for place, case in enumerate(cases):
        if case.measurable:
            families[case.question.paper.id, case.question.claim.primary].append(place)
    # First the family of the verdicts: a claim that cannot be answered for new images is in it by its other answer.
    for wanted in sorted(ESTIMANDS, key=lambda one: one != rules.judging.estimand):
        for family in families.values():
            for place, (estimand, answer) in _answers(family, cases, compared, wanted, rules).items():
                answers[place].setdefault(estimand, answer)
    return [Judged(*one) for one in zip(cases, compared, answers, strict=True)]


def _compare(case: Case, judging: Judging, found: Mapping[str, Spread]) -> Comparison | None:
    question, pair = case.question, case.pair
    if pair is None or pair.runs < 2:
        return None
    sides = {question.row.variant, question.baseline.variant}
    spread = common_spread(found, question.metric, sides, judging)
    own = [question.scale * side.points for side in (pair.row, pair.baseline)]
    if spread is not None and not spread.covers(own, judging.outlying_spread_alpha):
        spread = None
    variance = spread.pooled.scaled(question.scale) if spread is not None else None
    return Comparison(question, pair, variance_terms(pair.row, pair.baseline, variance), spread)


def _answers(
    family: Sequence[int],
    cases: Sequence[Case],
    compared: Sequence[Comparison | None],
    wanted: Estimand,
    rules: Rules,
) -> dict[int, tuple[Estimand, Answer]]:
    """Of one family of claims by place the estimand and its answer, Holm's procedure over its distinct hypotheses.

    Claims that cannot be answered yet take part with a p of 1.
    """
    p: dict[Hypothesis, tuple[float, float]] = {}
    for place in family:
        one, open_ = compared[place], cases[place].obstacle is not None
        p[rules.hypothesis(cases[place].question)] = (
            (1.0, 1.0) if open_ or one is None else rules.p(one, one.estimand(wanted))
        )
    values = np.array(list(p.values())).T
    tested = [values, holm.adjusted(values), holm.levels(values, rules.judging.alpha)]
    places = dict(zip(p, np.stack(tested, axis=-1).transpose(1, 0, 2), strict=True))
    found = {}
    for place in family:
        one = compared[place]
        if one is not None and cases[place].obstacle is None:
            estimand = one.estimand(wanted)
            found[place] = estimand, _one_answer(one, estimand, rules, places[rules.hypothesis(one.question)])
    return found


def _one_answer(one: Comparison, estimand: Estimand, rules: Rules, tested: Floats) -> Answer:
    """``tested`` (2, 3) holds p, p after Holm, and level of the hypothesis of the cut and of the one beside it."""
    judging, question, terms = rules.judging, one.question, one.terms
    cut = rules.cut(question)
    test, beside = (
        Tested(null, float(p), float(p_holm), float(level), t_interval(terms, estimand, float(level)))
        for null, (p, p_holm, level) in zip((cut, rules.beside(question)), tested, strict=True)
    )
    nominal = t_interval(terms, estimand, judging.alpha)
    word, qualifiers = rules.word(question, test.interval, beside.interval, nominal)
    variance, df = float(terms.variance(estimand)), float(nominal.df)
    expected, plan = rules.expected(question, one.pair), _design(one, estimand)
    chance = float(power(expected - cut, variance, df, test.level)) if variance > 0 else float(expected > cut)
    return Answer(
        verdict=word,
        qualifiers=tuple(qualifiers),
        nominal=nominal,
        test=test,
        beside=beside,
        variance=variance,
        smallest_gain=cut + detectable_effect(variance, df, test.level, judging.power),
        expected_gain=expected,
        power=chance,
        seeds_needed=seeds_needed(plan, expected - cut, test.level, judging.power, judging.min_runs),
        too_few_images=plan.too_few_images(expected - cut, test.level, judging.power),
    )


def _design(one: Comparison, estimand: Estimand) -> Design:
    pooled = None if one.spread is None else float(one.spread.pooled.scaled(one.question.scale).value)
    variants = 2 if one.spread is None else one.spread.variants
    return design(one.terms, estimand, one.pair.row, one.pair.baseline, pooled, variants)
