"""Detections as columns in npz: reading, with every column checked, and writing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replication.errors import ResultError
from replication.formats.columns import Detections, Floats, GroundTruth, Ints, first
from replication.formats.problems import Problems
from replication.formats.result_columns import checked_detections

AGREEMENT = 1e-9  # relative difference of box_areas to the areas of boxes up to which both are held to be the same
NEEDED = ("image_ids", "class_ids", "boxes", "scores")


def read_npz(path: Path, truth: GroundTruth) -> Detections:
    """Detections of an npz file with ``image_ids``, ``class_ids``, ``boxes`` (XYXY, pixels) and ``scores``.

    ``box_areas`` may be given to the last bit, which corners do not hold. Raises ResultError naming file and record.
    """
    columns = _load(path)
    problems = Problems(path, ResultError)
    if truth.image_keys or truth.class_keys:
        raise problems.fail("image_ids, class_ids", "ids in the ground truth are text, which npz does not hold")
    boxes = _numbers(columns, "boxes", problems)
    image, label = (_ids(columns, name, problems) for name in ("image_ids", "class_ids"))
    xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    areas = _numbers(columns, "box_areas", problems) if "box_areas" in columns else None
    if areas is not None:
        _check_areas(areas, boxes, xywh, problems)
    return checked_detections(problems, image, label, _numbers(columns, "scores", problems), xywh, truth, areas)


def save_detections(path: Path, detections: Detections, truth: GroundTruth) -> None:
    """Write detections as npz: ``image_ids``, ``class_ids``, ``boxes`` (XYXY), ``box_areas``, ``scores``. No masks."""
    with open(path, "wb") as file:
        np.savez(
            file,
            image_ids=truth.image_ids[detections.images],
            class_ids=truth.class_ids[detections.labels],
            boxes=detections.boxes,
            box_areas=detections.box_areas,
            scores=detections.scores,
        )


def _load(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as content:
            columns = {name: content[name] for name in content.files}
    except FileNotFoundError:
        raise ResultError(f"{path}: no such file; check the path") from None
    except Exception as problem:  # zip, numpy and the operating system each have their own
        raise ResultError(f"{path}: not readable as npz ({problem}); write it again") from problem
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise ResultError(f"{path}: array {missing[0]!r} is missing; detections need {', '.join(NEEDED)}")
    return columns


def _check_areas(given: Floats, boxes: Floats, xywh: Floats, problems: Problems) -> None:
    areas = xywh[:, 2] * xywh[:, 3]
    # The corners hold an extent to their own last bit only.
    rounding = np.finfo(np.float64).eps * (np.abs(boxes[:, 2]) * xywh[:, 3] + np.abs(boxes[:, 3]) * xywh[:, 2])
    if (bad := first(~(np.abs(given - areas) <= AGREEMENT * areas + rounding))) is not None:
        message = f"is {float(given[bad])!r}, the box has {float(areas[bad])!r}; correct it or leave box_areas out"
        raise problems.fail(f"box_areas[{bad}]", message)


def _numbers(columns: dict[str, Any], name: str, problems: Problems) -> Floats:
    """A column of numbers as the kernels need it: of its full shape, 64 bits, contiguous."""
    column = _shaped(columns, name, problems)
    if column.dtype.kind not in "iuf":
        raise problems.fail(name, f"is of type {column.dtype}, expected numbers")
    return np.ascontiguousarray(column, np.float64)


def _ids(columns: dict[str, Any], name: str, problems: Problems) -> Ints:
    column = _shaped(columns, name, problems)
    if column.dtype.kind == "f" and np.array_equal(column, np.floor(column)) and (np.abs(column) < 2**53).all():
        column = column.astype(np.int64)
    if column.dtype.kind not in "iu":
        raise problems.fail(name, f"is of type {column.dtype}, expected whole numbers")
    if (bad := first(column > np.iinfo(np.int64).max)) is not None:
        raise problems.fail(f"{name}[{bad}]", f"{column[bad]} does not fit into 64 bits with a sign")
    return np.ascontiguousarray(column, np.int64)


def _shaped(columns: dict[str, Any], name: str, problems: Problems) -> NDArray[Any]:
    column: NDArray[Any] = columns[name]
    wanted = (column.shape[:1] or (0,)) + ((4,) if name == "boxes" else ())
    if column.shape != wanted:
        expected = "(N, 4), XYXY in pixels" if name == "boxes" else "(N,), one number for each detection"
        raise problems.fail(name, f"has shape {column.shape}, expected {expected}")
    if len(column) != (count := columns["boxes"].size // 4):
        raise problems.fail(name, f"has {len(column)} entries, boxes has {count}; they must not differ in length")
    return column
