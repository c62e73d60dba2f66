"""Masks of detections in other forms than the run-length code that COCO's result list has."""

from __future__ import annotations

from typing import Any

import msgspec

from replication.formats.segmentations import compressed, drawable, parse_segmentation


def run_lengths(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """Polygons, or a run-length code in numbers, as a compressed code. Raises ValueError saying what is wrong."""
    mask = parse_segmentation(msgspec.json.encode(segmentation), height, width)
    if isinstance(mask, dict):
        return compressed(mask)
    if not mask or not all(map(drawable, mask)):
        raise ValueError("polygons need x and y of at least three points each")
    from pycocotools import mask as mask_utils

    code = mask_utils.merge(mask_utils.frPyObjects(mask, height, width))
    return {"size": [height, width], "counts": code["counts"].decode("ascii")}
