"""A protocol's data as splits, whatever they are made of; as COCO ground truth; as a hash; as Detectron2 data sets."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from replication.catalog.protocols import CocoData, EmbeddedData, Protocol, VocData, VocSplit
from replication.datasets.embedded import make_embedded
from replication.datasets.roots import data_root
from replication.errors import DataError
from replication.formats.coco import read_coco
from replication.formats.splits import SPLITS, Split, SplitName
from replication.formats.voc import annotation_files, image_list, read_voc, voc_classes
from replication.results.files import sha256_file


def located(path: str) -> Path:
    """A path of a protocol file: absolute, from the home folder (``~``), or under the data root."""
    return data_root() / Path(path).expanduser()


def load_split(protocol: Protocol, split: SplitName, require_images: bool = True) -> Split:
    """Read and check a protocol's split; the embedded set is made when it is missing.

    Training leaves VOC's difficult objects out, validation marks them ``ignore``. Raises DataError, with the command
    that fetches the data where the protocol names a download.
    """
    data = protocol.data
    if isinstance(data, VocData):
        root, parts = located(data.root), _parts(data, split)
        for part in parts:
            _must_exist(image_list(root, part), data.download)
        classes = data.classes or voc_classes(root, data.train)
        return read_voc(split, root, parts, classes, difficult=split == "val")
    paths = coco_paths(data, split)
    download = (data.download,) if isinstance(data, CocoData) and data.download else ()
    for file, images in paths:
        _must_exist(file, download)
        if require_images:
            _must_exist(images, download)
    return _joined([(file, read_coco(split, file, images, require_images)) for file, images in paths])


def coco_paths(data: EmbeddedData | CocoData, split: SplitName) -> list[tuple[Path, Path]]:
    """Annotation files and image folders of a split in COCO form; makes the embedded set when it is missing."""
    if isinstance(data, EmbeddedData):
        folder = make_embedded(data) / "coco"
        return [(folder / "annotations" / f"instances_{split}.json", folder / split)]
    parts = data.train if split == "train" else data.val
    return [(located(part.annotations), located(part.images)) for part in parts]


def _joined(parts: Sequence[tuple[Path, Split]]) -> Split:
    """Several files' splits as one. Raises DataError where they name other categories or the same image or object."""
    first_file, first = parts[0]
    if len(parts) == 1:
        return first
    images: dict[int, Path] = {}
    objects: dict[int, Path] = {}
    for file, part in parts:
        if (part.category_ids, part.classes) != (first.category_ids, first.classes):
            raise DataError(
                f"{file}: categories: other ids or names than in {first_file}; "
                "files of one split must have the same categories"
            )
        for record in part.records:
            ids = [(images, "images", record["image_id"])]
            ids += [(objects, "annotations", found["id"]) for found in record["annotations"]]
            for seen, field, number in ids:
                if seen.setdefault(number, file) != file:
                    raise DataError(f"{file}: {field}: id {number} is in {seen[number]} too; renumber one of the files")
    root = Path(os.path.commonpath([part.root for _, part in parts]))
    return replace(first, records=[record for _, part in parts for record in part.records], root=root)


def ground_truth(split: Split) -> dict[str, Any]:
    """A split as a COCO document: XYWH boxes, the data set's own category ids, names relative to ``split.root``."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for record in split.records:
        name = os.path.relpath(record["file_name"], split.root)
        images.append({"id": record["image_id"], "file_name": name} | {k: record[k] for k in ("height", "width")})
        for found in record["annotations"]:
            x1, y1, x2, y2 = found["bbox"]
            kept = {
                key: found[key]
                for key in ("id", "iscrowd", "area", "segmentation", "difficult", "ignore")
                if key in found
            }
            category = split.category_ids[found["category_id"]]
            place = {"image_id": record["image_id"], "category_id": category, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            annotations.append(kept | place)
    # Some exports number from 0, which COCO's evaluation takes for "not matched".
    shift = max(0, 1 - min((entry["id"] for entry in annotations), default=1))
    for entry in annotations:
        entry["id"] += shift
    pairs = zip(split.category_ids, split.classes, strict=True)
    categories = [{"id": number, "name": name} for number, name in pairs]
    return {"info": {"description": split.name}, "images": images, "annotations": annotations, "categories": categories}


def data_hash(protocol: Protocol) -> str:
    """Hex SHA-256 of all annotations and image lists of both splits; the same wherever the data lie."""
    digest = hashlib.sha256()
    for split in SPLITS:
        for name, content in _annotation_digests(protocol.data, split):
            digest.update(f"{split} {name} {content}\n".encode())
    return digest.hexdigest()


def register(protocol: Protocol, splits: Sequence[SplitName] = ("train", "val")) -> dict[SplitName, Split]:
    """Enter ``<protocol>_<split>`` in Detectron2's catalogs, in place of an earlier entry; returns what was read."""
    from detectron2.data import DatasetCatalog, MetadataCatalog

    loaded = {split: load_split(protocol, split) for split in splits}
    for split, content in loaded.items():
        name = f"{protocol.name}_{split}"
        for catalog in (DatasetCatalog, MetadataCatalog):
            if name in catalog:
                catalog.remove(name)
        DatasetCatalog.register(name, lambda content=content: content.records)
        MetadataCatalog.get(name).set(
            thing_classes=list(content.classes),
            thing_dataset_id_to_contiguous_id={number: index for index, number in enumerate(content.category_ids)},
        )
    return loaded


def _parts(data: VocData, split: str) -> tuple[VocSplit, ...]:
    return data.train if split == "train" else data.val


def _must_exist(path: Path, downloads: Sequence[str]) -> None:
    if path.exists():
        return
    fetch = " and ".join(f"`replication data {name}`" for name in downloads)
    advice = f"fetch it with {fetch}" if fetch else "check the path in the protocol's 'data'"
    raise DataError(f"{path}: no such file or folder; {advice}, or set DETECTRON2_DATASETS to the folder it lies under")


def _annotation_digests(data: EmbeddedData | CocoData | VocData, split: SplitName) -> Iterator[tuple[str, str]]:
    if not isinstance(data, VocData):
        for annotations, _ in coco_paths(data, split):
            _must_exist(annotations, (data.download,) if isinstance(data, CocoData) and data.download else ())
            yield "annotations", sha256_file(annotations)
        return
    root = located(data.root)
    yield "classes", json.dumps(data.classes)
    for part in _parts(data, split):
        _must_exist(image_list(root, part), data.download)
        for path in annotation_files(root, part):
            yield f"{part.folder} {part.split} {path.stem}", sha256_file(path)
