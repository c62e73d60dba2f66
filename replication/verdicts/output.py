"""``verdicts.json``, and the same as a table for the terminal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from tabulate import tabulate

from replication.catalog import Judging
from replication.verdicts.cases import Pair, Supported
from replication.verdicts.intervals import (
    Interval,
    image_interval,
    interaction_variance,
    run_variance,
    t_interval,
    variance_terms,
    welch_interval,
)
from replication.verdicts.judge import Answer, Comparison, Judged, Rules, Tested, usable
from replication.verdicts.spread import Spread

SCHEMA = "verdicts/1"
SIZE_HEAD = (
    "Judged is the size of each claimed gain at the papers' own scale, against half of it: reproduced, not reproduced "
    "or inconclusive."
)
DIRECTION_HEAD = (
    "This protocol is not the papers' own scale, so another claim than the paper's is tested: only the direction of "
    "each gain, against 0. A gain here does not reproduce the published size."
)
LEGEND = {
    "new images": "other runs and other images of the same kind",
    "this benchmark": "other runs on these very images",
}


def verdict_entry(one: Judged, rules: Rules) -> dict[str, Any]:
    """One claim in JSON. Gains, bounds and variances are in the unit in which the paper prints the column."""
    case, question, judging = one.case, one.case.question, rules.judging
    claim, column, pair = question.claim, question.column, case.pair
    chosen = one.headline(judging.estimand)
    answer = one.answers[chosen] if chosen else None
    word, reason = case.obstacle or (answer.verdict if answer else "", "")
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
        "verdict": word,
        "qualifiers": list(answer.qualifiers) if answer else [],
        "reason": reason,
        "estimand": chosen,
        "runs": {name: side.runs for name, side in pair.sides.items()} if pair else {"row": 0, "baseline": 0},
        "measured": _measured(pair) if pair else None,
        "image_interval": _bounds(image_interval(pair.row, pair.baseline, judging.alpha), pair)
        if pair and pair.has_images
        else None,
        "supported_classes": _supported(case.supported, judging) if case.supported else None,
        "answers": {name: _answer(answer, pair) for name, answer in one.answers.items() if pair},
        "terms": _terms(one.comparison) if one.comparison else None,
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
    """Bounds, and the same in percent of the measured baseline, whose own error is small beside the gain's."""
    low, high, base = float(interval.low), float(interval.high), float(pair.baseline.mean)
    df = float(interval.df)
    return {
        "low": low,
        "high": high,
        "relative_percent": [100 * low / base, 100 * high / base] if base else None,
        "df": df if math.isfinite(df) else None,
    }


def _answer(answer: Answer, pair: Pair) -> dict[str, Any]:
    return {
        "verdict": answer.verdict,
        "qualifiers": list(answer.qualifiers),
        "interval": _bounds(answer.nominal, pair),
        "test": _test(answer.test, pair),
        "beside": _test(answer.beside, pair),
        "variance": answer.variance,
        "smallest_gain": answer.smallest_gain,
        "expected_gain": answer.expected_gain,
        "power": answer.power,
        "seeds_needed": answer.seeds_needed,
        "too_few_images": answer.too_few_images,
    }


def _test(test: Tested, pair: Pair) -> dict[str, Any]:
    """A hypothesis, and the interval at the level at which Holm's procedure tests it."""
    interval = _bounds(test.interval, pair) | {"level": 1 - test.level}
    return {"null": test.null, "p": test.p, "p_holm": test.p_holm, "interval": interval}


def _terms(one: Comparison) -> dict[str, Any]:
    """The three variances of the difference, and of each side the run variance beside its image noise."""
    terms, sides = one.terms, one.pair.sides
    return {
        "seed": float(terms.seed),
        "image": None if terms.image is None else float(terms.image),
        "interaction": None if terms.interaction is None else float(terms.interaction),
        "pooled": one.spread is not None,
        "run_variance": {name: float(run_variance(side.points)) for name, side in sides.items()},
        "interaction_per_run": {
            name: float(interaction_variance(side.replicates))
            for name, side in sides.items()
            if side.replicates is not None
        },
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


def verdicts_table(document: Mapping[str, Any]) -> str:
    """For people: primary claims, a line each, then what could not be judged."""
    lines = [_line(entry) for entry in document["verdicts"] if entry["primary"] and entry["verdict"] != "not measured"]
    heads = ["claim", "column", "claimed", "measured", "interval", "verdict", "runs", "could be seen", "seeds needed"]
    counts = Counter(entry["verdict"] for entry in document["verdicts"] if entry["primary"])
    others = Counter(entry["verdict"] for entry in document["verdicts"] if not entry["primary"])
    blocks = [
        f"protocol {document['protocol']}: {document['head']}",
        tabulate(lines, heads, disable_numparse=True, maxcolwidths=[34, 12, None, None, None, 30]),
        f"primary claims: {_counts(counts)}\nother claims, a family of their own: {_counts(others)}",
        *(f"note: {note}" for note in document["notes"]),
        f"plan at judging {document['plan_hash'][:12]}",
    ]
    return "\n\n".join(blocks) + "\n"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {word}" for word, number in counts.items()) or "none"


def _line(entry: Mapping[str, Any]) -> list[str]:
    measured, answer = entry["measured"], entry["answers"].get(entry["estimand"])
    interval = answer["interval"] if answer else entry["image_interval"]
    words = ", ".join([entry["verdict"], *entry["qualifiers"]])
    if entry["reason"]:
        words = f"{words} ({entry['reason']})"
    elif entry["estimand"]:
        words = f"{words}; {entry['estimand']}"
    return [
        f"{entry['table']}: {entry['row']['label']} over {entry['baseline']['label']}, {entry['backbone']}",
        entry["column"]["head"],
        gain_text(entry["claimed"]["gain"], entry["unit"]),
        gain_text(measured["gain"], entry["unit"]) if measured else "",
        interval_text(interval, entry["unit"]),
        words,
        f"{entry['runs']['row']} and {entry['runs']['baseline']}",
        gain_text(answer["smallest_gain"], entry["unit"]) if answer else "",
        seeds_text(answer) if answer else "",
    ]


def seeds_text(answer: Mapping[str, Any]) -> str:
    """Runs a side that would show the claim; ``images`` where those are too few for it, ``-`` where none would."""
    if answer["seeds_needed"] is not None:
        return str(answer["seeds_needed"])
    return "images" if answer["too_few_images"] else "-"


def gain_text(value: float, unit: str) -> str:
    """A gain with its sign and one digit more than the paper prints."""
    decimals = {"fraction": 4, "percent": 2, "ms": 1}[unit]
    return f"{round(value, decimals) + 0.0:+.{decimals}f}"


def interval_text(interval: Mapping[str, Any] | None, unit: str) -> str:
    """Both bounds, or nothing."""
    return f"{gain_text(interval['low'], unit)} to {gain_text(interval['high'], unit)}" if interval else ""
