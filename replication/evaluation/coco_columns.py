"""What a ``COCOeval`` is given, as columns: objects of pycocotools, or any ground truth and detections of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from replication.errors import ConfigError, DataError
from replication.evaluation.inputs import as_detections, as_ground_truth
from replication.formats.columns import Detections, Floats, GroundTruth, Ints, from_xywh


@dataclass(frozen=True)
class Columns:
    """Ground truth and detections: both objects of pycocotools, or both columns of ours."""

    truth: Any
    found: Any
    image_ids: Sequence[Any]
    class_ids: Sequence[Any]

    @classmethod
    def of(cls, truth: Any, found: Any, masks: bool) -> Columns:
        """Whatever was given to ``COCOeval``; ``found`` may be what pycocotools' ``loadRes`` takes."""
        if hasattr(truth, "imgToAnns"):
            if not hasattr(found, "imgToAnns"):
                found = truth.loadRes(found)
            return cls(truth, found, truth.getImgIds(), truth.getCatIds())
        if hasattr(found, "imgToAnns"):
            found = found.dataset["annotations"]
        columns = as_ground_truth(truth)
        detections = as_detections(found, columns, "cocoDt")
        if masks and (columns.masks is None or detections.masks is None):
            raise DataError("COCOeval: iouType is 'segm', but objects or detections have no segmentation")
        return cls(columns, detections, columns.image_ids.tolist(), columns.class_ids.tolist())


@dataclass(frozen=True)
class Selected:
    """The images and classes that are evaluated; ``areas`` (N,) are the detections', for area ranges."""

    truth: GroundTruth
    detections: Detections
    areas: Floats
    object_masks: Sequence[Any] | None

    def overlaps(self, rows: Ints, columns: Ints, limit: int) -> Floats | None:
        """Overlaps of masks of one class, an image after the other, detections by falling score; None for boxes."""
        if self.object_masks is None or self.detections.masks is None:
            return None
        from pycocotools import mask as mask_utils

        parts = [np.empty(0)]
        for image in np.intersect1d(self.detections.images[rows], self.truth.images[columns]):
            own = rows[self.detections.images[rows] == image]
            own = own[np.argsort(-self.detections.scores[own], kind="stable")][:limit]
            others = columns[self.truth.images[columns] == image]
            masks = [self.detections.masks[row] for row in own], [self.object_masks[place] for place in others]
            found = mask_utils.iou(*masks, self.truth.crowds[others].tolist())
            parts.append(np.asarray(found, np.float64).reshape(-1))
        return np.concatenate(parts)


def select(
    columns: Columns, image_ids: Sequence[Any], class_ids: Sequence[Any], classes: bool, masks: bool
) -> Selected:
    """Only what is on ``image_ids`` and of ``class_ids``, classes in that order, all one unless ``classes``."""
    if not len(image_ids) or not len(class_ids):
        raise ConfigError("COCOeval: params.imgIds or params.catIds is empty; there is nothing to evaluate")
    if hasattr(columns.truth, "imgToAnns"):
        selected = _of_pycocotools(columns, image_ids, class_ids, masks)
    else:
        selected = _of_ours(columns, image_ids, class_ids, masks)
    return selected if classes else _one_class(selected)


def _of_pycocotools(columns: Columns, image_ids: Sequence[Any], class_ids: Sequence[Any], masks: bool) -> Selected:
    place = {key: number for number, key in enumerate(image_ids)}, {key: number for number, key in enumerate(class_ids)}
    objects, found = (
        [one for key in image_ids for one in source.imgToAnns.get(key, ()) if one["category_id"] in place[1]]
        for source in (columns.truth, columns.found)
    )
    boxes, box_areas = _boxes(objects, masks)
    crowds = np.array([bool(one.get("iscrowd")) for one in objects], np.bool_)
    truth = GroundTruth(
        image_ids=np.arange(len(image_ids)),
        sizes=np.full((len(image_ids), 2), np.nan),
        class_ids=np.arange(len(class_ids)),
        class_names=tuple(map(str, class_ids)),
        images=_places(objects, "image_id", place[0]),
        labels=_places(objects, "category_id", place[1]),
        boxes=boxes,
        box_areas=box_areas,
        areas=_areas(objects),
        crowds=crowds,
        ignored=crowds.copy(),
        difficult=np.zeros(len(objects), np.bool_),
    )
    boxes, box_areas = _boxes(found, masks)
    detections = Detections(
        images=_places(found, "image_id", place[0]),
        labels=_places(found, "category_id", place[1]),
        boxes=boxes,
        box_areas=box_areas,
        scores=np.array([one["score"] for one in found], np.float64),
        masks=tuple(columns.found.annToRLE(one) for one in found) if masks else None,
    )
    drawn = [columns.truth.annToRLE(one) for one in objects] if masks else None
    return Selected(truth, detections, _areas(found), drawn)


def _places(annotations: Sequence[Mapping[str, Any]], key: str, place: Mapping[Any, int]) -> Ints:
    return np.array([place[one[key]] for one in annotations], np.int64)


def _areas(annotations: Sequence[Mapping[str, Any]]) -> Floats:
    try:
        return np.array([one["area"] for one in annotations], np.float64)
    except KeyError:
        bad = next(one.get("id") for one in annotations if "area" not in one)
        raise DataError(f"COCOeval: annotation {bad}: key 'area' is missing") from None


def _boxes(annotations: Sequence[Mapping[str, Any]], masks: bool) -> tuple[Floats, Floats]:
    """Corners and areas of the boxes; masks need none."""
    if masks:
        return np.zeros((len(annotations), 4)), np.zeros(len(annotations))
    try:
        return from_xywh(np.array([one["bbox"] for one in annotations], np.float64).reshape(-1, 4))
    except KeyError:
        bad = next(one.get("id") for one in annotations if "bbox" not in one)
        raise DataError(f"COCOeval: annotation {bad}: key 'bbox' is missing") from None


def _of_ours(columns: Columns, image_ids: Sequence[Any], class_ids: Sequence[Any], masks: bool) -> Selected:
    from replication.evaluation.masks import mask_areas, rle

    truth, found = columns.truth, columns.found
    image_of, class_of = (
        _renumbered(known, wanted) for known, wanted in ((truth.image_ids, image_ids), (truth.class_ids, class_ids))
    )
    # In the order of images, as the ground truth of a file need not be.
    objects, rows = (
        np.flatnonzero((image_of[part.images] >= 0) & (class_of[part.labels] >= 0)) for part in (truth, found)
    )
    chosen = {key: getattr(truth, key)[objects] for key in ("boxes", "box_areas", "areas", "crowds", "ignored")}
    smaller = GroundTruth(
        image_ids=np.arange(len(image_ids)),
        sizes=np.full((len(image_ids), 2), np.nan),
        class_ids=np.arange(len(class_ids)),
        class_names=tuple(map(str, class_ids)),
        images=image_of[truth.images[objects]],
        labels=class_of[truth.labels[objects]],
        difficult=truth.difficult[objects],
        **chosen,
    )
    detections = Detections(
        images=image_of[found.images[rows]],
        labels=class_of[found.labels[rows]],
        boxes=found.boxes[rows],
        box_areas=found.box_areas[rows],
        scores=found.scores[rows],
        masks=tuple(found.masks[row] for row in rows) if masks else None,
    )
    areas = mask_areas(detections) if masks else detections.box_areas
    return Selected(smaller, detections, areas, [rle(truth, int(one)) for one in objects] if masks else None)


def _renumbered(known: Ints, wanted: Sequence[Any]) -> Ints:
    """The new number of each known id, -1 for those that are not wanted."""
    place = {key: number for number, key in enumerate(wanted)}
    return np.array([place.get(key, -1) for key in known.tolist()], np.int64)


def _one_class(selected: Selected) -> Selected:
    """All classes as one; of equal scores, pycocotools takes the order of classes."""
    from dataclasses import replace

    truth, detections = selected.truth, selected.detections
    objects, rows = (np.argsort(part.labels, kind="stable") for part in (truth, detections))
    kept = ("images", "boxes", "box_areas", "areas", "crowds", "ignored", "difficult")
    return Selected(
        replace(
            truth,
            class_ids=np.array([0]),
            class_names=("object",),
            labels=np.zeros(len(objects), np.int64),
            **{key: getattr(truth, key)[objects] for key in kept},
        ),
        replace(
            detections,
            labels=np.zeros(len(rows), np.int64),
            masks=None if detections.masks is None else tuple(detections.masks[row] for row in rows),
            **{key: getattr(detections, key)[rows] for key in ("images", "boxes", "box_areas", "scores")},
        ),
        selected.areas[rows],
        None if selected.object_masks is None else [selected.object_masks[place] for place in objects],
    )
