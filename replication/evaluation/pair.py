"""The evaluation of one pair of files, or two detectors on one ground truth: every number, in one document."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import replication
from replication.errors import DataError, ResultError
from replication.evaluation.bootstrap import SUPPORTED, bootstrap, point
from replication.evaluation.intervals import differences, intervals
from replication.evaluation.matching import AREAS, COCO_AREAS, AreaRanges, Criterion, Matches, bounds, match
from replication.evaluation.mistakes import mistakes
from replication.evaluation.summary import per_class, summary
from replication.formats.columns import Detections, GroundTruth
from replication.formats.detections import read_detections, warnings_of
from replication.formats.truth import read_ground_truth
from replication.results.metrics import METRICS

OTHER_IMAGES = 0.1
"""Share of images with detections of one detector only above which two files are held to be of different images."""


@dataclass(frozen=True)
class Options:
    """How a pair is evaluated: ``masks`` None evaluates them when both files have them; ``against`` is another
    detections file on the same images, ``replicates`` 0 leaves the bootstrap out.
    """

    criterion: Criterion = "iou"
    area_ranges: AreaRanges = COCO_AREAS
    masks: bool | None = None
    against: Path | None = None
    replicates: int = 0
    seed: int = 0
    verify: bool = False


def evaluate(detections: Path, ground_truth: Path, options: Options | None = None) -> dict[str, Any]:
    """Evaluate detections against a ground truth, each of any form that ``replication.formats`` reads.

    Returns ``metrics`` (AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm, ARl, on 0-100, None where the ground
    truth has nothing to find), ``mask_metrics``, ``per_class``, ``mistakes``, ``intervals`` and ``difference`` where
    asked for, and what they are of. Raises DataError (ground truth) or ResultError (detections) naming file and record.
    """
    options = options or Options()
    truth = read_ground_truth(ground_truth).under(options.criterion)
    if not truth.objects:
        raise DataError(f"{ground_truth}: no object to find in any image, AP is not defined; check the split")
    found = read_detections(detections, truth)
    matches = match(truth, found, options.criterion, options.area_ranges)
    warnings = [f"{ground_truth}: {note}" for note in (*truth.notes, *_ignoring(truth, options.criterion))]
    warnings += warnings_of(detections, found, truth)
    use_masks = with_masks(found, truth, (detections, ground_truth), options.masks)
    by_mask = match(truth, found, "iou", options.area_ranges, masks=True) if use_masks else None
    result = describe(truth, found, matches, by_mask, options.area_ranges)
    if options.verify:
        result["verified"] = _verified((detections, ground_truth), matches, by_mask, options.area_ranges)
    if options.against is not None:
        other = read_detections(options.against, truth)
        warnings += warnings_of(options.against, other, truth)
        warnings += _same_images(truth, found, other, (detections, options.against))
        rival = match(truth, other, options.criterion, options.area_ranges)
        result |= compared(matches, rival, options.replicates, options.seed)
    elif options.replicates:
        result |= resampled(matches, options.replicates, options.seed)
    return result | {"warnings": warnings}


def describe(
    truth: GroundTruth, found: Detections, matches: Matches, by_mask: Matches | None, area_ranges: AreaRanges
) -> dict[str, Any]:
    """The numbers of one run, without uncertainty."""
    few = [name for name, count in zip(truth.class_names, truth.per_class, strict=True) if 0 < count < SUPPORTED]
    return {
        "criterion": matches.criterion,
        "metrics": summary(matches),
        "mask_metrics": summary(by_mask) if by_mask is not None else None,
        "per_class": _per_class(truth, found, matches),
        "mistakes": mistakes(truth, found, matches),
        "images": len(truth.image_ids),
        "objects": truth.objects,
        "rare_classes": few,
        "area_ranges": bounds(area_ranges),
        "evaluator": f"replication {replication.__version__}",
    }


def _per_class(truth: GroundTruth, found: Detections, matches: Matches) -> dict[str, dict[str, float | int | None]]:
    """AP and AP50 of each class, and how many objects to find and detections it has."""
    values = per_class(matches, point(matches, ("all",)))
    counts = np.bincount(found.labels, minlength=len(truth.class_ids)).tolist()
    rows = zip(truth.class_names, truth.per_class.tolist(), counts, strict=True)
    return {name: {**values[name], "objects": objects, "detections": count} for name, objects, count in rows}


def _ignoring(truth: GroundTruth, criterion: Criterion) -> list[str]:
    """A warning where 'ignore', which COCO's own evaluation overwrites by 'iscrowd', makes a difference."""
    count = int(np.count_nonzero(truth.ignored & ~truth.crowds))
    if criterion.startswith("voc") or not count:
        return []
    return [f"'ignore' of {count} objects is honoured: pycocotools disregards it and gives other numbers"]


def supported_classes(matches: Matches) -> Any:
    """Which classes (C,) have at least ``SUPPORTED`` objects."""
    return np.diff(matches.truth_starts) >= SUPPORTED


def resampled(matches: Matches, replicates: int, seed: int) -> dict[str, Any]:
    """``intervals`` of the metrics by the image bootstrap."""
    drawn = bootstrap(matches, replicates, seed, AREAS)
    estimate = point(matches)
    return {
        "bootstrap": {"replicates": replicates, "seed": seed, "unit": "image"},
        "intervals": {name: intervals(estimate.metric(name), drawn.metric(name)) for name in METRICS},
    }


def compared(matches: Matches, other: Matches, replicates: int, seed: int) -> dict[str, Any]:
    """``difference`` of two runs, first less second, with paired intervals, and over supported classes.

    Raises ResultError when they are of different images or classes.
    """
    for name in ("image_ids", "class_ids"):
        if not np.array_equal(getattr(matches, name), getattr(other, name)):
            raise ResultError(f"two runs of different {name} cannot be compared; evaluate both on one ground truth")
    estimates = point(matches), point(other)
    supported = supported_classes(matches)
    against = {name: float(estimates[1].metric(name)[0]) for name in METRICS}
    result: dict[str, Any] = {
        "against": {name: None if np.isnan(value) else value for name, value in against.items()},
        "supported_classes": int(supported.sum()),
    }
    drawn = [bootstrap(one, replicates, seed, AREAS) for one in (matches, other)] if replicates else []
    units = len(matches.image_ids)
    for key, classes in (("difference", None), ("difference_supported", supported)):
        result[key] = {}
        for name in METRICS:
            one, two = (run.metric(name, classes) for run in estimates)
            resamples = [run.metric(name, classes) for run in drawn]
            result[key][name] = differences(one, two, resamples[0] - resamples[1] if resamples else None, units)
    if drawn:
        result["bootstrap"] = {"replicates": replicates, "seed": seed, "unit": "image"}
        result["intervals"] = {name: intervals(estimates[0].metric(name), drawn[0].metric(name)) for name in METRICS}
    return result


def with_masks(detections: Detections, truth: GroundTruth, paths: tuple[Path, Path], wanted: bool | None) -> bool:
    """Whether masks can and shall be evaluated; ``paths`` are those of detections and ground truth.

    ``wanted`` None means: when both files carry them. True raises ResultError or DataError where one does not. Masks
    of the ground truth that cannot be drawn on their images raise DataError naming the annotation.
    """
    if wanted is False:
        return False
    drawable = truth.masks is not None and not np.isnan(truth.sizes).any()
    if wanted and detections.masks is None:
        raise ResultError(f"{paths[0]}: no segmentation in the records, masks cannot be evaluated")
    if wanted and not drawable:
        raise DataError(f"{paths[1]}: masks asked for, but annotations lack segmentation or images lack their size")
    if detections.masks is None or not drawable:
        return False
    from replication.evaluation.masks import check_masks

    check_masks(truth, paths[1])
    return True


def _verified(
    paths: tuple[Path, Path], matches: Matches, by_mask: Matches | None, area_ranges: AreaRanges
) -> dict[str, Any]:
    from replication.evaluation.verify import verify

    result = {"boxes": verify(paths, matches, area_ranges)}
    if by_mask is not None:
        result["masks"] = verify(paths, by_mask, area_ranges, masks=True)
    return result


def _same_images(truth: GroundTruth, one: Detections, other: Detections, paths: tuple[Path, Path]) -> list[str]:
    """Refuse detections of different images; a warning where a few images have detections in one file only."""
    seen, seen_other = (np.isin(np.arange(len(truth.image_ids)), columns.images) for columns in (one, other))
    alone = seen != seen_other
    if not alone.any():
        return []
    example = truth.image_ids[np.argmax(alone)]
    place = paths[0] if seen[np.argmax(alone)] else paths[1]
    text = (
        f"{alone.sum()} of {(seen | seen_other).sum()} images have detections in one of {paths[0]} and {paths[1]} "
        f"only, such as image {example} in {place}"
    )
    if alone.sum() > OTHER_IMAGES * (seen | seen_other).sum():
        raise ResultError(f"{text}; a difference needs both detectors on the same images: run both on all of them")
    return [text]
