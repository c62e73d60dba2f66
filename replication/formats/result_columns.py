"""Checks that detections of every format pass on their way into columns, and the warnings that they end in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from replication.formats.columns import Detections, Floats, GroundTruth, Ints, first, from_xywh, indices
from replication.formats.problems import Problems
from replication.formats.values import identifier, shown

if TYPE_CHECKING:
    from replication.formats.image_files import NameIndex

_NAMED = 10  # classes that a warning lists
LEFT_OUT = "left out, of classes not in the ground truth"


def checked_detections(
    problems: Problems,
    image: Ints,
    label: Ints,
    score: Floats,
    xywh: Floats,
    truth: GroundTruth,
    areas: Floats | None = None,
    masks: tuple[dict[str, Any], ...] | None = None,
    notes: tuple[str, ...] = (),
    foreign: Mapping[int, str] = MappingProxyType({}),
) -> Detections:
    """Detections from ids of images and classes, scores, and XYWH boxes.

    ``foreign`` are the texts of class ids that the ground truth lacks, where its ids are text.

    Detections of classes that the ground truth lacks are left out with a warning, as pycocotools does; boxes without
    area stay as false detections. Raises the error of ``problems`` for unknown images, and for numbers that are not
    finite or sizes that are negative.
    """
    images, more = _images(problems, image, truth)
    if (bad := first(~np.isfinite(score))) is not None:
        raise problems.fail(f"detections[{bad}]", f"score is {float(score[bad])!r}, expected a finite number")
    check_boxes(problems, xywh)
    boxes, own_areas = from_xywh(xywh)
    areas = own_areas if areas is None else areas
    return located(images, label, boxes, areas, score, truth, masks, notes + more, foreign)


def located(
    images: Ints,
    label: Ints,
    boxes: Floats,
    areas: Floats,
    score: Floats,
    truth: GroundTruth,
    masks: tuple[dict[str, Any], ...] | None = None,
    notes: tuple[str, ...] = (),
    foreign: Mapping[int, str] = MappingProxyType({}),
) -> Detections:
    """Detections of XYXY boxes on ``images``, places in the ground truth, and of ``label``, ids of classes."""
    labels, unknown = indices(label, truth.class_ids)
    if not unknown.any():
        return Detections(images, labels, boxes, areas, score, masks, notes)
    kept = ~unknown
    masks = None if masks is None else tuple(mask for mask, keep in zip(masks, kept, strict=True) if keep)
    notes = (*notes, _foreign(label[unknown], truth, foreign))
    return Detections(images[kept], labels[kept], boxes[kept], areas[kept], score[kept], masks, notes)


def check_boxes(problems: Problems, xywh: Floats) -> None:
    """Refuse boxes with numbers that are not finite, or of negative width or height."""
    with np.errstate(over="ignore", invalid="ignore"):
        corners, areas = xywh[:, :2] + xywh[:, 2:], xywh[:, 2] * xywh[:, 3]
    if (bad := first(~(np.isfinite(corners[:, 0]) & np.isfinite(corners[:, 1]) & np.isfinite(areas)))) is not None:
        message = f"bbox is {xywh[bad].tolist()}, expected four finite numbers [x, y, width, height]"
        raise problems.fail(f"detections[{bad}]", message)
    if (bad := first((xywh[:, 2] < 0) | (xywh[:, 3] < 0))) is not None:
        message = f"bbox {xywh[bad].tolist()} has negative width or height; boxes are [x, y, width, height]"
        raise problems.fail(f"detections[{bad}]", message)


def _images(problems: Problems, image: Ints, truth: GroundTruth) -> tuple[Ints, tuple[str, ...]]:
    """Places of the images; where ids are unknown, but all are numbers that the files are named by, by those."""
    places, unknown = indices(image, truth.image_ids)
    if (bad := first(unknown)) is None:
        return places, ()
    named = _name_index(truth).numbers()
    by_name = [named.get(number) for number in image.tolist()]
    if None not in by_name:
        return np.array(by_name, np.int64), (BY_NAME.format(example=int(image[0])),)
    message = f"image_id {image[bad]} is not in the ground truth; are the two files of one data set?"
    raise problems.fail(f"detections[{bad}]", message)


BY_NAME = "image ids, such as {example!r}, are names of files: mapped through file_name of the ground truth"


_UNKNOWN = "which is neither an id nor the file_name of one image in the ground truth"
_TEXT = "which is text, but ids are whole numbers, and is not the file_name of one image; write ids without quotes"


def _name_index(truth: GroundTruth) -> NameIndex:
    """Images by the names of their files; its module loads a library of images, which nobody else needs here."""
    from replication.formats.image_files import NameIndex

    return NameIndex(truth.image_names)


class ImageIds:
    """Numbers of images by what a record of detections may call them: the id, or the name of the file."""

    def __init__(self, truth: GroundTruth) -> None:
        self.truth = truth
        ids = truth.image_ids.tolist()
        self.known: dict[int | str, int] = dict(zip(truth.image_keys or ids, ids, strict=True))
        self.by_name: str | None = None
        self._names: NameIndex | None = None

    def resolve(self, value: Any) -> int:
        """The image's number in the ground truth. Raises ValueError; unknown whole numbers are let through."""
        key = identifier(value)
        if (number := self.known.get(key)) is not None:
            return number
        if isinstance(key, int):
            if self.truth.image_keys:
                raise ValueError(f"is {key}, a whole number, but ids in the ground truth are text")
            return key
        if self._names is None:
            self._names = _name_index(self.truth)
        place = self._names.find(key)
        if place is None:
            raise ValueError(f"is {key!r}, {_UNKNOWN if self.truth.image_keys else _TEXT}")
        self.by_name = self.by_name or key
        return int(self.truth.image_ids[place])


class ClassIds:
    """Numbers of classes by what a record of detections may call them."""

    def __init__(self, truth: GroundTruth) -> None:
        ids = truth.class_ids.tolist()
        self.text = bool(truth.class_keys)
        self.known: dict[int | str, int] = dict(zip(truth.class_keys or ids, ids, strict=True))
        self.foreign: dict[str, int] = {}

    def resolve(self, value: Any) -> int:
        """The class's number in the ground truth, a number that it lacks for another class. Raises ValueError."""
        key = identifier(value)
        if (number := self.known.get(key)) is not None:
            return number
        if isinstance(key, str) and not self.text:
            raise ValueError(f"is {key!r}, which is text, ids are whole numbers; write it without quotes")
        if isinstance(key, int) and self.text:
            raise ValueError(f"is {shown(key)}, a whole number, but ids in the ground truth are text")
        if isinstance(key, int):
            return key
        return self.foreign.setdefault(key, -1 - len(self.foreign))


def _foreign(labels: Ints, truth: GroundTruth, texts: Mapping[int, str]) -> str:
    counts = Counter(labels.tolist())
    first_few = sorted(counts.items())[:_NAMED]
    named = ", ".join(f"{texts.get(number, number)} ({count} detections)" for number, count in first_few)
    text = f"{LEFT_OUT}: category_id {named}{', ...' if len(counts) > _NAMED else ''}"
    known = truth.class_ids.tolist()
    if set(counts) == {0} and known == list(range(1, len(known) + 1)):
        text += "; are these classes numbered from 0, but those of the ground truth from 1?"
    return text
