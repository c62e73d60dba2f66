"""Runs that were made elsewhere enter a protocol's results: detections are checked, made a run's folder, evaluated."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import replication
from replication.catalog import Catalog, Protocol
from replication.errors import ConfigError, DataError, ResultError, did_you_mean
from replication.evaluation.runs import evaluate_files
from replication.formats.columns import Detections, GroundTruth
from replication.formats.detections import read_detections
from replication.formats.result_columns import LEFT_OUT
from replication.formats.truth import read_ground_truth
from replication.results.elsewhere import elsewhere
from replication.results.files import check_writable, content_sha256, write_bytes
from replication.results.finished import read_curve
from replication.results.layout import Layout, RunFiles
from replication.results.schemas import Data, Elsewhere, Metrics, Provenance, read, write

UNKNOWN = (
    *("config_hash", "fingerprint", "training_fingerprint", "commit", "packages", "python", "platform", "cpu"),
    *("device", "weights", "batch", "lr", "iterations", "started", "finished", "seconds", "s_per_iter"),
)
"""Fields of the provenance that a training of this project records, and that nobody knows of another's."""


@dataclass(frozen=True)
class Imported:
    """A run that is in the results now; ``already`` when the same detections were there before."""

    folder: Path
    metrics: dict[str, float | None]
    warnings: tuple[str, ...]
    already: bool = False


def import_run(
    catalog: Catalog,
    protocol: Protocol,
    results: Path,
    variant: str,
    seed: int,
    detections: Path,
    made_by: str | None = None,
    curves: Path | None = None,
) -> Imported:
    """Write detections of a detector that was trained elsewhere as a run of ``variant``, and evaluate them.

    ``detections`` are of any form that ``replication.formats`` reads, of the protocol's validation images; ``curves``
    is a training curve as ``curves.jsonl`` has it. ``variant`` is built, or named by a row of a paper. Nothing is
    written unless all is right. Raises ConfigError for an unknown variant, DataError where the protocol's data are not
    prepared, ResultError for detections of other images or classes, and for another run in the folder.
    """
    check_variant(catalog, variant)
    layout = Layout(results, protocol.name)
    truth, data = _prepared(layout, protocol)
    found = read_detections(detections, truth)
    _check_classes(detections, found)
    if curves is not None:
        read_curve(curves, "give a JSON object with its iteration on each line, or leave --curves out")
    files, sha256 = layout.run(variant, seed), content_sha256(detections)
    if _is_there(files, sha256):
        return Imported(files.folder, _recorded(files), (), already=True)
    origin = Elsewhere(
        made_by=made_by,
        source=detections.name or detections.resolve().name,
        source_sha256=sha256,
        imported=datetime.now(UTC).isoformat(timespec="seconds"),
        importer=f"replication {replication.__version__}",
        unknown=UNKNOWN,
    )
    whose = {"protocol": protocol.name, "variant": variant, "seed": seed}
    built = catalog.variants.get(variant)
    check_writable(files.folder.parent)
    with tempfile.TemporaryDirectory(dir=files.folder.parent, prefix=f".{files.folder.name}.") as temporary:
        made = RunFiles(Path(temporary) / files.folder.name)
        made.folder.mkdir()
        write_bytes(made.detections, _as_records(detections, found, truth))
        if curves is not None:
            write_bytes(made.curves, curves.read_bytes())
        known = {"data_hash": data.data_hash, "elsewhere": _fields(origin), "packages": {}}
        write(made.provenance, Provenance, dict.fromkeys(UNKNOWN) | whose | known)
        result = evaluate_files(made, layout, protocol, whose, built is not None and built.class_agnostic)
        _take_place(made.folder, files.folder)
    warnings = [f"{detections}: {note}" for note in found.notes]
    warnings += [text.replace(str(made.detections), str(detections)) for text in result["warnings"]]
    return Imported(files.folder, result["metrics"], (*dict.fromkeys(warnings), *_few_images(detections, found, truth)))


def evaluate_imported(catalog: Catalog, protocol: Protocol, results: Path, variant: str, seed: int) -> dict[str, Any]:
    """``evaluate_files`` of a run of a variant that only a row of a paper names."""
    check_variant(catalog, variant)
    layout = Layout(results, protocol.name)
    whose = {"protocol": protocol.name, "variant": variant, "seed": seed}
    return evaluate_files(layout.run(variant, seed), layout, protocol, whose)


def check_variant(catalog: Catalog, name: str) -> None:
    """Raise ConfigError unless the variant is built or a row of a paper names it."""
    known = catalog.variants.keys() | named_by_rows(catalog)
    if name not in known:
        close = did_you_mean(name, known)
        raise ConfigError(
            f"--variant {name}: no table has a row of that variant; {close}name it in a row of a paper file of your "
            "own, DIR/papers/*.yaml, and give --configs DIR"
        )


def named_by_rows(catalog: Catalog) -> set[str]:
    """Variants that rows name, built or not; a name that is none of a folder, such as a path, cannot have runs."""
    names = (row.variant for table in catalog.tables.values() for row in table.rows)
    return {name for name in names if name is not None and re.fullmatch("[A-Za-z0-9_]+", name)}


def _prepared(layout: Layout, protocol: Protocol) -> tuple[GroundTruth, Data]:
    for path in (layout.data, layout.ground_truth):
        if not path.exists():
            raise DataError(
                f"{path}: no such file, by which images and classes of the detections are checked; run `replication "
                f"prepare --protocol {protocol.name}` first"
            )
    return read_ground_truth(layout.ground_truth), read(layout.data, Data)


def _check_classes(path: Path, found: Detections) -> None:
    for note in found.notes:
        if note.startswith(LEFT_OUT):
            raise ResultError(f"{path}: {note.replace(LEFT_OUT, 'classes that the protocol does not have')}")


def _is_there(files: RunFiles, sha256: str) -> bool:
    """Whether these very detections are there already; ResultError for any other run in the folder."""
    if not files.folder.exists() or not any(files.folder.iterdir()):
        return False
    known = elsewhere(files)
    if known is not None and known.source_sha256 == sha256 and files.metrics.exists():
        return True
    what = f"a run {known.label}, of other detections" if known is not None else "a run"
    raise ResultError(
        f"{files.folder}: holds {what}, which is not overwritten; give another --seed or --results, or delete the "
        "folder"
    )


def _recorded(files: RunFiles) -> dict[str, float | None]:
    return read(files.metrics, Metrics).metrics


def _take_place(made: Path, folder: Path) -> None:
    try:
        made.rename(folder)
    except OSError as error:  # filled by another process since it was looked at
        raise ResultError(f"{folder}: cannot be written: {error.strerror}; run the command again") from error


def _few_images(path: Path, found: Detections, truth: GroundTruth) -> Iterator[str]:
    """Images with objects, but no detection, are odd where they are many: perhaps others were meant."""
    wanted = np.unique(truth.images[~truth.ignored])
    empty = len(np.setdiff1d(wanted, found.images))
    if empty > 0.1 * len(wanted):
        yield f"{path}: {empty} of {len(wanted)} images with objects have no detection; was the run on all of them?"


def _fields(origin: Elsewhere) -> dict[str, Any]:
    return {name: getattr(origin, name) for name in origin.__struct_fields__}


def _as_records(path: Path, found: Detections, truth: GroundTruth) -> bytes:
    """COCO's result list: a file that is one already keeps its bytes, unless its ids had to be looked up."""
    if path.is_file() and path.suffix != ".npz" and not found.notes:
        return path.read_bytes()
    # Added to a corner inside of the image, extents give the other corner to the last bit.
    boxes = np.concatenate([found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]], axis=1).tolist()
    columns = truth.image_ids[found.images].tolist(), truth.class_ids[found.labels].tolist(), found.scores.tolist()
    names = "image_id", "category_id", "score"
    records: list[dict[str, Any]] = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    for record, box, mask in zip(records, boxes, found.masks or [None] * len(boxes), strict=True):
        record["bbox"] = box
        if mask is not None:
            record["segmentation"] = mask
    return (json.dumps(records, allow_nan=False, separators=(",", ":")) + "\n").encode()
