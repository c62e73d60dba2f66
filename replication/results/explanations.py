"""What is wrong with a JSON document, in words: msgspec's message with the field by its name."""

from __future__ import annotations

import math
from typing import Any

import msgspec


def explained(message: str, content: Any, kind: type[msgspec.Struct]) -> str:
    """Msgspec's message, the field first. It writes ``[...]`` for any key of a mapping; here it is the key."""
    what, _, place = message.partition(" - at `$")
    place = place.rstrip("`")
    missing = what.partition("missing required field `")[2].rstrip("`")
    keys: list[str | int] = []
    value = content
    for part in _parts(place):
        key = part if part != "..." else _culprit(content, keys, value, kind)
        if key is None:
            break
        keys.append(key)
        value = value[key]
    field = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")
    if missing:
        return f"{field}.{missing} is missing".lstrip(".")
    shown = repr(value)
    return f"{field} is {shown if len(shown) <= 60 else shown[:60] + '...'}, {what[0].lower()}{what[1:]}"


def _parts(place: str) -> list[str | int]:
    """``.a[0].b`` as ``a``, 0, ``b``; ``...`` for any key."""
    parts: list[str | int] = []
    for word in place.replace("[", ".[").split(".["):
        head, *names = word.split("]")[-1].split(".")
        if "]" in word:
            index = word.partition("]")[0]
            parts.append(int(index) if index.isdigit() else "...")
        elif head:
            parts.append(head)
        parts += [name for name in names if name]
    return parts


def _culprit(content: Any, keys: list[str | int], mapping: Any, kind: type[msgspec.Struct]) -> str | None:
    """The key of a mapping inside ``content`` whose value alone keeps it from being converted."""
    for key, value in mapping.items():
        try:
            msgspec.convert(_with(content, keys, {key: value}), kind)
        except msgspec.ValidationError as error:
            if "[...]" in str(error):
                return str(key)
    return None


def _with(content: Any, keys: list[str | int], value: Any) -> Any:
    """A copy of nested mappings and lists with another value at a place."""
    if not keys:
        return value
    changed = content.copy()
    changed[keys[0]] = _with(content[keys[0]], keys[1:], value)
    return changed


def not_finite(content: Any, place: str = "") -> str:
    """``field is inf`` for the first number that is not finite; JSON has none, but readers take them."""
    if isinstance(content, float) and not math.isfinite(content):
        return f"{place.lstrip('.')} is {content}, expected a finite number"
    if isinstance(content, dict):
        return next(filter(None, (not_finite(value, f"{place}.{key}") for key, value in content.items())), "")
    if isinstance(content, list):
        return next(filter(None, (not_finite(value, f"{place}[{number}]") for number, value in enumerate(content))), "")
    return ""
