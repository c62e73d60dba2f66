"""Values as people's tools write them: flags, ids, sizes and coordinates, under one rule for every format."""

from __future__ import annotations

import math
from typing import Any

Identifier = int | str
_FLAGS = {"0": False, "false": False, "1": True, "true": True, "": False, "null": False, "none": False}
UNSPECIFIED = "unspecified"  # what labelling tools write into VOC's fields that nobody filled in


def flag(value: Any) -> bool:
    """A yes-or-no field: 0, 1, true, false, null or absent, the same as text in any case. Raises ValueError."""
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, int | float) and value in (0, 1):
        return value == 1
    if isinstance(value, str) and (known := _FLAGS.get(value.strip().lower())) is not None:
        return known
    raise ValueError(f"is {shown(value)}, expected 0 or 1, true or false")


def identifier(value: Any) -> Identifier:
    """An id: a whole number, also written with a decimal point, or text. Raises ValueError."""
    if isinstance(value, str) and value.strip():
        return value
    return whole(value, "a whole number or text")


def whole(value: Any, expected: str = "a whole number") -> int:
    """A whole number of 64 bits, also written as 11.0. Raises ValueError that names another type."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"is {shown(value)}, expected {expected}")
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"is {shown(value)}, which does not fit into 64 bits")
    return value


def size(value: Any) -> int | None:
    """An image's height or width in pixels; None where it is absent or, as 0 and -1, a placeholder."""
    if value is None:
        return None
    number = whole(value, "a whole number of pixels")
    return number if number > 0 else None


def is_finite(value: Any) -> bool:
    """Whether a value is a number that computations can go on with."""
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # a whole number beyond floating point
        return False


def shown(value: Any) -> str:
    """A value and, where a number was expected, its type, for a message: ``'1' (text)``."""
    text = repr(value)
    text = text if len(text) <= 80 else f"{text[:77]}..."
    kinds = {str: " (text)", list: " (a list)", dict: " (a record)", bool: " (true or false)"}
    return text + kinds.get(type(value), "")
