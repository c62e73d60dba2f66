"""Ground truth and result files of two invented detectors, five training runs each, for the tutorial on comparisons.

    python docs/example_runs.py FOLDER

B places its boxes a little better than A. The same numbers always, in COCO's formats.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

IMAGES, PER_IMAGE, RUNS = 400, 3, 5
SPREAD = {"A": 0.085, "B": 0.080}
"""Errors of a detector's boxes, in sides of the object; a run's own differs by 2%."""


def truth(rng: np.random.Generator) -> dict[str, Any]:
    """A document of COCO: objects of 40 to 120 pixels in images of 320 x 240."""
    boxes = [*rng.uniform((5, 5, 40, 40), (180, 100, 120, 120), (IMAGES * PER_IMAGE, 4)).round(1).tolist()]
    objects = [
        {"id": k + 1, "image_id": k // PER_IMAGE + 1, "category_id": k % 2 + 1, "bbox": box, "iscrowd": 0}
        | {"area": round(box[2] * box[3], 1)}
        for k, box in enumerate(boxes)
    ]
    images = [{"id": k + 1, "width": 320, "height": 240, "file_name": f"{k + 1}.jpg"} for k in range(IMAGES)]
    return {
        "images": images,
        "annotations": objects,
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }


def run(document: dict[str, Any], spread: float, rng: np.random.Generator) -> list[dict[str, Any]]:
    """What one run finds: nine objects of ten, and a false detection for each third object."""
    spread = spread * rng.normal(1, 0.02)
    found = []
    for one in document["annotations"]:
        box = np.array(one["bbox"])
        moved = (box + rng.normal(0, spread, 4) * np.tile(box[2:], 2)).round(1)
        if rng.random() < 0.9:
            found.append(_record(one, moved, rng.uniform(0.3, 1)))
        if rng.random() < 0.33:
            found.append(_record(one, np.array([*rng.uniform(0, 150, 2), 50, 50]).round(1), rng.uniform(0, 0.8)))
    return found


def _record(one: dict[str, Any], box: Any, score: float) -> dict[str, Any]:
    keys = {key: one[key] for key in ("image_id", "category_id")}
    return keys | {"bbox": box.tolist(), "score": round(score, 3)}


def main(folder: Path) -> None:
    """Write all files."""
    folder.mkdir(parents=True, exist_ok=True)
    document = truth(np.random.default_rng(0))
    (folder / "truth.json").write_text(json.dumps(document))
    for place, (name, spread) in enumerate(SPREAD.items()):
        for seed in range(RUNS):
            found = run(document, spread, np.random.default_rng([place, seed]))
            (folder / f"{name}_seed{seed}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
