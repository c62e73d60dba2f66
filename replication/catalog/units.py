"""Units of the papers' columns, and how numbers in them are written: decimals, signs, intervals."""

from __future__ import annotations

from replication.catalog.papers import Unit

MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"

_DECIMALS: dict[Unit, int] = {"fraction": 3, "percent": 1, "ms": 0}
"""As the papers print them."""


def points(unit: Unit) -> float:
    """What one of the unit is in our own numbers: AP is measured on 0-100, and some papers print fractions."""
    return 100.0 if unit == "fraction" else 1.0


def half_digit(unit: Unit) -> float:
    """The largest error of a printed number by rounding."""
    return 0.5 * 10.0 ** -_DECIMALS[unit]


def number(value: float, unit: Unit) -> str:
    """With the decimals of the unit."""
    return f"{value:.{_DECIMALS[unit]}f}"


def signed(value: float, unit: Unit, extra: int = 0, minus: str = "-") -> str:
    """A difference with its sign and ``extra`` decimals; what rounds to zero is +0."""
    return _signed(value, _DECIMALS[unit] + extra, minus)


def gain(value: float, unit: Unit, minus: str = MINUS) -> str:
    """A measured gain or a bound of its interval: one decimal more than the paper prints."""
    return signed(value, unit, 1, minus)


def gain_interval(low: float, high: float, unit: Unit, minus: str = MINUS) -> str:
    """Both bounds of a gain."""
    return f"{gain(low, unit, minus)} to {gain(high, unit, minus)}"


def percent(value: float, minus: str = MINUS) -> str:
    """A relative gain."""
    return f"{_signed(value, 1, minus)} %"


def milliseconds(value: float, low: float | None = None, high: float | None = None) -> str:
    """A measured time with its interval where there is one."""
    return _with_interval(value, low, high, 2)


def ratio(value: float, low: float | None = None, high: float | None = None) -> str:
    """A ratio with its interval where there is one."""
    return _with_interval(value, low, high, 3)


def _with_interval(value: float, low: float | None, high: float | None, decimals: int) -> str:
    interval = "" if low is None or high is None else f" [{low:.{decimals}f}, {high:.{decimals}f}]"
    return f"{value:.{decimals}f}{interval}"


def _signed(value: float, decimals: int, minus: str) -> str:
    return f"{round(value, decimals) + 0.0:+.{decimals}f}".replace("-", minus)
