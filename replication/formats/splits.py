"""Annotations as Detectron2's dataset records: what training and inference take."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from replication.catalog.protocols import SplitName as SplitName
from replication.errors import DataError
from replication.formats.annotations import Annotations, Box, Image, Object
from replication.formats.image_files import ImageFolder, check_depth, read_size
from replication.formats.problems import Problems
from replication.formats.segmentations import Mask, compressed, drawable, parse_segmentation

SPLITS: tuple[SplitName, ...] = ("train", "val")
Difficult = Literal["keep", "ignore", "drop"]
"""What becomes of difficult objects: as they are, marked ``ignore`` as well, or left out."""
BORDER = 1.0  # pixels a box may reach over its image without being clipped: rounding, or 0-based boxes in VOC files
JPEG = (".jpg", ".jpeg")  # the only format whose pixels always have 8 bits

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """One split as Detectron2 dataset dicts.

    A record has ``file_name`` (absolute or relative to the working folder), ``height``, ``width``, ``image_id`` (int)
    and ``annotations``, each with ``bbox`` (XYXY, absolute pixels), ``bbox_mode`` 0, ``category_id`` (index into
    ``classes``), ``iscrowd``, ``id``, ``area`` and, where the data have them, ``segmentation``, ``difficult`` and
    ``ignore``. ``category_ids`` maps that index to the id in ground truth and detections. Image names in ground truth
    are relative to ``root``.
    """

    name: str
    records: list[dict[str, Any]]
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    root: Path


def training_split(
    name: str,
    annotations: Annotations,
    folder: Path,
    difficult: Difficult = "keep",
    require_images: bool = True,
    masks: bool = True,
) -> Split:
    """Annotations as the records of a split, whose images lie in ``folder``.

    Crowds and images without objects stay. Boxes that leave their image by more than BORDER pixels are clipped, and
    objects without area left out, with a warning each. A size that the annotations lack is read from the image.
    Without ``masks`` they are checked and not kept: ``segmentation`` then says whether there is one.
    Raises DataError with the first problems: boxes wholly outside, masks that are none, missing images (unless
    ``require_images`` is false), images of more than 8 bits.
    """
    return _Derivation(annotations, folder, difficult, require_images, masks).split(name)


class _Derivation:
    """The records of one set of annotations, and what had to be changed on the way."""

    def __init__(
        self, annotations: Annotations, folder: Path, difficult: Difficult, require_images: bool, masks: bool
    ) -> None:
        self.annotations, self.folder = annotations, folder
        self.difficult, self.require_images, self.masks = difficult, require_images, masks
        self.problems = Problems(annotations.source)
        self.index = {category.id: place for place, category in enumerate(annotations.categories)}
        self.clipped = 0
        self.empty: list[int] = []
        self.missing: list[str] = []

    def split(self, name: str) -> Split:
        listing = ImageFolder(self.folder)
        records = {image.id: self._image(image, listing, place) for place, image in enumerate(self.annotations.images)}
        self._check_files(len(records))
        for entry in self.annotations.objects:
            record = records[entry.image]
            found = self._object(entry, record) if record["height"] else None
            if found is not None:
                record["annotations"].append(found)
        self.problems.stop()
        self._warn()
        categories = self.annotations.categories
        classes, ids = tuple(entry.name for entry in categories), tuple(entry.id for entry in categories)
        return Split(name, list(records.values()), classes, ids, self.folder)

    def _image(self, image: Image, listing: ImageFolder, place: int) -> dict[str, Any]:
        where = f"images[{place}] ({image.name or image.id})"
        if not image.name:
            self.problems.add(where, "file_name is missing; training needs it")
        path = listing.path(image.name) if image.name else None
        height, width = image.height, image.width
        if path is None and image.name:
            self.missing.append(image.name)
        if (height is None or width is None) and path is not None:
            try:
                height, width = read_size(path)
            except ValueError as error:
                self.problems.add(where, str(error))
        elif height is None or width is None:
            self.problems.add(where, f"height {height} and width {width} are unknown, and there is no image to ask")
        if path is not None and self.require_images and not path.name.lower().endswith(JPEG):
            check_depth(path)
        file_name = f"{self.folder}/{image.name}" if path is None else str(path)
        return {
            "file_name": file_name,
            "height": height,
            "width": width,
            "image_id": image.id,
            "annotations": [],
        }

    def _check_files(self, images: int) -> None:
        if self.missing and self.require_images:
            raise DataError(
                f"{self.folder}: {len(self.missing)} of {images} image files named in {self.annotations.source} are "
                f"missing, first {', '.join(map(repr, self.missing[:3]))}; complete the folder or correct its path in "
                "the protocol's 'data'"
            )

    def _object(self, entry: Object, record: dict[str, Any]) -> dict[str, Any] | None:
        if entry.difficult and self.difficult == "drop":
            return None
        if min(entry.box[2:]) <= 0:
            self.empty.append(entry.id)
            return None
        height, width = record["height"], record["width"]
        box = self._clip(entry.box, height, width)
        where = f"annotation {entry.id} (image {record['file_name']})"
        if box is None:
            self.problems.add(where, f"bbox {list(entry.box)} lies wholly outside its image of {width}x{height} pixels")
            return None
        area = (box[2] - box[0]) * (box[3] - box[1]) if entry.area is None else entry.area
        result = {"id": entry.id, "bbox": list(box), "bbox_mode": 0, "category_id": self.index[entry.category]}
        result |= {"iscrowd": int(entry.crowd), "area": area}
        if entry.segmentation is not None:
            try:
                mask = _trainable(parse_segmentation(entry.segmentation, height, width))
                result["segmentation"] = mask if self.masks else bool(mask)
            except ValueError as error:
                self.problems.add(where, f"segmentation: {error}")
                return None
        if entry.difficult:
            result["difficult"] = 1
        if entry.ignore or (entry.difficult and self.difficult == "ignore"):
            result["ignore"] = 1
        return result

    def _clip(self, xywh: Box, height: int, width: int) -> Box | None:
        """The box as XYXY, clipped where it leaves its image by more than BORDER pixels; None wholly outside.

        Of floats: Detectron2 resizes a box of integers in integers, which cuts off the fractions.
        """
        x1, y1, w, h = map(float, xywh)
        x2, y2 = x1 + w, y1 + h
        if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
            return None
        if x1 < -BORDER or y1 < -BORDER or x2 > width + BORDER or y2 > height + BORDER:
            self.clipped += 1
            return max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
        return x1, y1, x2, y2

    def _warn(self) -> None:
        source = self.annotations.source
        for note in self.annotations.notes:
            logger.warning("%s: %s", source, note)
        if self.clipped:
            logger.warning("%s: %d boxes extend beyond their image by more than a pixel: clipped", source, self.clipped)
        if self.empty:
            text = "%s: left out %d annotations whose box has no height or no width (COCO train2017 has two): ids %s"
            logger.warning(text, source, len(self.empty), self.empty[:5])


def _trainable(mask: Mask) -> Mask:
    """Without polygons of fewer than three points, which carry no area and which Detectron2 leaves out, too."""
    return [polygon for polygon in mask if drawable(polygon)] if isinstance(mask, list) else compressed(mask)


def objects_of(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The annotations of all records that are neither crowds nor ignored."""
    return [
        found
        for record in records
        for found in record["annotations"]
        if not found["iscrowd"] and not found.get("ignore")
    ]
