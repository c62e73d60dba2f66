"""What the verb ``evaluate`` prints: tables for people, the summary last, or JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

from tabulate import tabulate

SCHEMA = "evaluation/1"


def format_evaluation(result: dict[str, Any], form: Literal["table", "json"] = "table") -> str:
    """The result of ``evaluate`` for people (two decimals, AP on 0-100) or for programs (full precision)."""
    if form == "json":
        document = {"schema": SCHEMA, "intervals": None, "difference": None, **result}
        return json.dumps(document, indent=1, allow_nan=False) + "\n"
    return "\n\n".join(_blocks(result)) + "\n"


def _blocks(result: dict[str, Any]) -> Iterator[str]:
    """Classes first, the summary last, where a terminal shows it however many classes there are."""
    if result["per_class"]:
        yield _per_class(result["per_class"])
    if result.get("mistakes"):
        lines = [[kind, str(value["count"]), _number(value["gain"])] for kind, value in result["mistakes"].items()]
        yield _text(["mistake at overlap 0.5", "count", "AP50 gained"], lines)
    if result.get("intervals"):
        yield _intervals(result)
    if result.get("difference"):
        yield _difference(result)
    if "verified" in result:
        yield "\n".join(_verified(kind, value) for kind, value in result["verified"].items())
    yield _summary(result)


def _summary(result: dict[str, Any]) -> str:
    head = (
        f"{result['objects']} objects on {result['images']} images, AP in percent, criterion {result['criterion']}, "
        f"{result['evaluator']}"
    )
    kinds = [("boxes", "metrics"), ("boxes, by GIoU", "giou_metrics"), ("masks", "mask_metrics")]
    kinds += [("boxes, other detections", "against")]
    rows = [([label], result[key]) for label, key in kinds if result.get(key)]
    return f"{head}\n\n{_table([''], rows)}"


def _per_class(classes: dict[str, dict[str, Any]]) -> str:
    """A line for each class: AP, and the counts of objects and detections."""
    counts = ("objects", "detections")
    names = [name for name in dict.fromkeys(key for values in classes.values() for key in values) if name not in counts]
    shown = [name for name in counts if any(name in values for values in classes.values())]
    lines = [
        [label, *(_number(values.get(name)) for name in names), *(str(values.get(name, "-")) for name in shown)]
        for label, values in classes.items()
    ]
    return _text(["class", *names, *shown], lines)


def _verified(kind: str, value: dict[str, Any]) -> str:
    if not value.get("reasons"):
        return (
            f"verified, {kind}: equal to {value['evaluator']} in every class, threshold, area and limit (worst "
            f"difference {value['difference']:.1e})"
        )
    lines = [f"not verified, {kind}: {value['evaluator']}"]
    if value["difference"] is not None:
        theirs = ", ".join(f"{name} {_number(number)}" for name, number in value["metrics"].items())
        lines = [f"not equal, {kind}: {value['evaluator']} gives {theirs}"]
    return "\n".join([*lines, *(f"- {reason}" for reason in value["reasons"])])


def _intervals(result: dict[str, Any]) -> str:
    lines = [
        [name, *(_number(value[key]) for key in ("estimate", "low", "high", "se")), _signed(value["bias"])]
        for name, value in result["intervals"].items()
        if value
    ]
    drawn = result["bootstrap"]
    note = (
        f"Expected value on a test set of this size, estimate ± 1.96 standard errors; {drawn['replicates']} "
        f"resamplings of the images, seed {drawn['seed']}."
    )
    return note + "\n" + _text(["metric", "estimate", "low", "high", "SE", "bias"], lines) + _rare(result)


def _rare(result: dict[str, Any]) -> str:
    rare = result.get("rare_classes")
    if not rare:
        return ""
    return (
        "\nClasses with fewer than 10 objects, whose variance the bootstrap underestimates, so that intervals are too "
        f"narrow: {', '.join(rare)}"
    )


def _difference(result: dict[str, Any]) -> str:
    supported = f"{result['supported_classes']} classes with at least 10 objects"
    parts = []
    for key, over in (("difference", "all classes"), ("difference_supported", supported)):
        lines = []
        for name, value in result[key].items():
            if value is None:
                continue
            ranges = [_range(value.get(kind)) for kind in ("t", "percentile")]
            lines.append([name, _signed(value["estimate"]), _number(value.get("se")), *ranges])
        heads = ["metric", "difference", "SE", "95% t", "95% percentile"]
        parts.append(
            f"Paired difference (detections - other detections), same images, over {over}:\n{_text(heads, lines)}"
        )
    return "\n\n".join(parts)


def _table(heads: list[str], rows: list[tuple[list[str], dict[str, float | None]]]) -> str:
    names = list(dict.fromkeys(name for _, metrics in rows for name in metrics))
    lines = [[*label, *(_number(metrics.get(name)) for name in names)] for label, metrics in rows]
    return _text([*heads, *names], lines)


def _text(heads: list[str], lines: list[list[str]]) -> str:
    alignment = ["left", *["right"] * (len(heads) - 1)]
    return tabulate(lines, heads, disable_numparse=True, colalign=alignment if lines else None)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"


def _range(value: list[float] | None) -> str:
    return "-" if value is None else f"{value[0]:+.2f} to {value[1]:+.2f}"
