"""Data sets of photographs in COCO's and VOC's layouts, for tests that need such folders and not these very images.

Faces, cats, cups and coins are cut out of scikit-image's photographs and pasted, scaled, on others of them.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import skimage
from PIL import Image, ImageDraw
from pycocotools import mask as mask_utils
from support.voc_folder import write_voc_folder

Record = dict[str, Any]
BACKGROUNDS = ("grass", "gravel", "brick", "moon")
CUTOUTS = {  # photograph, and the box (left, top, right, bottom) whose ellipse is the object
    "person": ("astronaut", (151, 12, 303, 185)),
    "cat": ("chelsea", (32, 0, 368, 292)),
    "cup": ("coffee", (78, 14, 478, 389)),
    "coin": ("coins", (306, 15, 365, 73)),
}
COCO_CLASSES = {1: "person", 2: "bicycle", 17: "cat", 47: "cup", 90: "coin"}  # with gaps, and one that never occurs
VOC_CLASSES = {1: "cat", 2: "coin", 3: "cup"}
SIZES = [(320, 240), (240, 320), (300, 300), (333, 188)]
LARGE, ANY = (90, 140), (14, 120)  # sides in pixels


class Pasted(NamedTuple):
    """An object of a scene: its class, XYWH box in whole pixels, and outline as a polygon."""

    name: str
    box: tuple[int, int, int, int]
    polygon: list[float]


@dataclass
class Scene:
    """An image and its objects."""

    image: Image.Image
    objects: list[Pasted] = field(default_factory=list)


@cache
def photograph(name: str) -> Image.Image:
    with Image.open(Path(skimage.__file__).parent / "data" / f"{name}.png") as image:
        return image.convert("RGB")


def ellipse(x: float, y: float, width: float, height: float) -> list[float]:
    angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    points = np.stack([x + width * (1 + np.cos(angles)) / 2, y + height * (1 + np.sin(angles)) / 2], axis=1)
    return [float(value) for value in points.round(2).ravel()]


def scene(draw: random.Random, size: tuple[int, int], names: list[str], sides: tuple[int, int]) -> Scene:
    """A background with an object of each name, as far as they find room beside each other."""
    made = Scene(photograph(draw.choice(BACKGROUNDS)).resize(size))
    for name in names:
        source, box = CUTOUTS[name]
        cutout = photograph(source).crop(box)
        longest = draw.randint(*sides)
        scale = longest / max(cutout.size)
        width, height = (max(round(side * scale), 2) for side in cutout.size)
        places = ((draw.randint(0, size[0] - width), draw.randint(0, size[1] - height)) for _ in range(50))
        free = next(((x, y) for x, y in places if not touches(made, x, y, width, height)), None)
        if free is None:
            continue
        stencil = Image.new("L", (width, height))
        ImageDraw.Draw(stencil).ellipse((0, 0, width - 1, height - 1), fill=255)
        made.image.paste(cutout.resize((width, height)), free, stencil)
        made.objects.append(Pasted(name, (*free, width, height), ellipse(*free, width, height)))
    return made


def touches(made: Scene, x: int, y: int, width: int, height: int) -> bool:
    return any(
        x < left + wide and left < x + width and y < top + high and top < y + height
        for _, (left, top, wide, high), _ in made.objects
    )


def scenes(seed: int, count: int, names: list[str]) -> list[Scene]:
    """Repeating this pattern: two or three large objects, four to eight of any size, nothing."""
    draw = random.Random(seed)
    kinds = itertools.cycle([((2, 3), LARGE), ((4, 8), ANY), ((2, 3), LARGE), ((4, 8), ANY), ((0, 0), ANY)])
    return [
        scene(draw, SIZES[n % len(SIZES)], draw.choices(names, k=draw.randint(*few)), sides)
        for n, (few, sides) in zip(range(count), kinds, strict=False)
    ]


def annotation(number: int, image: int, size: tuple[int, int], item: Pasted) -> Record:
    """An object in COCO's form: a polygon; every ninth is a crowd with uncompressed run lengths, as in COCO's files."""
    (code,) = mask_utils.frPyObjects([item.polygon], size[1], size[0])
    crowd = number % 9 == 4
    return {
        "id": number,
        "image_id": image,
        "category_id": category(COCO_CLASSES, item.name),
        "bbox": [float(value) for value in item.box],
        "area": float(mask_utils.area(code)),
        "iscrowd": int(crowd),
        "segmentation": run_lengths(mask_utils.decode(code)) if crowd else [item.polygon],
    }


def category(classes: dict[int, str], name: str) -> int:
    return next(key for key, known in classes.items() if known == name)


def run_lengths(mask: Any) -> Record:
    """Uncompressed: lengths of the alternating runs of 0 and 1, column by column."""
    counts = [len(list(run)) for _, run in itertools.groupby([0, *mask.ravel(order="F").tolist()])]
    return {"size": list(mask.shape), "counts": [counts[0] - 1, *counts[1:]]}


def write_coco(root: Path) -> Path:
    """COCO's layout: `{train,val}2017/`, `annotations/instances_{train,val}2017.json`, names and ids as there.

    `instances_{train,val}2017_ccby.json` have the images that are there; the others name more.
    """
    (root / "annotations").mkdir(parents=True)
    numbers = itertools.count(1)
    for seed, (split, count) in enumerate([("train2017", 20), ("val2017", 10)]):
        (root / split).mkdir()
        images, annotations = [], []
        for n, made in enumerate(scenes(seed, count, ["person", "cat", "cup", "coin"])):
            image = {"id": 139 + 68 * n + seed, "width": made.image.width, "height": made.image.height}
            image["file_name"] = f"{image['id']:012d}.jpg"
            made.image.save(root / split / image["file_name"], quality=90)
            images.append(image)
            annotations += [annotation(next(numbers), image["id"], made.image.size, item) for item in made.objects]
        categories = [{"id": key, "name": name} for key, name in COCO_CLASSES.items()]
        document = {"images": images, "annotations": annotations, "categories": categories}
        (root / "annotations" / f"instances_{split}_ccby.json").write_text(json.dumps(document))
        absent = {"id": 9, "file_name": "000000000009.jpg", "width": 640, "height": 480}
        (root / "annotations" / f"instances_{split}.json").write_text(
            json.dumps(document | {"images": [*images, absent]})
        )
    return root


@dataclass(frozen=True)
class VocFolder:
    """A folder in VOC's layout and what is in it: its classes, and the images and objects of each split."""

    root: Path
    classes: tuple[str, ...]
    images: dict[str, int]
    objects: dict[str, int]


def voc_documents(seed: int, counts: dict[str, int], prefix: str) -> Iterator[tuple[str, Record, list[Scene]]]:
    """Of each split: its name, its ground truth with boxes as VOC's files have them, and its scenes."""
    for n, (split, count) in enumerate(counts.items()):
        made = scenes(100 * seed + n, count, list(VOC_CLASSES.values()))
        images = [
            {"id": k, "file_name": f"{prefix}{n}{k:04d}.jpg", "width": one.image.width, "height": one.image.height}
            for k, one in enumerate(made)
        ]
        annotations = [
            {
                "image_id": k,
                "category_id": category(VOC_CLASSES, name),
                "bbox": [x + 1, y + 1, x + width, y + height],
                "difficult": 0,
            }
            for k, one in enumerate(made)
            for name, (x, y, width, height), _ in one.objects
        ]
        for item in annotations[4::5]:
            item["difficult"] = 1
        categories = [{"id": key, "name": name} for key, name in VOC_CLASSES.items()]
        yield split, {"images": images, "annotations": annotations, "categories": categories}, made


def write_voc(root: Path, images: dict[str, int], seed: int = 1, prefix: str = "photo_") -> VocFolder:
    """VOC's layout with this many images per split; the first box of each is a single pixel, as occurs in real data."""
    (root / "JPEGImages").mkdir(parents=True)
    objects = {}
    for split, truth, made in voc_documents(seed, images, prefix):
        first = truth["annotations"][0]["bbox"]
        first[2:] = first[:2]
        write_voc_folder(root, truth, split)
        for image, one in zip(truth["images"], made, strict=True):
            one.image.save(root / "JPEGImages" / image["file_name"], quality=90)
        objects[split] = len(truth["annotations"])
    return VocFolder(root, tuple(sorted(VOC_CLASSES.values())), images, objects)


def write_devkit(root: Path) -> Path:
    """VOC2012 with the list `mini_train` and VOC2007 with `trainval`, as the two years lie beside each other."""
    write_voc(root / "VOC2012", {"mini_train": 12}, seed=2, prefix="2012_")
    write_voc(root / "VOC2007", {"trainval": 12}, seed=3, prefix="0")
    return root
