"""Detectors and data sets from a seed, for tests that need many images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from replication.formats.columns import Detections, GroundTruth, from_xywh

WIDTH, HEIGHT = 640.0, 480.0


def population(seed: int, images: int, classes: int, per_image: float = 7.3, tail: float = 1.1) -> GroundTruth:
    """Objects of ``classes`` classes whose frequency falls as rank to the power ``-tail``; 1% are crowds."""
    rng = np.random.default_rng([seed, 0])
    count = rng.geometric(1 / per_image, images)
    image = np.repeat(np.arange(images), count)
    frequency = np.arange(1, classes + 1) ** -tail
    # Objects of one image are often of one class, as in photographs.
    usual = rng.choice(classes, images, p=frequency / frequency.sum())[image]
    label = np.where(
        rng.random(len(image)) < 0.3, usual, rng.choice(classes, len(image), p=frequency / frequency.sum())
    )
    size = np.exp(rng.normal(4.0, 0.9, len(image))).clip(6, 400)
    aspect = np.exp(rng.normal(0, 0.35, len(image)))
    extent = np.stack([size * aspect, size / aspect], axis=1).clip(4, [WIDTH - 1, HEIGHT - 1])
    corner = rng.random((len(image), 2)) * (np.array([WIDTH, HEIGHT]) - extent)
    xywh = np.round(np.concatenate([corner, extent], axis=1), 2)
    boxes, areas = from_xywh(xywh)
    crowds = rng.random(len(image)) < 0.011
    return GroundTruth(
        image_ids=np.arange(1, images + 1) * 3,
        sizes=np.tile([HEIGHT, WIDTH], (images, 1)),
        class_ids=np.arange(1, classes + 1),
        class_names=tuple(f"class{c}" for c in range(classes)),
        images=image,
        labels=label,
        boxes=boxes,
        box_areas=areas,
        areas=np.round(areas * 0.7, 1),
        crowds=crowds,
        ignored=crowds.copy(),
        difficult=np.zeros(len(image), np.bool_),
    )


def detector(
    truth: GroundTruth, seed: int, skill: float = 1.0, per_image: int = 100, confused: float = 0.12
) -> Detections:
    """A detector that finds most objects, the more exactly the more ``skill``, and takes some for another class.

    False detections fill up ``per_image``.
    """
    rng = np.random.default_rng([seed, 1])
    images, classes = len(truth.image_ids), len(truth.class_ids)
    extent = truth.boxes[:, 2:] - truth.boxes[:, :2]
    size = np.sqrt(truth.box_areas)
    ease = 1 / (1 + np.exp(-(np.log(size) - 3.2) * 1.1))
    kept = rng.random(len(size)) < 0.95 * ease**0.35
    tries = np.repeat(np.flatnonzero(kept), 1 + (rng.random(kept.sum()) < 0.45))
    noise = np.abs(rng.gamma(1.3, 0.062, len(tries))) / skill * (0.7 + 0.6 * (1 - ease[tries]))
    shift = rng.normal(0, 1, (len(tries), 4)) * noise[:, None]
    scaled = np.concatenate([extent, extent], axis=1)[tries]
    boxes = truth.boxes[tries] + shift * scaled
    score = (0.15 + 0.75 * ease[tries] - 1.3 * noise + rng.normal(0, 0.2, len(tries))).clip(0.011, 0.999)
    wrong = rng.random(len(tries)) < confused
    label = np.where(wrong, rng.integers(0, classes, len(tries)), truth.labels[tries])
    missing = np.maximum(0, per_image - np.bincount(truth.images[tries], minlength=images))
    image = np.repeat(np.arange(images), missing)
    side = np.exp(rng.normal(4.0, 1.0, (len(image), 2))).clip(5, 400)
    corner = rng.random((len(image), 2)) * (np.array([WIDTH, HEIGHT]) - side)
    false = np.concatenate([corner, corner + side], axis=1)
    low = np.minimum(0.9, rng.gamma(0.6, 0.08, len(image)) + 0.001)
    frequent = truth.labels[rng.integers(0, len(truth.labels), len(image))]
    boxes = np.concatenate([boxes, false])
    xywh = np.round(np.concatenate([boxes[:, :2], np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0)], axis=1), 2)
    corners, areas = from_xywh(xywh)
    order = np.argsort(np.concatenate([truth.images[tries], image]), kind="stable")
    found = Detections(
        images=np.concatenate([truth.images[tries], image])[order],
        labels=np.concatenate([label, frequent])[order],
        boxes=corners[order],
        box_areas=areas[order],
        scores=np.round(np.concatenate([score, low]), 6)[order],
    )
    return found


def subset(
    truth: GroundTruth, detections: list[Detections], chosen: np.ndarray
) -> tuple[GroundTruth, list[Detections]]:
    """The data set of the images ``chosen``, in that order and as often as they occur there, under new ids."""
    place = np.repeat(np.arange(len(truth.image_ids)), np.bincount(chosen, minlength=len(truth.image_ids)))
    kept = _copies(truth.images, place, len(truth.image_ids))
    smaller = replace(
        truth,
        image_ids=np.arange(1, len(place) + 1),
        sizes=truth.sizes[place],
        images=kept[1],
        **{
            key: getattr(truth, key)[kept[0]]
            for key in ("labels", "boxes", "box_areas", "areas", "crowds", "ignored", "difficult")
        },
    )
    others = []
    for one in detections:
        rows, image = _copies(one.images, place, len(truth.image_ids))
        columns = {key: getattr(one, key)[rows] for key in ("labels", "boxes", "box_areas", "scores")}
        others.append(replace(one, images=image, **columns))
    return smaller, others


def _copies(images: np.ndarray, place: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of each new image's old image, and the new image of each row."""
    order = np.argsort(images, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(images, minlength=size))])
    counts = (starts[1:] - starts[:-1])[place]
    new = np.repeat(np.arange(len(place)), counts)
    offset = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[starts[place[new]] + offset], new


def coco_documents(truth: GroundTruth, detections: Detections) -> tuple[dict, list[dict]]:
    """Both as COCO documents."""
    annotations = [
        {
            "id": i + 1,
            "image_id": int(truth.image_ids[truth.images[i]]),
            "category_id": int(truth.class_ids[truth.labels[i]]),
            "bbox": _xywh(truth.boxes[i]),
            "area": float(truth.areas[i]),
            "iscrowd": int(truth.crowds[i]),
        }
        for i in range(len(truth.labels))
    ]
    if not np.array_equal(truth.ignored, truth.crowds):
        for annotation, ignored in zip(annotations, truth.ignored.tolist(), strict=True):
            annotation["ignore"] = int(ignored)
    document = {
        "images": [{"id": int(key), "width": int(WIDTH), "height": int(HEIGHT)} for key in truth.image_ids],
        "categories": [
            {"id": int(key), "name": name} for key, name in zip(truth.class_ids, truth.class_names, strict=True)
        ],
        "annotations": annotations,
    }
    columns = zip(
        truth.image_ids[detections.images].tolist(),
        truth.class_ids[detections.labels].tolist(),
        detections.boxes.tolist(),
        detections.scores.tolist(),
        strict=True,
    )
    records = [
        {"image_id": image, "category_id": label, "bbox": _xywh(box), "score": score}
        for image, label, box, score in columns
    ]
    return document, records


def _xywh(box) -> list[float]:
    x1, y1, x2, y2 = (float(value) for value in box)
    return [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)]


def write_pair(folder: Path, truth: GroundTruth, detections: Detections) -> tuple[Path, Path]:
    """Write both as COCO files; returns (detections, ground truth)."""
    document, records = coco_documents(truth, detections)
    paths = folder / "detections.json", folder / "ground_truth.json"
    for path, content in zip(paths, (records, document), strict=True):
        path.write_text(json.dumps(content))
    return paths
