"""Which arm is better: differences to the baseline with intervals over runs and images, and the word for them.

The spread of runs is pooled over the arms where all have the same number of runs and Bartlett's test does not reject
equal spreads; else each arm keeps its own. With unequal numbers of runs a pooled spread is wrong where spreads differ:
3 runs against 6 of a quarter of their spread are called different in 20% of cases, by their own spreads in 7%.

Holm's procedure is over the arms for the verdicts; over all arms and effects of a kind for further metrics, sizes of
objects, and classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from replication.errors import ConfigError
from replication.verdicts import holm
from replication.verdicts.arm_differences import Pair, Rows, aligned, bounds_of, effect_of, family_of, pairs_of
from replication.verdicts.arms import KINDS, Arm, Arms, class_rows, metric_rows
from replication.verdicts.comparison_records import (
    CUT,
    ArmComparison,
    ArmSummary,
    ClaimAnswer,
    ClaimWord,
    Contrast,
    Effect,
    MistakeCost,
    Options,
    Word,
)
from replication.verdicts.comparison_records import Terms as TermsRecord
from replication.verdicts.comparison_words import sentence
from replication.verdicts.intervals import (
    Floats,
    Side,
    interaction_variance,
    one_sided,
    p_value,
    run_variance,
    t_interval,
    variance_terms,
)
from replication.verdicts.needed import images_needed
from replication.verdicts.power import Design, design, detectable_effect, paired_design, power, seeds_needed

SIZES = ("APs", "APm", "APl")


def compare_arms(arms: Arms, options: Options | None = None) -> ArmComparison:
    """Compare every arm with the first. Raises ConfigError for ``paired`` where arms do not share their seeds."""
    options = options or Options()
    groups = aligned(arms.arms) if options.paired else arms.arms
    baseline, others = groups[0], groups[1:]
    judged = pairs_of(groups, _metric(options.metric), options)
    if judged is None:
        raise ConfigError(f"metric {options.metric}: not defined, the ground truth has no such objects")
    families = {
        "metrics": family_of(groups, {name: (_metric(name), None) for name in options.metrics}, options),
        "sizes": family_of(groups, {name: (_metric(name), None) for name in SIZES}, options),
        "classes": family_of(groups, _classes(arms), options),
    }
    supported = pairs_of(groups, lambda arm: metric_rows(arm, options.metric, True), options)
    tests = _Tests(judged, options)
    contrasts = []
    for place, arm in enumerate(others):
        few = None if supported is None else effect_of(options.metric, supported[place], options)
        own = {name: effects[place] for name, effects in families.items()}
        contrasts.append(_contrast(arms, (baseline, arm), judged[place], tests, place, few, own))
    return ArmComparison(
        options=options,
        resampling=arms.resampling,
        truth=arms.truth,
        truth_hash=arms.truth_hash,
        images=arms.images,
        objects=arms.objects,
        arms=tuple(_summary(arm, options) for arm in groups),
        contrasts=tuple(contrasts),
        warnings=(*arms.warnings, *_doubtful(groups, options)),
    )


def _metric(name: str) -> Rows:
    return lambda arm: metric_rows(arm, name)


def _class(place: int) -> Rows:
    return lambda arm: class_rows(arm, place)


def _classes(arms: Arms) -> dict[str, tuple[Rows, int | None]]:
    """The classes that have enough objects for an interval."""
    places = np.flatnonzero(arms.supported).tolist()
    return {arms.class_names[place]: (_class(place), arms.per_class[place]) for place in places}


class _Tests:
    """The tests of the judged metric for all arms: of no gain, of a practical one, of half the claimed one.

    Each hypothesis has Holm's procedure over the arms to itself.
    """

    def __init__(self, pairs: Sequence[Pair], options: Options) -> None:
        self.options = options
        self.pairs = pairs
        self.none = self._holm([self._two_sided(pair, 0.0) for pair in pairs])
        self.level = holm.levels(self.none[0], options.alpha)
        self.practical = self._holm([self._below(pair, options.practical) for pair in pairs])
        self.cut = None if options.claimed is None else CUT * options.claimed
        self.claim = self._holm([1.0 if self.cut is None else self._two_sided(pair, self.cut) for pair in pairs])
        self.claim_level = holm.levels(self.claim[0], options.alpha)

    def _holm(self, p: Sequence[float]) -> tuple[Floats, Floats]:
        values = np.array(p)
        return values, holm.adjusted(values)

    def _two_sided(self, pair: Pair, null: float) -> float:
        return 1.0 if pair.terms is None else float(p_value(pair.terms, self.options.estimand, null))

    def _below(self, pair: Pair, practical: float | None) -> float:
        """Twice the p of "at least a practical gain"."""
        if pair.terms is None or practical is None:
            return 1.0
        return min(1.0, 2 * float(one_sided(pair.terms, self.options.estimand, practical)[1]))

    def word(self, place: int) -> tuple[Word, tuple[str, ...]]:
        """Verdict and qualifiers of one arm."""
        pair, alpha = self.pairs[place], self.options.alpha
        if pair.terms is None:
            return "no verdict", ("one run in an arm: nothing is known of the spread of runs",)
        up = float(pair.terms.difference) > 0
        small = bool(self.practical[1][place] <= alpha)
        if self.none[1][place] <= alpha:
            return "better" if up else "worse", ("below practical size",) if up and small else ()
        if small:
            return "no gain of practical size", ()
        only = self.none[0][place] <= alpha
        return "inconclusive", ("significant only before Holm correction",) if only else ()

    def claim_word(self, place: int) -> ClaimWord:
        """Whether at least half of the claimed gain is there."""
        terms = self.pairs[place].terms
        assert terms is not None
        assert self.cut is not None
        if self.claim[1][place] > self.options.alpha:
            return "inconclusive"
        return "holds" if float(terms.difference) > self.cut else "does not hold"


def _contrast(
    arms: Arms,
    names: tuple[Arm, Arm],
    pair: Pair,
    tests: _Tests,
    place: int,
    supported: Effect | None,
    families: dict[str, tuple[Effect, ...]],
) -> Contrast:
    options, (baseline, arm) = tests.options, names
    word, qualifiers = tests.word(place)
    level = float(tests.level[place])
    effect = effect_of(options.metric, pair, options)
    if effect.p is not None:
        effect = replace(effect, p_holm=float(tests.none[1][place]))
    found = Contrast(
        arm=arm.name,
        baseline=baseline.name,
        runs=(len(baseline.runs), len(arm.runs)),
        sentence="",
        verdict=word,
        qualifiers=qualifiers,
        level=level,
        effect=effect,
        supported=supported,
        claim=_claim(pair, tests, place, len(names), arms.images),
        minimum_detectable_gain=_detectable(pair, level, options),
        terms=_terms_record(pair, options),
        metrics=families["metrics"],
        sizes=families["sizes"],
        classes=families["classes"],
        mistakes=_mistakes(baseline, arm, options),
    )
    return replace(found, sentence=sentence(found, options))


def _detectable(pair: Pair, level: float, options: Options) -> float | None:
    if pair.terms is None:
        return None
    variance, df = float(pair.terms.variance(options.estimand)), float(pair.terms.df(options.estimand))
    return detectable_effect(variance, df, level, options.power)


def _claim(pair: Pair, tests: _Tests, place: int, variants: int, images: int) -> ClaimAnswer | None:
    options, terms = tests.options, pair.terms
    if options.claimed is None or tests.cut is None or terms is None:
        return None
    level, effect = float(tests.claim_level[place]), options.claimed - tests.cut
    variance, df = float(terms.variance(options.estimand)), float(terms.df(options.estimand))
    seeds = seeds_needed(_design(pair, options, variants), effect, level, options.power, 2)
    return ClaimAnswer(
        claimed=options.claimed,
        cut=tests.cut,
        verdict=tests.claim_word(place),
        p_holm=float(tests.claim[1][place]),
        power=float(power(effect, variance, df, level)) if variance > 0 else 1.0,
        seeds_needed=seeds,
        images_needed=None if seeds is not None else images_needed(terms, images, effect, level, options.power),
    )


def _design(pair: Pair, options: Options, variants: int) -> Design:
    """How the variance falls with the number of runs an arm."""
    terms = pair.terms
    assert terms is not None
    if not options.paired:
        pooled = None if pair.pooled is None else float(pair.pooled.value)
        return design(terms, options.estimand, pair.row, pair.baseline, pooled, variants)
    return paired_design(terms, options.estimand, pair.row.runs)


def _terms_record(pair: Pair, options: Options) -> TermsRecord | None:
    terms = pair.terms
    if terms is None or terms.image is None or terms.interaction is None:
        return None
    return TermsRecord(
        seed=float(terms.seed),
        image=float(terms.image),
        interaction=float(terms.interaction),
        df=float(terms.df(options.estimand)),
        spread="seeds as blocks" if options.paired else "each arm's own" if pair.pooled is None else "pooled over arms",
    )


def _mistakes(baseline: Arm, arm: Arm, options: Options) -> tuple[MistakeCost, ...]:
    costs = []
    for place, kind in enumerate(KINDS):
        own, other = (np.array([run.mistake_gains[place] for run in side.runs]) for side in (baseline, arm))
        if np.isnan(own).any() or np.isnan(other).any():
            continue
        counts = [float(np.mean([run.mistake_counts[place] for run in side.runs])) for side in (baseline, arm)]
        interval = None
        if min(len(own), len(other)) > 1:
            interval = bounds_of(t_interval(variance_terms(Side(other), Side(own)), "this benchmark", options.alpha))
        means = float(own.mean()), float(other.mean())
        costs.append(MistakeCost(kind, *means, counts[0], counts[1], means[1] - means[0], interval))
    return tuple(costs)


def _summary(arm: Arm, options: Options) -> ArmSummary:
    names = dict.fromkeys((*options.metrics, *SIZES))
    rows = {name: metric_rows(arm, name) for name in names}
    rows = {name: (values, drawn) for name, (values, drawn) in rows.items() if not np.isnan(values).any()}
    several = len(arm.runs) > 1
    _, drawn = rows[options.metric]
    defined = drawn[:, ~np.isnan(drawn).any(axis=0)]
    return ArmSummary(
        name=arm.name,
        files=tuple(run.name for run in arm.runs),
        sha256=tuple(run.sha256 for run in arm.runs),
        seeds=arm.seeds,
        values={name: tuple(values.tolist()) for name, (values, _) in rows.items()},
        mean={name: float(values.mean()) for name, (values, _) in rows.items()},
        sd={name: float(np.sqrt(run_variance(values))) if several else None for name, (values, _) in rows.items()},
        image_noise=float(np.sqrt(interaction_variance(defined))) if several else None,
    )


def _doubtful(arms: Sequence[Arm], options: Options) -> list[str]:
    """What is odd about the numbers of runs."""
    counts = {arm.name: len(arm.runs) for arm in arms}
    single = [name for name, count in counts.items() if count == 1]
    found = []
    if single:
        found.append(
            f"arm {', '.join(single)}: one run; its interval is for this run on other images, and there is no "
            "verdict on the methods: train at least two seeds per arm, better three to five"
        )
    elif len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        found.append(f"arms have different numbers of runs ({listed}): each keeps its own spread")
    values = [run.points[0] for arm in arms for run in arm.runs]
    if max(values) < 1:
        found.append(
            "no run reaches an AP of 1: the detectors have not learned, or files and ground truth do not match"
        )
    return found
