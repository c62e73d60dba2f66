"""COCO annotation files as large as COCO's own, with as many images and objects, and images to go with them."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import IO

from PIL import Image

TRAIN2017 = (118_287, 860_001)
VAL2017 = (5_000, 36_781)
WIDTH, HEIGHT = 640, 480
LINKS = 20_000  # names of one image file; file systems limit them


def write_split(root: Path, name: str, images: int, objects: int) -> None:
    """``annotations/instances_<name>.json`` and the folder ``<name>``; COCO's ids, 80 classes and polygons."""
    folder = root / name
    folder.mkdir(parents=True)
    (root / "annotations").mkdir(exist_ok=True)
    _write_images(folder, images)
    with (root / "annotations" / f"instances_{name}.json").open("w") as file:
        file.write('{"info": {}, "images": [')
        _join(file, (json.dumps(_image(number)) for number in range(images)))
        file.write('], "categories": ')
        json.dump([{"id": label, "name": f"class {label}"} for label in range(1, 81)], file)
        file.write(', "annotations": [')
        draw = random.Random(0)
        _join(file, (_object(draw, number, images) for number in range(objects)))
        file.write("]}")


def _join(file: IO[str], entries: object) -> None:
    for number, entry in enumerate(entries):  # type: ignore[var-annotated, arg-type]
        file.write(f", {entry}" if number else entry)


def _image(number: int) -> dict[str, object]:
    return {"id": number + 1, "file_name": f"{number + 1:012d}.jpg", "width": WIDTH, "height": HEIGHT, "license": 1}


def _object(draw: random.Random, number: int, images: int) -> str:
    width, height = (side * 16 ** -draw.random() for side in (WIDTH, HEIGHT))
    x, y = draw.uniform(0, WIDTH - width), draw.uniform(0, HEIGHT - height)
    # COCO's polygons have about 25 points, here on the box's upper and lower edge.
    steps = [step / 11 for step in range(12)]
    points = [(x + width * s, y) for s in steps] + [(x + width * s, y + height) for s in reversed(steps)]
    polygon = ", ".join(f"{px:.2f}, {py:.2f}" for px, py in points)
    image, label = draw.randrange(images) + 1, min(79, int(draw.expovariate(0.08))) + 1
    return (
        f'{{"segmentation": [[{polygon}]], "area": {width * height:.4f}, "iscrowd": {int(number % 100 == 0)}, '
        f'"image_id": {image}, "bbox": [{x:.2f}, {y:.2f}, {width:.2f}, {height:.2f}], "category_id": {label}, '
        f'"id": {number + 1}}}'
    )


def _write_images(folder: Path, images: int) -> None:
    picture = Image.radial_gradient("L").resize((WIDTH, HEIGHT)).convert("RGB")
    for number in range(images):
        path = folder / f"{number + 1:012d}.jpg"
        if number % LINKS == 0:
            first = path
            picture.save(first, quality=30)
        else:
            os.link(first, path)
