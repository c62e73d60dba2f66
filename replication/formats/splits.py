"""What the readers share: a split, the problems found in a file, the rules for boxes, image folders."""

from __future__ import annotations

import logging
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from replication.errors import DataError

SplitName = Literal["train", "val"]
SPLITS: tuple[SplitName, ...] = ("train", "val")
SHOWN = 5  # problems that an error message quotes
BORDER = 1.0  # pixels a box may reach over its image without being clipped: rounding, or 0-based boxes in VOC files

Box = tuple[float, float, float, float]

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


@dataclass
class Problems:
    """Collects what is wrong in a file, so that one error can tell all of it."""

    source: Path
    found: list[str] = field(default_factory=list)

    def add(self, problem: str) -> None:
        """Remember a problem, worded with the field it is in."""
        self.found.append(problem)

    def stop(self, advice: str = "correct the file, then run again") -> None:
        """Raise DataError with the first SHOWN problems and the number of all; nothing when there are none."""
        if not self.found:
            return
        count = len(self.found)
        head = f"{self.source}: {count} problem{'s' if count > 1 else ''}"
        rest = [f"... and {count - SHOWN} more"] if count > SHOWN else []
        raise DataError("\n  ".join([f"{head}; {advice}", *self.found[:SHOWN], *rest]))


@dataclass
class BoxRules:
    """Checks boxes and counts those it had to clip."""

    clipped: int = 0

    def check(self, box: Box, height: int, width: int) -> Box | str:
        """The XYXY box, clipped where it leaves its image by more than BORDER pixels; or what is wrong with it."""
        x1, y1, x2, y2 = box
        if not all(map(math.isfinite, box)):
            return "has a value that is no finite number"
        if x2 <= x1 or y2 <= y1:
            return "is empty: its width and height must be greater than 0"
        if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
            return f"lies wholly outside its image of {width}x{height} pixels"
        if x1 < -BORDER or y1 < -BORDER or x2 > width + BORDER or y2 > height + BORDER:
            self.clipped += 1
            return max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
        return box

    def report(self, source: Path) -> None:
        """Log how many boxes were clipped."""
        if self.clipped:
            logger.warning("%s: %d boxes reach over their image by more than a pixel: clipped", source, self.clipped)


class ImageFolder:
    """Which files a folder holds, listed once instead of asked for one by one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._listed: dict[Path, set[str]] = {}

    def has(self, name: str) -> bool:
        """Whether ``name``, which may contain subfolders, is a file there."""
        path = self.folder / name
        if path.parent not in self._listed:
            self._listed[path.parent] = set(file_names(path.parent))
        return path.name in self._listed[path.parent]


def file_names(folder: Path) -> list[str]:
    """Names of all entries of a folder; none when there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror}; check its permissions") from error
