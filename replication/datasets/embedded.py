"""The embedded data set: made in seconds from a seed, the same on every machine, in COCO and in VOC layout.

What is the same everywhere: the annotation files, byte for byte, and the pixels before JPEG encoding. The JPEG bytes
follow from them through the libjpeg that Pillow carries.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt
from filelock import FileLock
from PIL import Image
from pycocotools import mask as rle
from tqdm import tqdm

from replication.catalog.protocols import EmbeddedData
from replication.datasets.embedded_scene import Mask, Scene, draw_scene
from replication.datasets.embedded_sources import CLASSES, load_sources
from replication.datasets.roots import data_root
from replication.errors import DataError, ReplicationError
from replication.formats.splits import SPLITS, SplitName
from replication.results.files import read_json, sha256_file, sha256_json, write_json

GENERATOR = 5  # raise when a scene of a given seed changes: finished folders of older generators are regenerated
SCHEMA = "embedded/1"

logger = logging.getLogger(__name__)


def embedded_folder(data: EmbeddedData) -> Path:
    """Where the set of that record lies: ``<data root>/embedded-<hash>``, with ``coco`` and ``voc`` in it."""
    return data_root() / f"embedded-{sha256_json(data.model_dump(mode='json'))[:12]}"


def make_embedded(data: EmbeddedData) -> Path:
    """The folder of the set, which is made when it is not there, incomplete, or of an older generator.

    It appears complete or not at all; several processes may ask for it at once. Raises DataError when the sources are
    missing or the folder cannot be written.
    """
    folder = embedded_folder(data)
    if _is_complete(folder, data):
        return folder
    _check_size(data)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if not _is_complete(folder, data):
                _replace(folder, data)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot make the embedded data: {error.strerror or error}. "
            "Free disk space or set DETECTRON2_DATASETS to a writable folder."
        ) from error
    return folder


def area_ranges(annotations: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """The areas below which 40% and 75% of the annotations lie, so that 40/35/25% are small/medium/large as in COCO."""
    if not annotations:
        raise DataError("no annotations: area ranges cannot be chosen; give a set with objects")
    small, medium = np.quantile([annotation["area"] for annotation in annotations], (0.40, 0.75))
    return float(small), float(medium)


def scene_random(seed: int, split: SplitName, index: int) -> np.random.RandomState:
    """The random stream of one image: NumPy's legacy generator, whose stream is frozen for all versions."""
    return np.random.RandomState([seed % 2**32, seed // 2**32 % 2**32, SPLITS.index(split), index])


def scenes(data: EmbeddedData) -> Iterable[tuple[SplitName, int, Scene]]:
    """All scenes of a set as (split, image id, scene); ids count from 1 through both splits."""
    sources = load_sources()
    low, high = data.size
    for split, count in zip(SPLITS, (data.train, data.val), strict=True):
        for index in range(count):
            random = scene_random(data.seed, split, index)
            height, width = (int(side) for side in random.randint(low, high + 1, size=2))
            image_id = index + 1 + (data.train if split == "val" else 0)
            yield split, image_id, draw_scene(random, sources[split], height, width)


def _check_size(data: EmbeddedData) -> None:
    low, high = data.size
    if not 32 <= low <= high <= 1024:
        raise DataError(f"data.size: {list(data.size)} is not a range of image sides within 32..1024; write [128, 160]")


def _is_complete(folder: Path, data: EmbeddedData) -> bool:
    """The cheap check: right generator, untouched annotations, as many images as there should be."""
    try:
        made = read_json(folder / "embedded.json", SCHEMA)
        unchanged = all(sha256_file(folder / name) == digest for name, digest in made["annotations"].items())
        counts = [
            sum(1 for _ in os.scandir(folder / images)) for images in ("coco/train", "coco/val", "voc/JPEGImages")
        ]
    except (ReplicationError, OSError, KeyError):
        return False
    return made["generator"] == GENERATOR and unchanged and counts == [data.train, data.val, data.train + data.val]


def _replace(folder: Path, data: EmbeddedData) -> None:
    for stale in folder.parent.glob(f".{folder.name}.part-*"):
        shutil.rmtree(stale)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.part-", dir=folder.parent))
    part.chmod(0o755)
    try:
        _write(part, data)
        if folder.exists():
            logger.warning("%s: incomplete or of an older generator: regenerated", folder)
            shutil.rmtree(folder)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write(folder: Path, data: EmbeddedData) -> None:
    for name in (
        "coco/annotations",
        "coco/train",
        "coco/val",
        "voc/Annotations",
        "voc/ImageSets/Main",
        "voc/JPEGImages",
    ):
        (folder / name).mkdir(parents=True)
    documents: dict[SplitName, dict[str, Any]] = {split: _empty_coco() for split in SPLITS}
    total = data.train + data.val
    for split, image_id, scene in tqdm(
        scenes(data), "embedded data", total, unit="image", leave=False, disable=not sys.stderr.isatty()
    ):
        name = f"{image_id:06d}"
        image = folder / "coco" / split / f"{name}.jpg"
        Image.fromarray(scene.pixels).save(image, quality=95, subsampling=0)
        _link(image, folder / "voc" / "JPEGImages" / image.name)
        (folder / "voc" / "Annotations" / f"{name}.xml").write_text(voc_xml(name, scene))
        _append(documents[split], image_id, scene)
    for split, document in documents.items():
        path = folder / "coco" / "annotations" / f"instances_{split}.json"
        path.write_text(json.dumps(document, separators=(",", ":")))
        names = "".join(f"{image['id']:06d}\n" for image in document["images"])
        (folder / "voc" / "ImageSets" / "Main" / f"{split}.txt").write_text(names)
    digests = {str(path.relative_to(folder)): sha256_file(path) for path in sorted(folder.glob("coco/annotations/*"))}
    write_json(
        folder / "embedded.json",
        SCHEMA,
        {"generator": GENERATOR, "data": data.model_dump(mode="json"), "annotations": digests},
    )


def _link(image: Path, other: Path) -> None:
    with suppress(OSError):
        os.link(image, other)
        return
    shutil.copyfile(image, other)  # a file system without hard links


def _empty_coco() -> dict[str, Any]:
    categories = [{"id": index + 1, "name": name, "supercategory": "digit"} for index, name in enumerate(CLASSES)]
    return {"info": {"description": "embedded digit scenes"}, "images": [], "annotations": [], "categories": categories}


def _append(document: dict[str, Any], image_id: int, scene: Scene) -> None:
    """Enter a scene in COCO form. ``area`` is the box's, since the protocols' area ranges are ranges of box areas."""
    height, width = scene.pixels.shape[:2]
    document["images"].append({"id": image_id, "file_name": f"{image_id:06d}.jpg", "height": height, "width": width})
    for place, found in enumerate(scene.objects):
        x1, y1, x2, y2 = mask_box(found.mask)
        code = rle.encode(np.asfortranarray(found.mask.astype(np.uint8)))
        document["annotations"].append(
            {
                "id": image_id * 100 + place,
                "image_id": image_id,
                "category_id": found.label + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
                "segmentation": {"size": [height, width], "counts": code["counts"].decode("ascii")},
            }
        )


def mask_box(mask: Mask) -> tuple[int, int, int, int]:
    """The tight box of a non-empty mask (H, W): XYXY, right and lower bounds exclusive."""
    rows: npt.NDArray[np.intp] = np.flatnonzero(mask.any(axis=1))
    columns: npt.NDArray[np.intp] = np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def voc_xml(name: str, scene: Scene) -> str:
    """A scene as VOC annotation: boxes 1-based with inclusive bounds."""
    height, width = scene.pixels.shape[:2]
    lines = [
        "<annotation>",
        f"  <folder>JPEGImages</folder><filename>{escape(name)}.jpg</filename>",
        f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size><segmented>0</segmented>",
    ]
    for found in scene.objects:
        x1, y1, x2, y2 = mask_box(found.mask)
        lines += [
            f"  <object><name>{CLASSES[found.label]}</name><truncated>0</truncated><difficult>0</difficult>",
            f"    <bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>",
            "  </object>",
        ]
    return "\n".join([*lines, "</annotation>", ""])
