"""Masks as files have them, polygons and run-length codes, checked and brought into pycocotools' form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from replication.formats.values import is_finite

FARTHEST = 1_000_000  # pixels; pycocotools walks along every edge, so one of any length takes any memory
Mask = list[list[float]] | dict[str, Any]
_POLYGONS = msgspec.json.Decoder(list[list[int | float]])


def uncovered(size: Sequence[int], pixels: int) -> str | None:
    """What is wrong with a run-length code that covers ``pixels`` of an image of ``size`` (-1: it does not decode)."""
    if pixels < 0:
        return "counts do not decode; write the mask again"
    if min(size) < 1 or max(size) >= 1 << 31 or size[0] * size[1] >= 1 << 31 or pixels != size[0] * size[1]:
        return f"counts cover {pixels} pixels, size is {list(size)}; write the mask again"
    return None


def parse_segmentation(text: bytes, height: int, width: int) -> Mask:
    """Polygons [[x, y, ...], ...], or a run-length code with ``counts`` as text or numbers that cover the image.

    Polygons may be empty or of fewer than three points. Raises ValueError saying what is wrong.
    """
    try:
        polygons = _POLYGONS.decode(text)
        if all(not each or -FARTHEST <= min(each) <= max(each) <= FARTHEST for each in polygons):
            return polygons
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass  # a run-length code, or to be named below
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        value = json.loads(text)  # which knows NaN, to be named below
    if isinstance(value, list):
        for number, polygon in enumerate(value):
            _check_polygon(number, polygon)
        return value
    counts = value.get("counts") if isinstance(value, dict) else None
    if not isinstance(counts, str | list):
        raise ValueError("expected polygons [[x, y, ...], ...] or an RLE {'size': [height, width], 'counts': ...}")
    if value.get("size") != [height, width]:
        raise ValueError(f"size is {value.get('size')}, the image is {[height, width]}")
    if isinstance(counts, list) and not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError("counts must be whole numbers, 0 or more")
    if wrong := uncovered((height, width), sum(counts) if isinstance(counts, list) else _pixels(counts)):
        raise ValueError(wrong)
    return {"size": [height, width], "counts": counts}


def drawable(polygon: list[float]) -> bool:
    """Whether a polygon has at least three points, each with x and y."""
    return len(polygon) >= 6 and len(polygon) % 2 == 0


def compressed(mask: dict[str, Any]) -> dict[str, Any]:
    """A run-length code with ``counts`` as text."""
    if isinstance(mask["counts"], str):
        return mask
    from pycocotools import mask as mask_utils

    height, width = mask["size"]
    code = mask_utils.frPyObjects(mask, height, width)
    return {"size": [height, width], "counts": code["counts"].decode("ascii")}


def _check_polygon(number: int, polygon: Any) -> None:
    if not isinstance(polygon, list):
        raise ValueError(f"polygon {number} needs x and y of at least three points, in a list")
    if not all(is_finite(value) and abs(value) <= FARTHEST for value in polygon):
        raise ValueError(f"polygon {number} needs numbers of pixels, at most {FARTHEST} from the corner")


def _pixels(counts: str) -> int:
    from replication.formats.rle_kernels import pixels

    return int(pixels([counts])[0])
