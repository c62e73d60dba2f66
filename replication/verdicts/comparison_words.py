"""The sentence that answers a comparison, and how its numbers are written."""

from __future__ import annotations

from replication.verdicts.comparison_records import Bounds, Contrast, Options

MINUS = "\N{MINUS SIGN}"


def sentence(contrast: Contrast, options: Options) -> str:
    """The answer that can be quoted: the verdict, the difference with its intervals, the number of runs."""
    effect, arm, baseline = contrast.effect, contrast.arm, contrast.baseline
    digits = decimals(effect.new_images or effect.this_benchmark)
    size = f"{number(abs(effect.difference), digits)} {options.metric}"
    gain = f"{signed(effect.difference, digits)} {options.metric}"
    level = f"{100 * (1 - options.alpha):.3g}% interval"
    known = ((effect.new_images, "new images"), (effect.this_benchmark, "this benchmark"))
    bounds = "; ".join(f"{span(interval, digits)}, {name}" for interval, name in known if interval is not None)
    runs = f"{contrast.runs[1]} against {contrast.runs[0]} run{'' if max(contrast.runs) == 1 else 's'}"
    if contrast.verdict == "no verdict":
        return f"No verdict on {arm} against {baseline}: these runs differ by {gain} ({level} {bounds} only), {runs}"
    if contrast.verdict in ("better", "worse"):
        return f"{arm} is {contrast.verdict} than {baseline} by {size} ({level} {bounds}), {runs}"
    if contrast.verdict == "inconclusive":
        return f"Inconclusive whether {arm} is better than {baseline}: {gain} ({level} {bounds}), {runs}"
    practical = number(options.practical or 0.0, digits)
    return f"{arm} brings no gain of {practical} {options.metric} over {baseline}: {gain} ({level} {bounds}), {runs}"


def decimals(interval: Bounds | None) -> int:
    """One decimal for intervals of at least a point, two for narrower ones."""
    return 1 if interval is None or interval.high - interval.low >= 1 else 2


def number(value: float, digits: int = 1) -> str:
    """A value with a true minus sign; what rounds to zero has none."""
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", MINUS)


def signed(value: float, digits: int = 1) -> str:
    """A difference with its sign."""
    return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", MINUS)


def span(interval: Bounds | None, digits: int = 1) -> str:
    """Both bounds; a dash where there are none."""
    return "-" if interval is None else f"{number(interval.low, digits)} to {number(interval.high, digits)}"


def p_text(p: float | None) -> str:
    """A p value with three decimals."""
    return "-" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"
