"""Average precision written down once more, from the definitions and in plain loops, for golden values to come from.

Slow and short on purpose: it shares no code, no library and no order of operations with the package. Boxes here are
corners (x1, y1, x2, y2); a record is one dictionary of a COCO file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Box = Sequence[float]
Overlap = Callable[[Box, Box, bool], float]

THRESHOLDS = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
RANGES = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
RECALLS = [k * 0.01 for k in range(101)]  # in floating point, as numpy's linspace has them


def corners(record: dict[str, Any]) -> Box:
    x, y, width, height = record["bbox"]
    return x, y, x + width, y + height


def extent(box: Box, pixel: float) -> float:
    return (box[2] - box[0] + pixel) * (box[3] - box[1] + pixel)


def shared_area(one: Box, other: Box, pixel: float) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0]) + pixel
    height = min(one[3], other[3]) - max(one[1], other[1]) + pixel
    return width * height if width > 0 and height > 0 else 0.0


def hull_area(one: Box, other: Box, pixel: float) -> float:
    hull = (min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3]))
    return extent(hull, pixel)


def iou(box: Box, other: Box, crowd: bool) -> float:
    """COCO's overlap; of a crowd, the part of the detection that lies in it."""
    common = shared_area(box, other, 0)
    return common / (extent(box, 0) if crowd else extent(box, 0) + extent(other, 0) - common)


def giou(box: Box, other: Box, crowd: bool) -> float:
    """Equation 1 of GIoU; crowds as under IoU."""
    if crowd:
        return iou(box, other, True)
    union = extent(box, 0) + extent(other, 0) - shared_area(box, other, 0)
    hull = hull_area(box, other, 0)
    return iou(box, other, False) - (hull - union) / hull


def giou_paper(box: Box, other: Box, crowd: bool) -> float:
    """As the authors' evaluation has it: the union with a crowd is the detection's own area, in the penalty too."""
    if not crowd:
        return giou(box, other, False)
    hull = hull_area(box, other, 0)
    return iou(box, other, True) - (hull - extent(box, 0)) / hull


def voc_iou(box: Box, other: Box, _: bool) -> float:
    """VOC's overlap: both border pixels belong to a box."""
    common = shared_area(box, other, 1)
    return common / (extent(box, 1) + extent(other, 1) - common)


def voc_giou(box: Box, other: Box, _: bool) -> float:
    """GIoU with VOC's border pixels and a penalty of at least 0, as the authors' script has it."""
    union = extent(box, 1) + extent(other, 1) - shared_area(box, other, 1)
    hull = hull_area(box, other, 1)
    return voc_iou(box, other, False) - max((hull - union) / hull, 0.0)


def by_score(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(records, key=lambda record: -record["score"])


def coco_image(
    objects: list[dict[str, Any]],
    detections: list[dict[str, Any]],
    overlap: Overlap,
    threshold: float,
    bounds: tuple[float, float],
) -> tuple[list[tuple[float, bool]], int]:
    """One image and class: (score, true) of each detection that counts, and how many objects count."""

    def outside(area: float) -> bool:
        return not bounds[0] <= area <= bounds[1]

    ignored = [bool(one["iscrowd"] or one.get("ignore") or outside(one["area"])) for one in objects]
    order = sorted(range(len(objects)), key=lambda index: ignored[index])
    matched: set[int] = set()
    judged = []
    for record in by_score(detections)[:100]:
        best, least = None, min(threshold, 1 - 1e-10)
        for index in order:
            if index in matched and not objects[index]["iscrowd"]:
                continue
            if best is not None and not ignored[best] and ignored[index]:
                break
            value = overlap(corners(record), corners(objects[index]), bool(objects[index]["iscrowd"]))
            if value >= least:
                best, least = index, value
        if best is not None:
            matched.add(best)
        if not (ignored[best] if best is not None else outside(record["bbox"][2] * record["bbox"][3])):
            judged.append((record["score"], best is not None))
    return judged, ignored.count(False)


def coco_average_precision(
    truth: dict[str, Any],
    detections: list[dict[str, Any]],
    category: int,
    overlap: Overlap,
    threshold: float,
    bounds: tuple[float, float] = RANGES["all"],
) -> float | None:
    """AP (0 to 1) of one class at one threshold over one range of areas; None without an object to find."""
    judged: list[tuple[float, bool]] = []
    total = 0
    for image in sorted(one["id"] for one in truth["images"]):
        place = {"image_id": image, "category_id": category}
        objects, detections_here = (
            [one for one in records if {key: one[key] for key in place} == place]
            for records in (truth["annotations"], detections)
        )
        counted, present = coco_image(objects, detections_here, overlap, threshold, bounds)
        judged += counted
        total += present
    if total == 0:
        return None
    curve = recall_and_precision(judged, total)
    return sum(max((p for r, p in curve if r >= level), default=0.0) for level in RECALLS) / 101


def recall_and_precision(judged: list[tuple[float, bool]], total: int) -> list[tuple[float, float]]:
    curve, true = [], 0
    for count, (_, hit) in enumerate(sorted(judged, key=lambda pair: -pair[0]), start=1):
        true += hit
        curve.append((true / total, true / count))
    return curve


def coco_metrics(truth: dict[str, Any], detections: list[dict[str, Any]], overlap: Overlap) -> dict[str, float | None]:
    """AP, AP50, AP75, APs, APm, APl, on 0-100."""

    def mean(thresholds: list[float], area: str) -> float | None:
        cells = [
            coco_average_precision(truth, detections, one["id"], overlap, threshold, RANGES[area])
            for threshold in thresholds
            for one in truth["categories"]
        ]
        present = [100 * cell for cell in cells if cell is not None]
        return sum(present) / len(present) if present else None

    return {
        "AP": mean(THRESHOLDS, "all"),
        "AP50": mean([0.5], "all"),
        "AP75": mean([0.75], "all"),
        "APs": mean(THRESHOLDS, "small"),
        "APm": mean(THRESHOLDS, "medium"),
        "APl": mean(THRESHOLDS, "large"),
    }


def voc_average_precision(
    truth: dict[str, Any],
    detections: list[dict[str, Any]],
    category: int,
    overlap: Overlap,
    threshold: float,
    eleven_points: bool,
) -> float:
    """AP (0 to 1) of one class by VOC's rules; boxes are 1-based corners, detections in the order of their files.

    Each detection looks only at the object that it overlaps most. It is true when the overlap exceeds the threshold
    and nothing has claimed the object; it does not count when the object is difficult.
    """
    objects = [one for one in truth["annotations"] if one["category_id"] == category]
    total = sum(not one["difficult"] for one in objects)
    claimed: set[int] = set()
    judged = []
    for record in by_score([one for one in detections if one["category_id"] == category]):
        candidates = [one for one in objects if one["image_id"] == record["image_id"]]
        values = [overlap(record["bbox"], one["bbox"], False) for one in candidates]
        best = max(range(len(values)), key=values.__getitem__, default=None)
        if best is None or values[best] <= threshold:
            judged.append((record["score"], False))
        elif not candidates[best]["difficult"]:
            judged.append((record["score"], candidates[best]["id"] not in claimed))
            claimed.add(candidates[best]["id"])
    curve = recall_and_precision(judged, total)
    if eleven_points:
        return sum(max((p for r, p in curve if r >= k * 0.1), default=0.0) for k in range(11)) / 11
    area = last = 0.0
    for index, (recall, _) in enumerate(curve):
        area += (recall - last) * max(p for _, p in curve[index:])
        last = recall
    return area
