"""Ground truth and detections however a program holds them: paths, COCO documents, arrays, tensors, columns.

What is in memory passes the same checks as a file of its form: it is written to one and read from there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import msgspec
import numpy as np

from replication.errors import DataError, ReplicationError, ResultError
from replication.formats.columns import Detections, GroundTruth
from replication.formats.detections import read_detections
from replication.formats.truth import read_ground_truth

COLUMNS = ("image_ids", "class_ids", "boxes", "scores")
Read = TypeVar("Read")


@runtime_checkable
class CocoLike(Protocol):
    """What is needed of a ``pycocotools.coco.COCO``."""

    dataset: dict[str, Any]
    imgToAnns: Mapping[Any, Any]


def as_ground_truth(source: Any) -> GroundTruth:
    """Ground truth from a path, a document of COCO (dict), a ``pycocotools.coco.COCO``, or columns.

    Raises DataError naming file, or ``truth`` for what is in memory, and record.
    """
    if isinstance(source, GroundTruth):
        return source
    if isinstance(source, str | Path):
        return read_ground_truth(Path(source))
    if isinstance(source, CocoLike):
        source = source.dataset
    if not isinstance(source, Mapping):
        raise DataError(f"truth: a {type(source).__name__} is not ground truth; give a path or a COCO document")
    return _through_file("truth", ".json", _json(source, "truth", DataError), read_ground_truth)


def as_detections(source: Any, truth: GroundTruth, name: str = "detections", polygons: bool = False) -> Detections:
    """Detections from a path, a COCO result list, arrays, a ``pycocotools.coco.COCO``, or columns.

    Arrays or tensors are a dict of ``image_ids`` (N,), ``class_ids`` (N,), ``boxes`` (N, 4) XYXY in pixels and
    ``scores`` (N,). ``polygons`` of records are drawn as masks.
    Raises ResultError naming file, or ``name`` for what is in memory, and record.
    """
    if isinstance(source, Detections):
        return source
    if isinstance(source, str | Path):
        return read_detections(Path(source), truth, polygons)
    if isinstance(source, CocoLike):
        source = [_without_polygons(one) for one in source.dataset["annotations"]]
    if isinstance(source, Mapping):
        return _through_file(name, ".npz", _npz(source, name), lambda path: read_detections(path, truth))
    if not isinstance(source, Sequence):
        raise ResultError(
            f"{name}: a {type(source).__name__} cannot be read as detections; give a path, a list of COCO result "
            f"records or a dict of {', '.join(COLUMNS)}"
        )
    content = _json([_with_text(one) for one in source], name, ResultError)
    return _through_file(name, ".json", content, lambda path: read_detections(path, truth, polygons))


def as_array(value: Any) -> Any:
    """An array of what may be a tensor of torch on any device, which is not imported for it."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    return np.asarray(value)


def _npz(source: Mapping[str, Any], name: str) -> bytes:
    import io

    missing = [key for key in COLUMNS if key not in source]
    if missing:
        raise ResultError(f"{name}: key {missing[0]!r} is missing; arrays of detections are {', '.join(COLUMNS)}")
    buffer = io.BytesIO()
    np.savez(buffer, **{key: as_array(source[key]) for key in COLUMNS})
    return buffer.getvalue()


def _json(content: Any, name: str, error: type[ReplicationError]) -> bytes:
    try:
        return msgspec.json.encode(content, enc_hook=_plain)
    except (TypeError, ValueError, OverflowError, RecursionError) as problem:
        raise error(f"{name}: cannot be written as JSON: {problem}") from problem


def _without_polygons(record: dict[str, Any]) -> dict[str, Any]:
    """A record of ``loadRes``, which draws every box as a polygon, with a mask only where there was one."""
    return {key: value for key, value in record.items() if key != "segmentation" or isinstance(value, Mapping)}


def _with_text(record: Any) -> Any:
    """A record whose mask, if any, has its run-length code as text: pycocotools makes bytes."""
    mask = record.get("segmentation") if isinstance(record, Mapping) else None
    if not isinstance(mask, Mapping) or not isinstance(mask.get("counts"), bytes):
        return record
    return {**record, "segmentation": {**mask, "counts": mask["counts"].decode("ascii")}}


def _plain(value: Any) -> Any:
    """Numbers and arrays of numpy and torch, and bytes of pycocotools' masks, as JSON has them."""
    if hasattr(value, "tolist"):
        return as_array(value).tolist()
    raise TypeError(f"a {type(value).__name__} has no form in JSON")


def _through_file(name: str, suffix: str, content: bytes, read: Callable[[Path], Read]) -> Read:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"memory{suffix}"
        path.write_bytes(content)
        try:
            return read(path)
        except ReplicationError as error:
            raise type(error)(str(error).replace(str(path), name)) from None
