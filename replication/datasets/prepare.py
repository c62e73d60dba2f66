"""The manifest and the ground truth of a protocol's data: what later steps read instead of the data themselves."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from replication.catalog.protocols import AreaRanges, Protocol
from replication.datasets.roots import data_root
from replication.datasets.splits import annotation_files, data_hash, ground_truth, load_split
from replication.datasets.subset import list_hash
from replication.errors import DataError
from replication.formats.splits import SPLITS, Split, SplitName, objects_of
from replication.results.files import write_text
from replication.results.layout import Layout
from replication.results.schemas import Data

logger = logging.getLogger(__name__)
LARGE = 50_000_000  # bytes of an annotation file that is announced before it is read


def prepare(protocol: Protocol, results: Path) -> Path:
    """Read and check both splits, then write ``ground_truth.json`` and ``data.json`` under ``results/<protocol>``.

    Makes the embedded set when it is missing. Files whose content would not change are left alone, so that what was
    made from them stays newer. Returns the path of ``data.json``. Raises DataError.
    """
    splits = {split: load_split(protocol, split, masks=split == "val") for split in SPLITS}
    _check_pair(splits["train"], splits["val"])
    layout = Layout(results, protocol.name)
    _write_changed(layout.ground_truth, json.dumps(ground_truth(splits["val"]), allow_nan=False) + "\n")
    document = {"schema": Data.SCHEMA, **manifest(protocol, splits)}
    _write_changed(layout.data, json.dumps(document, indent=1, allow_nan=False) + "\n")
    return layout.data


def announcement(protocol: Protocol) -> str:
    """A line about annotation files that take time to read; empty where there are none."""
    large = [(path.name, path.stat().st_size) for path in annotation_files(protocol) if path.stat().st_size > LARGE]
    files = ", ".join(f"{name} ({size / 1e6:.0f} MB)" for name, size in large)
    return f"reading {files}: about a second for each 20 MB" if files else ""


def manifest(protocol: Protocol, splits: dict[SplitName, Split]) -> dict[str, Any]:
    """The content of ``data.json``. Folders are relative to the data root where they lie under it."""
    return {
        "name": protocol.name,
        "kind": protocol.data.kind,
        "classes": list(splits["train"].classes),
        "category_ids": list(splits["train"].category_ids),
        "data_hash": data_hash(protocol),
        "splits": {name: counts(split) | _subset(protocol, name, split) for name, split in splits.items()},
        "area_ranges": protocol.area_ranges.model_dump(mode="json"),
        "area_fractions": area_fractions(splits["val"], protocol.area_ranges),
    }


def counts(split: Split) -> dict[str, Any]:
    """Images, objects and what is special about them. ``objects`` are neither crowds nor ignored."""
    annotations = [found for record in split.records for found in record["annotations"]]
    objects = objects_of(split.records)
    per_class = Counter(found["category_id"] for found in objects)
    return {
        "folder": _portable(split.root),
        "images": len(split.records),
        "images_without_objects": sum(not record["annotations"] for record in split.records),
        "objects": len(objects),
        "crowds": sum(found["iscrowd"] for found in annotations),
        "ignored": sum(bool(found.get("ignore")) for found in annotations),
        "masks": sum("segmentation" in found for found in objects),
        "objects_per_class": {name: per_class[index] for index, name in enumerate(split.classes)},
    }


def _subset(protocol: Protocol, name: SplitName, split: Split) -> dict[str, Any]:
    """By which rule a part of a COCO file's images was chosen, and the hash of the list of all that were."""
    parts = protocol.data.parts(name) if protocol.data.kind == "coco" else ()
    rules = [{"annotations": part.annotations, **part.subset.model_dump()} for part in parts if part.subset]
    return {"subset": {"rules": rules, "list_sha256": list_hash(split.records)}} if rules else {}


def area_fractions(split: Split, ranges: AreaRanges) -> dict[str, float]:
    """Share of the split's objects whose area lies in each range."""
    areas = [found["area"] for found in objects_of(split.records)]
    named = {"small": ranges.small, "medium": ranges.medium, "large": ranges.large}
    return {name: round(sum(low <= a <= high for a in areas) / len(areas), 4) for name, (low, high) in named.items()}


def pair_problems(train: Split, val: Split) -> Iterator[str]:
    """What keeps two splits from being used together: one without objects, other categories."""
    for split in (train, val):
        if not objects_of(split.records):
            yield f"{split.root}: no image of the {split.name} split has an object; annotate at least one"
    if (train.classes, train.category_ids) != (val.classes, val.category_ids):
        pairs = [set(zip(split.category_ids, split.classes, strict=True)) for split in (train, val)]
        different = ", ".join(f"{number} {name!r}" for number, name in sorted(pairs[0] ^ pairs[1])[:5])
        yield (
            f"{val.root}: data.train and data.val name different categories (id and name of {different}); "
            "give both annotation files the same 'categories'"
        )


def shared_images(train: Split, val: Split) -> str | None:
    """A warning where images are in both splits."""
    common = {record["file_name"] for record in train.records} & {record["file_name"] for record in val.records}
    if not common:
        return None
    return f"{len(common)} images are in train and in val, first {min(common)}: results will be too good"


def _check_pair(train: Split, val: Split) -> None:
    for problem in pair_problems(train, val):
        raise DataError(problem)
    if (warning := shared_images(train, val)) is not None:
        logger.warning("%s", warning)


def _portable(folder: Path) -> str:
    """Relative to the data root where the folder lies under it, else absolute."""
    absolute, root = folder.absolute(), data_root().absolute()
    return str(absolute.relative_to(root)) if absolute.is_relative_to(root) else str(absolute)


def _write_changed(path: Path, text: str) -> None:
    try:
        if path.read_text() == text:
            return
    except (OSError, UnicodeDecodeError):
        pass  # missing or broken: written again
    write_text(path, text)
