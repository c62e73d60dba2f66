"""Writes the golden detections and their AP into this folder: `cd tests && python -m golden.make`.

The data are generated from a seed and have what real data have: crowds, ignored and difficult objects, objects of all
sizes, equal scores, more than 100 detections of a class in an image, images and classes without objects, a class that
is never detected. COCO's numbers are pycocotools'; GIoU's and VOC's come from reference.py.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import math
import random
from pathlib import Path
from typing import Any

from golden import reference
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
Record = dict[str, Any]
WIDTH, HEIGHT = 400, 300
COCO_CLASSES = {1: "person", 3: "car", 18: "dog", 44: "bottle", 90: "toothbrush"}
NEVER_FOUND, NEVER_THERE = 44, 90
VOC_CLASSES = {1: "aeroplane", 2: "dining table", 3: "tvmonitor"}


def outline(box: list[float], corners: int = 10) -> list[float]:
    """An ellipse in an XYWH box as a polygon."""
    x, y, width, height = box
    angles = [2 * math.pi * k / corners for k in range(corners)]
    points = [(x + width * (1 + math.cos(a)) / 2, y + height * (1 + math.sin(a)) / 2) for a in angles]
    return [round(value, 1) for point in points for value in point]


def run_lengths(polygon: list[float]) -> Record:
    (code,) = mask_utils.frPyObjects([polygon], HEIGHT, WIDTH)
    return {"size": code["size"], "counts": code["counts"].decode()}


def draw_box(draw: random.Random) -> list[float]:
    """XYWH within the image, sides from 8 to 220 pixels and small ones more often."""
    width, height = (8 * (220 / 8) ** draw.random() for _ in "wh")
    x, y = draw.random() * (WIDTH - width), draw.random() * (HEIGHT - height)
    return [round(value, 1) for value in (x, y, width, height)]


def near(draw: random.Random, box: list[float], slack: float) -> list[float]:
    """A detection's box of an object: each side off by up to ``slack`` of the size, cut to the image."""
    x, y, width, height = box
    left, right = (edge + width * slack * (2 * draw.random() - 1) for edge in (x, x + width))
    top, bottom = (edge + height * slack * (2 * draw.random() - 1) for edge in (y, y + height))
    left, top = max(left, 0.0), max(top, 0.0)
    return [round(v, 1) for v in (left, top, max(min(right, WIDTH) - left, 1), max(min(bottom, HEIGHT) - top, 1))]


def coco_truth(draw: random.Random) -> Record:
    images = [{"id": n, "file_name": f"{n}.jpg", "width": WIDTH, "height": HEIGHT} for n in range(11, 300, 7)]
    draw.shuffle(images)
    annotations: list[Record] = []
    for image in images:
        for _ in range(draw.choice([0, 1, 2, 4, 6, 9])):
            box, crowd = draw_box(draw), draw.random() < 0.06
            polygon = outline(box)
            entry = {
                "id": len(annotations) + 101,
                "image_id": image["id"],
                "category_id": draw.choice([1, 1, 1, 3, 3, 18, NEVER_FOUND]),
                "bbox": box,
                "area": float(mask_utils.area(run_lengths(polygon))),
                "iscrowd": int(crowd),
                "segmentation": run_lengths(polygon) if crowd else [polygon],
            }
            annotations.append(entry | ({"ignore": 1} if not crowd and draw.random() < 0.1 else {}))
    categories = [{"id": key, "name": name} for key, name in COCO_CLASSES.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def coco_detections(draw: random.Random, truth: Record) -> list[Record]:
    """Most objects, some twice or as another class, and false ones; scores of two digits, so that many are equal."""
    found: list[Record] = []

    def add(image: int, category: int, box: list[float], score: float) -> None:
        found.append({"image_id": image, "category_id": category, "bbox": box, "score": round(score, 2)})

    for one in truth["annotations"]:
        if one["category_id"] == NEVER_FOUND or draw.random() < 0.15:
            continue
        for _ in range(draw.choice([1, 1, 1, 2]) + 2 * one["iscrowd"]):
            category = one["category_id"] if draw.random() < 0.9 else draw.choice([1, 3, 18, NEVER_THERE])
            add(
                one["image_id"], category, near(draw, one["bbox"], 0.25 * draw.random() ** 2), 0.3 + 0.7 * draw.random()
            )
    for image in truth["images"]:
        for _ in range(draw.choice([0, 1, 3])):
            add(image["id"], draw.choice([1, 3, 18]), draw_box(draw), 0.75 * draw.random())
    crowded = max(
        truth["images"], key=lambda image: sum(one["image_id"] == image["id"] for one in truth["annotations"])
    )
    for _ in range(110):  # more than the hundred that count, some of them ahead of the true ones
        add(crowded["id"], 1, draw_box(draw), 0.4 + 0.5 * draw.random())
    draw.shuffle(found)
    return found


def with_masks(found: list[Record]) -> list[Record]:
    """The detections as masks, without boxes, as Detectron2 hands them to pycocotools."""
    return [
        {key: one[key] for key in ("image_id", "category_id", "score")}
        | {"segmentation": run_lengths(outline(one["bbox"], 8))}
        for one in found
    ]


class HonoursIgnore(COCOeval):
    """pycocotools puts ``iscrowd`` in the place of ``ignore``; this puts ``ignore`` beside it."""

    def _prepare(self) -> None:
        super()._prepare()
        for objects in self._gts.values():
            for one in objects:
                one["ignore"] = one["iscrowd"] or self.cocoGt.given.get(one["id"], 0)


def pycocotools_numbers(truth: Record, found: list[Record], kind: str, evaluator: type[COCOeval]) -> Record:
    """The twelve numbers and each class's AP, on 0-100; None where there is nothing to find."""
    with contextlib.redirect_stdout(io.StringIO()):
        data = COCO()
        data.dataset = json.loads(json.dumps(truth))
        data.given = {one["id"]: one.get("ignore", 0) for one in truth["annotations"]}
        data.createIndex()
        evaluation = evaluator(data, data.loadRes(json.loads(json.dumps(found))), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()

    def percent(value: float) -> float | None:
        return None if value < 0 else 100 * float(value)

    cells = evaluation.eval["precision"][:, :, :, 0, 2].mean(axis=(0, 1))
    return {
        "metrics": dict(zip(METRICS, map(percent, evaluation.stats), strict=True)),
        "per_class_AP": {COCO_CLASSES[key]: percent(v) for key, v in zip(evaluation.params.catIds, cells, strict=True)},
    }


def voc_truth(draw: random.Random) -> Record:
    """Corners that are whole pixels counted from 1, as in VOC's files."""
    images = [
        {"id": n, "file_name": f"{1000 + 17 * n:06d}.jpg", "width": WIDTH, "height": HEIGHT} for n in range(1, 41)
    ]
    annotations: list[Record] = []
    for image in images:
        for _ in range(draw.choice([0, 1, 2, 3, 5])):
            x, y, width, height = (int(value) for value in draw_box(draw))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": draw.choice([1, 1, 2, 3]),
                    "bbox": [x + 1, y + 1, x + width, y + height],
                    "difficult": int(draw.random() < 0.15),
                }
            )
    categories = [{"id": key, "name": name} for key, name in VOC_CLASSES.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def voc_detections(draw: random.Random, truth: Record) -> list[Record]:
    """In the order of the images, as detectors write them: equal scores then have one order only."""
    found = []
    for image in truth["images"]:
        for one in (one for one in truth["annotations"] if one["image_id"] == image["id"]):
            for _ in range(draw.choice([0, 1, 1, 1, 2])):
                x1, y1, x2, y2 = one["bbox"]
                x, y, width, height = near(draw, [x1, y1, x2 - x1, y2 - y1], 0.3 * draw.random() ** 2)
                box = [round(value, 1) for value in (x, y, x + width, y + height)]
                found.append(voc_record(image, one["category_id"], box, 0.3 + 0.7 * draw.random()))
        for _ in range(draw.choice([0, 0, 1, 2])):
            x, y, width, height = draw_box(draw)
            box = [round(value, 1) for value in (x, y, x + width, y + height)]
            found.append(voc_record(image, draw.choice([1, 2, 3]), box, 0.8 * draw.random()))
    return found


def voc_record(image: Record, category: int, box: list[float], score: float) -> Record:
    return {"image_id": image["id"], "category_id": category, "bbox": box, "score": round(score, 2)}


def voc_numbers(truth: Record, found: list[Record]) -> Record:
    """Each class's AP at each of COCO's ten thresholds, on 0-100, by rule and overlap."""
    rules = {
        "voc07": (reference.voc_iou, True),
        "voc": (reference.voc_iou, False),
        "voc07_giou": (reference.voc_giou, True),
        "voc_giou": (reference.voc_giou, False),
    }
    return {
        rule: {
            name: [
                100 * reference.voc_average_precision(truth, found, key, overlap, threshold, eleven)
                for threshold in reference.THRESHOLDS
            ]
            for key, name in VOC_CLASSES.items()
        }
        for rule, (overlap, eleven) in rules.items()
    }


def write_lines(path: Path, opening: str, records: list[Record], closing: str = "]\n") -> None:
    """JSON with one record a line, so that a change is seen in a diff."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(opening + ",\n".join(json.dumps(record) for record in records) + closing)


def write_truth(path: Path, truth: Record) -> None:
    heads = {key: truth[key] for key in ("categories", "images")}
    write_lines(path, json.dumps(heads)[:-1] + ', "annotations": [\n', truth["annotations"], "]}\n")


def make(folder: Path) -> None:
    draw = random.Random(20190225)
    truth = coco_truth(draw)
    found = coco_detections(draw, truth)
    masks = with_masks(found)
    write_truth(folder / "coco" / "truth.json", truth)
    write_lines(folder / "coco" / "boxes.json", "[", found)
    write_lines(folder / "coco" / "masks.json", "[", masks)
    voc = voc_truth(draw)
    voc_found = voc_detections(draw, voc)
    write_truth(folder / "voc" / "truth.json", voc)
    names = {image["id"]: Path(image["file_name"]).stem for image in voc["images"]}
    for key, name in VOC_CLASSES.items():
        lines = [
            " ".join(map(str, [names[one["image_id"]], one["score"], *one["bbox"]]))
            for one in voc_found
            if one["category_id"] == key
        ]
        path = folder / "voc" / "detections" / f"comp4_det_test_{name}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
    numbers = {
        "pycocotools": importlib.metadata.version("pycocotools"),
        "boxes": pycocotools_numbers(truth, found, "bbox", COCOeval),
        "masks": pycocotools_numbers(truth, masks, "segm", COCOeval),
        "boxes, ignore honoured": pycocotools_numbers(truth, found, "bbox", HonoursIgnore),
        "masks, ignore honoured": pycocotools_numbers(truth, masks, "segm", HonoursIgnore),
        "giou": reference.coco_metrics(truth, found, reference.giou),
        "giou_paper": reference.coco_metrics(truth, found, reference.giou_paper),
        "voc": voc_numbers(voc, voc_found),
    }
    (folder / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    make(Path(__file__).parent)
