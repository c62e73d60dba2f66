"""One small data set with detections, written in every format that the readers know."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 80, 64
CLASSES = ("mug", "plate")
NAMES = ("shelf_11", "shelf_12", "shelf_13")
# Image, class, and box XYWH in whole pixels, so that every format holds it exactly or to the last bit.
OBJECTS = [(0, 0, (10, 8, 20, 16)), (0, 1, (40, 8, 16, 32)), (1, 0, (0, 0, 40, 32)), (2, 1, (24, 16, 32, 16))]
# The second plate is found by a box of half its height, and one detection is false: an AP that is neither 0 nor 100.
FOUND = [
    (0, 0, (10, 8, 20, 16), 0.875), (0, 1, (40, 8, 16, 32), 0.75), (1, 0, (0, 0, 40, 32), 0.625),
    (1, 0, (60, 40, 8, 8), 0.9375), (2, 1, (24, 16, 32, 8), 0.5),
]  # fmt: skip


def write_images(folder: Path, suffix: str = ".jpg") -> None:
    """The images, of noise."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(NAMES):
        pixels = np.random.default_rng(number).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}{suffix}")


def coco_document() -> dict[str, Any]:
    """The ground truth as a COCO document."""
    images = [
        {"id": number + 11, "file_name": f"{name}.jpg", "width": WIDTH, "height": HEIGHT}
        for number, name in enumerate(NAMES)
    ]
    annotations = [
        {
            "id": number, "image_id": image + 11, "category_id": label + 1, "bbox": list(box),
            "area": box[2] * box[3], "iscrowd": 0,
        }
        for number, (image, label, box) in enumerate(OBJECTS, start=1)
    ]  # fmt: skip
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def coco_results() -> list[dict[str, Any]]:
    """The detections as COCO records."""
    return [
        {"image_id": image + 11, "category_id": label + 1, "bbox": list(box), "score": score}
        for image, label, box, score in FOUND
    ]


def write_coco(root: Path) -> Path:
    """COCO: ``gt.json`` beside ``images``."""
    write_images(root / "images")
    (root / "gt.json").write_text(json.dumps(coco_document()))
    return root / "gt.json"


def write_voc(root: Path) -> Path:
    """VOC, with ImageSets; returns the list."""
    write_images(root / "JPEGImages")
    for folder in ("Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for number, name in enumerate(NAMES):
        objects = "".join(
            f"<object><name>{CLASSES[label]}</name><pose>Unspecified</pose><difficult>0</difficult><bndbox>"
            f"<xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
            for image, label, (x, y, w, h) in OBJECTS
            if image == number
        )
        size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{size}{objects}</annotation>")
    path = root / "ImageSets" / "Main" / "val.txt"
    path.write_text("".join(f"{name}\n" for name in NAMES))
    return path


def write_voc_without_lists(root: Path) -> Path:
    """VOC, annotations and images alone; returns the folder."""
    write_voc(root)
    (root / "ImageSets/Main/val.txt").unlink()
    (root / "ImageSets/Main").rmdir()
    (root / "ImageSets").rmdir()
    return root


def yolo_line(label: int, box: tuple[int, ...], *more: float) -> str:
    """A line of a label file."""
    x, y, w, h = box
    values = (x + w / 2) / WIDTH, (y + h / 2) / HEIGHT, w / WIDTH, h / HEIGHT, *more
    return " ".join([str(label), *map(repr, values)]) + "\n"


def write_yolo(root: Path) -> Path:
    """Ultralytics' layout, with data.yaml; returns it."""
    write_images(root / "images/val")
    (root / "labels/val").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        lines = [yolo_line(label, box) for image, label, box in OBJECTS if image == number]
        (root / "labels/val" / f"{name}.txt").write_text("".join(lines))
    names = json.dumps(dict(enumerate(CLASSES))).replace('"0"', "0").replace('"1"', "1")
    (root / "data.yaml").write_text(f"train: images/val\nval: images/val\nnc: 2\nnames: {names}\n")
    return root / "data.yaml"


def write_yolo_with_class_list(root: Path) -> Path:
    """LabelImg's layout: labels beside images, and classes.txt; returns the folder."""
    write_images(root)
    for number, name in enumerate(NAMES):
        lines = [yolo_line(label, box) for image, label, box in OBJECTS if image == number]
        (root / f"{name}.txt").write_text("".join(lines))
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    return root


def data_of(kind: str, root: Path) -> dict[str, Any]:
    """The ``data`` of a protocol for what the writer of that name has written; train and val are the same."""
    if kind == "coco":
        split = {"annotations": str(root / "gt.json"), "images": str(root / "images")}
        return {"kind": "coco", "train": split, "val": split}
    if kind.startswith("voc"):
        parts = [{"split": "val"}] if kind == "voc" else [{}]
        return {"kind": "voc", "root": str(root), "train": parts, "val": parts}
    if kind == "yolo":
        return {"kind": "yolo", "root": str(root)}
    return {"kind": "yolo", "root": str(root), "train": ".", "val": "."}


def write_results_json(root: Path) -> Path:
    """COCO's result list, as Detectron2 and mmdetection name it, too."""
    root.mkdir(exist_ok=True)
    (root / "coco_instances_results.json").write_text(json.dumps(coco_results()))
    return root / "coco_instances_results.json"


def write_results_mmdetection(root: Path) -> Path:
    """mmdetection's ``*.bbox.json``: whole numbers as floats occur."""
    root.mkdir(exist_ok=True)
    records = [one | {"bbox": [float(value) for value in one["bbox"]]} for one in coco_results()]
    (root / "results.bbox.json").write_text(json.dumps(records))
    return root / "results.bbox.json"


def write_results_ultralytics(root: Path) -> Path:
    """Ultralytics' ``predictions.json``: stems of files for image ids."""
    root.mkdir(exist_ok=True)
    records = [one | {"image_id": NAMES[one["image_id"] - 11], "file_name": ""} for one in coco_results()]
    (root / "predictions.json").write_text(json.dumps(records))
    return root / "predictions.json"


def write_results_voc(root: Path) -> Path:
    """VOC's files, one for each class."""
    root.mkdir(exist_ok=True)
    for number, class_name in enumerate(CLASSES):
        lines = [
            f"{NAMES[image]} {score} {x + 1} {y + 1} {x + w} {y + h}\n"
            for image, label, (x, y, w, h), score in FOUND
            if label == number
        ]
        (root / f"comp4_det_val_{class_name}.txt").write_text("".join(lines))
    return root


def write_results_yolo(root: Path) -> Path:
    """YOLO's files, one for each image, with confidences, in ``labels`` as Ultralytics has it."""
    (root / "labels").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        lines = [yolo_line(label, box, score) for image, label, box, score in FOUND if image == number]
        (root / "labels" / f"{name}.txt").write_text("".join(lines))
    return root


Writer = Callable[[Path], Path]
TRUTHS: dict[str, Writer] = {
    "coco": write_coco,
    "voc": write_voc,
    "voc without lists": write_voc_without_lists,
    "yolo": write_yolo,
    "yolo with classes.txt": write_yolo_with_class_list,
}
RESULTS: dict[str, Writer] = {
    "json": write_results_json,
    "mmdetection": write_results_mmdetection,
    "ultralytics": write_results_ultralytics,
    "voc": write_results_voc,
    "yolo": write_results_yolo,
}
