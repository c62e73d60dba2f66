"""Entries of ``verdicts.json``, and its content as a table for the terminal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tabulate import tabulate

from replication.catalog import Judging
from replication.catalog.units import gain, gain_interval
from replication.verdicts.evidence import Pair, Supported
from replication.verdicts.halves import halves_text
from replication.verdicts.intervals import (
    Interval,
    Terms,
    image_interval,
    interaction_variance,
    run_variance,
    t_interval,
    variance_terms,
    welch_interval,
)
from replication.verdicts.judge import Contrast, Estimate, HypothesisTest, JudgedClaim, Rules
from replication.verdicts.pooling import usable
from replication.verdicts.rules import UNTESTED, WITHDRAWN
from replication.verdicts.spread import Spread

SCHEMA = "verdicts/4"
EXPECTED = {"loss": "loss", "equal": "no gain or loss"}
"""What is expected of a control, in words."""

SIZE_HEAD = (
    "The size of each claimed gain is judged at the papers' own scale, against half of it: reproduced, not reproduced "
    "or inconclusive."
)
DIRECTION_HEAD = (
    "This protocol is not the papers' own scale, so another claim than the paper's is tested: only the direction of "
    "each gain, against 0. A gain here does not reproduce the published size."
)
ESTIMAND_TEXTS = {
    "new images": "other runs and other images of the same kind",
    "this benchmark": "other runs on the same images",
}


def verdict_entry(judged: JudgedClaim, rules: Rules) -> dict[str, Any]:
    """One claim in JSON. Gains, bounds and variances are in the unit in which the paper prints the column."""
    evidence, question, judging = judged.evidence, judged.evidence.question, rules.judging
    claim, column, pair = question.claim, question.column, evidence.pair
    chosen = judged.headline(judging.estimand)
    estimate = judged.estimates[chosen] if chosen else None
    verdict, reason = evidence.obstacle or (estimate.verdict if estimate else "", "")
    return {
        "id": claim.id,
        "paper": claim.paper,
        "table": claim.table,
        "row": {"id": claim.row, "label": question.row.label, "variant": question.row.variant},
        "baseline": {"id": claim.baseline, "label": question.baseline.label, "variant": question.baseline.variant},
        "backbone": question.row.backbone,
        "column": {"id": column.id, "head": column.head, "metric": column.metric, "criterion": column.criterion},
        "unit": column.unit,
        "primary": claim.primary,
        "claimed": {
            "gain": claim.gain,
            "cut": round(rules.cut(question), 10),
            "relative_percent": question.relative,
            "stated": claim.stated,
        },
        "verdict": verdict,
        "qualifiers": list(estimate.qualifiers) if estimate else [],
        "reason": reason,
        "estimand": chosen,
        "runs": {name: side.runs for name, side in pair.sides.items()} if pair else {"row": 0, "baseline": 0},
        "measured": _measured(pair) if pair else None,
        "image_interval": _bounds(image_interval(pair.row, pair.baseline, judging.alpha), pair)
        if pair and pair.has_images
        else None,
        "supported_classes": _supported(evidence.supported, judging) if evidence.supported else None,
        "estimates": {name: _estimate_entry(estimate, pair) for name, estimate in judged.estimates.items() if pair},
        "terms": _terms(judged.contrast) if judged.contrast else None,
        "welch": _bounds(welch_interval(pair.row, pair.baseline, judging.alpha), pair)
        if pair and pair.runs > 1
        else None,
    }


def _measured(pair: Pair) -> dict[str, float | None]:
    row, baseline = float(pair.row.mean), float(pair.baseline.mean)
    relative = 100 * (row - baseline) / baseline if baseline else None
    return {"row": row, "baseline": baseline, "gain": row - baseline, "relative_percent": relative}


def _supported(supported: Supported, judging: Judging) -> dict[str, Any]:
    """The gain over classes with at least ten objects; its interval is of the two variants' own runs, or of images."""
    pair = supported.pair
    if pair.runs > 1:
        interval = t_interval(variance_terms(pair.row, pair.baseline), judging.estimand, judging.alpha)
    else:
        interval = image_interval(pair.row, pair.baseline, judging.alpha)
    whose = {"classes": supported.classes, "of": supported.of}
    return whose | _measured(pair) | {"interval": _bounds(interval, pair)}


def _bounds(interval: Interval, pair: Pair) -> dict[str, Any]:
    """Bounds, and the same in percent of the measured baseline, whose own error is small against the gain's."""
    low, high, base = float(interval.low), float(interval.high), float(pair.baseline.mean)
    df = float(interval.df)
    return {
        "low": low,
        "high": high,
        "relative_percent": [100 * low / base, 100 * high / base] if base else None,
        "df": df if math.isfinite(df) else None,
    }


def _estimate_entry(estimate: Estimate, pair: Pair) -> dict[str, Any]:
    return {
        "verdict": estimate.verdict,
        "qualifiers": list(estimate.qualifiers),
        "interval": _bounds(estimate.nominal, pair),
        "unblocked": _bounds(estimate.unblocked, pair),
        "cut_test": _test(estimate.cut_test, pair),
        "margin_test": _test(estimate.margin_test, pair),
        "variance": estimate.variance,
        "minimum_detectable_gain": estimate.minimum_detectable_gain,
        "expected_gain": estimate.expected_gain,
        "power": estimate.power,
        "seeds_needed": estimate.seeds_needed,
        "images_needed": estimate.images_needed,
    }


def _test(test: HypothesisTest, pair: Pair) -> dict[str, Any]:
    """A test, and the interval at the level at which Holm's procedure makes it."""
    interval = _bounds(test.interval, pair) | {"level": 1 - test.level}
    return {"null": test.null, "p": test.p, "p_holm": test.p_holm, "interval": interval}


def _terms(contrast: Contrast) -> dict[str, Any]:
    """The three variances of the difference, with seeds as blocks and without, and of each side the run variance."""
    sides, blocks = contrast.pair.sides, contrast.blocks
    return {
        **_variances(contrast.terms),
        "blocks": None
        if blocks is None
        else {
            "variants": len(blocks.own),
            "residual_sd": math.sqrt(float(blocks.pooled.value)),
            "seed_correlation": blocks.correlation,
        },
        "unblocked": _variances(contrast.unblocked) | {"pooled": contrast.spread is not None},
        "run_variance": {name: float(run_variance(side.points)) for name, side in sides.items()},
        "interaction_per_run": {
            name: float(interaction_variance(side.replicates))
            for name, side in sides.items()
            if side.replicates is not None
        },
    }


def _variances(terms: Terms) -> dict[str, float | None]:
    return {
        "seed": float(terms.seed),
        "seed_df": float(terms.seed_df),
        "image": None if terms.image is None else float(terms.image),
        "interaction": None if terms.interaction is None else float(terms.interaction),
    }


def spread_entry(spread: Spread, judging: Judging) -> dict[str, Any]:
    """The pooled spread of runs of one metric, in AP points."""
    return {
        "run_sd": float(np.sqrt(spread.pooled.value)),
        "df": spread.pooled.df,
        "variants": spread.variants,
        "left_out": sorted(spread.left_out),
        "equal_spread": {"test": "Bartlett", "p": spread.p_equal},
        "pooled": usable(spread, judging),
    }


def withdraw(entries: Sequence[dict[str, Any]], reasons: Mapping[str, str]) -> list[dict[str, Any]]:
    """The entries, those verdicts withdrawn for which there is a reason by claim id; numbers and estimates stay.

    A withdrawal that stands in the file already stays until the claims are judged again.
    """
    return [
        {**entry, "verdict": WITHDRAWN, "qualifiers": [], "reason": reasons[entry["id"]]}
        if entry["id"] in reasons and entry["verdict"] not in UNTESTED
        else entry
        for entry in entries
    ]


def verdicts_table(document: Mapping[str, Any]) -> str:
    """As text: one line per primary claim, then what could not be judged."""
    entries = document["verdicts"]
    lines = [_line(entry) for entry in entries if entry["primary"] and entry["verdict"] not in UNTESTED]
    heads = [
        "claim", "column", "claimed", "measured", "interval", "verdict", "runs", "min. detectable gain", "needed",
    ]  # fmt: skip
    counts = Counter(entry["verdict"] for entry in entries if entry["primary"])
    others = Counter(entry["verdict"] for entry in entries if not entry["primary"])
    plan = document["plan"]
    papers = ", ".join(f"{paper} {digest[:12]}" for paper, digest in plan["papers"].items())
    blocks = [
        f"protocol {document['protocol']}: {document['head']}",
        tabulate(lines, heads, disable_numparse=True, maxcolwidths=[34, 12, None, None, None, 30, None, 11, 11]),
        f"primary claims: {_counts(counts)}\nsecondary claims, a separate family: {_counts(others)}",
        *_controls_table(document["controls"]),
        *filter(None, [halves_text(document["halves"])]),
        *(f"note: {note}" for note in document["notes"]),
        f"plan at judging: protocol {plan['protocol'][:12]}, {papers}",
    ]
    return "\n\n".join(blocks) + "\n"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {verdict}" for verdict, number in counts.items()) or "none"


def _line(entry: Mapping[str, Any]) -> list[str]:
    measured, estimate, unit = entry["measured"], entry["estimates"].get(entry["estimand"]), entry["unit"]
    interval = estimate["interval"] if estimate else entry["image_interval"]
    verdict = ", ".join([entry["verdict"], *entry["qualifiers"]])
    if entry["reason"]:
        verdict = f"{verdict} ({entry['reason']})"
    elif entry["estimand"]:
        verdict = f"{verdict}; {entry['estimand']}"
    return [
        f"{entry['table']}: {entry['row']['label']} over {entry['baseline']['label']}, {entry['backbone']}",
        entry["column"]["head"],
        gain(entry["claimed"]["gain"], unit, minus="-"),
        gain(measured["gain"], unit, minus="-") if measured else "",
        gain_interval(interval["low"], interval["high"], unit, minus="-") if interval else "",
        verdict,
        f"{entry['runs']['row']} and {entry['runs']['baseline']}",
        gain(estimate["minimum_detectable_gain"], unit, minus="-") if estimate else "",
        needed_text(estimate) if estimate else "",
    ]


def needed_text(estimate: Mapping[str, Any]) -> str:
    """Runs per variant, or test images, either of which would detect the claimed gain; ``neither alone`` where no
    number of one would.
    """
    seeds, images = estimate["seeds_needed"], estimate["images_needed"]
    options = [f"{seeds} seeds"] * (seeds is not None) + [f"{images or 0:,} images"] * (images is not None)
    return " or ".join(options) or "neither alone"


def _controls_table(controls: Mapping[str, Any]) -> list[str]:
    """Heading and lines of the controls."""
    if not controls["entries"]:
        return [f"controls: {controls['state']}"]
    heads = ["control", "column", "expected", "found", "interval", "measured", "runs", "passed"]
    lines = [_control_line(entry) for entry in controls["entries"]]
    return [f"controls: {controls['state']}", tabulate(lines, heads, disable_numparse=True, maxcolwidths=[30, 12])]


def _control_line(entry: Mapping[str, Any]) -> list[str]:
    estimate, unit, measured = entry["estimates"].get(entry["estimand"]), entry["unit"], entry["measured"]
    bounds = estimate and estimate["interval"]
    return [
        entry["row"]["label"],
        entry["column"]["head"],
        EXPECTED[entry["expected"]],
        entry["verdict"],
        gain_interval(bounds["low"], bounds["high"], unit, minus="-") if bounds else "",
        gain(measured["gain"], unit, minus="-") if measured else "",
        f"{entry['runs']['row']} and {entry['runs']['baseline']}",
        passed_text(entry),
    ]


def passed_text(entry: Mapping[str, Any]) -> str:
    """Whether a control passed, in words."""
    return {True: "yes", False: "no", None: "not run yet"}[entry["passed"]]
