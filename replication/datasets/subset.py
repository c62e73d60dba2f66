"""A part of a data set's images with the whole's mix of classes and sizes, chosen by rule: no list has to be kept.

The rule. A kind of object is its class and its size, small, medium or large by COCO's areas (32^2 and 96^2 pixels);
crowds and ignored objects do not count. An image belongs to the rarest kind among its objects, that with the fewest
images, of equally rare ones to the first by class and size; images without objects are a kind of their own. Kinds are
taken by class and size. Within each, images are ordered by the SHA-256 of "<seed> <image id>", and as many first ones
are taken as make the number taken so far, all earlier kinds included, the nearest to ``share`` of the images so far.
So rare kinds are kept at their share, and each image is as likely as any other.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

AREAS = (32.0**2, 96.0**2)
Kind = tuple[int, int]
"""Class and size: 0 small, 1 medium, 2 large."""
NOTHING: Kind = (-1, 0)


def stratified(records: Sequence[dict[str, Any]], share: float, seed: int) -> list[dict[str, Any]]:
    """The records, as those of ``Split``, of the images that the rule chooses, in their own order."""
    kinds = {record["image_id"]: _kinds(record) for record in records}
    images = Counter(kind for found in kinds.values() for kind in found)
    strata: dict[Kind, list[int]] = defaultdict(list)
    for image, found in kinds.items():
        strata[min(found, key=lambda kind: (images[kind], kind), default=NOTHING)].append(image)
    chosen: set[int] = set()
    seen = 0
    for kind in sorted(strata):
        seen += len(strata[kind])
        wanted = math.floor(share * seen + 0.5) - len(chosen)
        chosen.update(sorted(strata[kind], key=lambda image: _place(seed, image))[:wanted])
    return [record for record in records if record["image_id"] in chosen]


def list_hash(records: Sequence[dict[str, Any]]) -> str:
    """Hex SHA-256 of the image ids in rising order, each on a line."""
    ids = sorted(record["image_id"] for record in records)
    return hashlib.sha256("".join(f"{image}\n" for image in ids).encode()).hexdigest()


def _kinds(record: dict[str, Any]) -> set[Kind]:
    return {
        (found["category_id"], bisect_left(AREAS, found["area"]))
        for found in record["annotations"]
        if not found["iscrowd"] and not found.get("ignore")
    }


def _place(seed: int, image: int) -> bytes:
    return hashlib.sha256(f"{seed} {image}".encode()).digest()
