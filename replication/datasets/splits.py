"""A protocol's data as splits, whatever they are made of; as COCO ground truth; as a hash; as Detectron2 data sets."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import singledispatch
from pathlib import Path
from typing import Any

from replication.catalog.protocols import CocoData, Data, EmbeddedData, Protocol, VocData, YoloData
from replication.datasets.embedded import make_embedded
from replication.datasets.roots import data_root
from replication.datasets.subset import stratified
from replication.errors import DataError, ReplicationError
from replication.formats.coco import read_coco
from replication.formats.splits import SPLITS, Difficult, Split, SplitName, training_split
from replication.formats.voc import annotation_files as voc_files
from replication.formats.voc import image_list, read_voc
from replication.formats.yolo import CLASSES, YAML, label_file, read_yolo, split_images, yolo_folder
from replication.results.files import sha256_file


def located(path: str) -> Path:
    """A path of a protocol file: absolute, from the home folder (``~``), or under the data root."""
    return data_root() / Path(path).expanduser()


def load_split(protocol: Protocol, split: SplitName, require_images: bool = True, masks: bool = True) -> Split:
    """Read and check a protocol's split; the embedded set is made when it is missing.

    Training leaves VOC's difficult objects out, as the label files of Darknet do, with which the GIoU authors trained;
    validation marks them ``ignore``. See ``training_split`` for ``masks``. Raises DataError, with the command that
    fetches the data where the protocol names a download.
    """
    return _read(protocol.data, split, require_images, masks)


@singledispatch
def _read(data: Data, split: SplitName, require_images: bool, masks: bool) -> Split:
    """The reader of a kind of data."""
    raise NotImplementedError(data.kind)


@_read.register
def _(data: CocoData | EmbeddedData, split: SplitName, require_images: bool, masks: bool) -> Split:
    paths = coco_paths(data, split)
    for file, images in paths:
        _must_exist(file, data.downloads)
        if require_images:
            _must_exist(images, data.downloads)
    parts = [
        (file, training_split(split, read_coco(file), images, require_images=require_images, masks=masks))
        for file, images in paths
    ]
    return _joined(_chosen(data, split, parts))


def _chosen(
    data: CocoData | EmbeddedData, split: SplitName, parts: list[tuple[Path, Split]]
) -> list[tuple[Path, Split]]:
    """The files' splits, of each the images of its subset; DataError where that leaves none."""
    if data.kind == "embedded":
        return parts
    chosen = []
    for (file, part), source in zip(parts, data.parts(split), strict=True):
        subset = source.subset
        records = part.records if subset is None else stratified(part.records, subset.share, subset.seed)
        if not records:
            raise DataError(
                f"{file}: the protocol's data.{split}.subset leaves none of its images; give a larger share"
            )
        chosen.append((file, replace(part, records=records)))
    return chosen


@_read.register
def _(data: VocData, split: SplitName, require_images: bool, masks: bool) -> Split:
    root = located(data.root)
    for part in data.parts(split):
        _must_exist(image_list(root, part) or root / part.folder, data.downloads)
    classes = data.classes or _voc_classes(root, data)
    annotations = read_voc(root, data.parts(split), classes)
    difficult: Difficult = "ignore" if split == "val" else "drop"
    return training_split(split, annotations, root, difficult, require_images, masks)


@_read.register
def _(data: YoloData, split: SplitName, require_images: bool, masks: bool) -> Split:
    root = located(data.root)
    _must_exist(root, ())
    annotations = read_yolo(root, split, data.parts(split), data.classes)
    return training_split(split, annotations, yolo_folder(root, data.classes).base, "keep", require_images, masks)


def image_folders(data: Data, split: SplitName) -> list[Path]:
    """The folders that a split's images lie in, for data that cannot be read whole."""
    return _image_folders(data, split)


@singledispatch
def _image_folders(data: Data, split: SplitName) -> list[Path]:
    raise NotImplementedError(data.kind)


@_image_folders.register
def _(data: CocoData | EmbeddedData, split: SplitName) -> list[Path]:
    return [images for _, images in coco_paths(data, split)]


@_image_folders.register
def _(data: VocData, split: SplitName) -> list[Path]:
    folders = {located(data.root) / part.folder for part in data.parts(split)}
    return sorted(folder / "JPEGImages" if (folder / "JPEGImages").is_dir() else folder for folder in folders)


@_image_folders.register
def _(data: YoloData, split: SplitName) -> list[Path]:
    root = located(data.root)
    return sorted({file.parent for file in split_images(root, split, data.parts(split), data.classes)})


def annotation_files(protocol: Protocol) -> list[Path]:
    """Those that are there: COCO JSON files, VOC's lists and XML files, YOLO's labels; none for the embedded set."""
    data = protocol.data
    files = {path for split in SPLITS for path in _sources(data, split)}
    return [path for path in sorted(files) if path.is_file()]


@singledispatch
def _sources(data: Data, split: SplitName) -> list[Path]:
    raise NotImplementedError(data.kind)


@_sources.register
def _(data: EmbeddedData, split: SplitName) -> list[Path]:
    return []


@_sources.register
def _(data: CocoData, split: SplitName) -> list[Path]:
    return [located(part.annotations) for part in data.parts(split)]


@_sources.register
def _(data: VocData, split: SplitName) -> list[Path]:
    root, files = located(data.root), []
    for part in data.parts(split):
        files += [listed for listed in [image_list(root, part)] if listed is not None]
        files += (root / part.folder / "Annotations").glob("*.xml")
    return files


@_sources.register
def _(data: YoloData, split: SplitName) -> list[Path]:
    root = located(data.root)
    files = [root / YAML, root / CLASSES] if root.is_dir() else [root]
    try:
        return files + [label_file(image) for image in split_images(root, split, data.parts(split), data.classes)]
    except ReplicationError:  # told by whoever reads the data
        return files


def coco_paths(data: EmbeddedData | CocoData, split: SplitName) -> list[tuple[Path, Path]]:
    """Annotation files and image folders of a split in COCO form; makes the embedded set when it is missing."""
    if data.kind == "embedded":
        folder = make_embedded(data) / "coco"
        return [(folder / "annotations" / f"instances_{split}.json", folder / split)]
    return [(located(part.annotations), located(part.images)) for part in data.parts(split)]


def _voc_classes(root: Path, data: VocData) -> tuple[str, ...]:
    """The class names that occur in the training annotations, sorted."""
    categories = read_voc(root, data.train).categories
    if not categories:
        raise DataError(f"{root}: the training lists name no object; a data set needs at least one")
    return tuple(category.name for category in categories)


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
        for name, content in _digests(protocol.data, split):
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


def _must_exist(path: Path, downloads: Sequence[str]) -> None:
    if path.exists():
        return
    fetch = " and ".join(f"`replication data {name}`" for name in downloads)
    advice = f"fetch it with {fetch}" if fetch else "check the path in the protocol's 'data'"
    raise DataError(f"{path}: no such file or folder; {advice}, or set DETECTRON2_DATASETS to the folder it lies under")


@singledispatch
def _digests(data: Data, split: SplitName) -> Iterator[tuple[str, str]]:
    """Names and hashes of what a split is read from, the same wherever it lies."""
    raise NotImplementedError(data.kind)


@_digests.register
def _(data: CocoData | EmbeddedData, split: SplitName) -> Iterator[tuple[str, str]]:
    for file, _ in coco_paths(data, split):
        _must_exist(file, data.downloads)
        yield "annotations", sha256_file(file)
    if isinstance(data, CocoData):
        for part in data.parts(split):
            if part.subset is not None:
                yield "subset", part.subset.model_dump_json()


@_digests.register
def _(data: VocData, split: SplitName) -> Iterator[tuple[str, str]]:
    root = located(data.root)
    yield "classes", json.dumps(data.classes)
    for part in data.parts(split):
        _must_exist(image_list(root, part) or root / part.folder, data.downloads)
        for path in voc_files(root, part):
            yield f"{part.folder} {part.split} {path.stem}", sha256_file(path)


@_digests.register
def _(data: YoloData, split: SplitName) -> Iterator[tuple[str, str]]:
    root = located(data.root)
    _must_exist(root, ())
    yield "classes", json.dumps(yolo_folder(root, data.classes).classes)
    for image in split_images(root, split, data.parts(split), data.classes):
        labels = label_file(image)
        yield image.name, sha256_file(labels) if labels.is_file() else ""
