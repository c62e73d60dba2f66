"""Prepare the choice of one weight for YOLOv3's IoU and GIoU loss under `mini`, without looking at validation images.

python docs/tune_yolov3.py FOLDER [WEIGHT ...]

Writes a folder for `--configs`: a protocol `mini_tuning`, which is `mini` with its training images divided into 800
for training and 200 for choosing, a variant for each loss and weight, and a table of them. Prints what to run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from replication.catalog import EmbeddedData, Protocol, load_protocol
from replication.datasets.embedded import make_embedded
from replication.results.files import write_text

HELD_OUT = 0.2  # of the training images, the last ones
WEIGHTS = (1.0, 2.0, 5.0)
LOSSES = {"iou": "IoU loss", "giou": "GIoU loss"}
TABLE = "yolo-weights"
NOTE = (
    "As the protocol it is made from, but for the images: of its training images the first four fifths train and the "
    "others are tested on, whose digits training may have seen in other scenes."
)


def main(arguments: Sequence[str]) -> None:
    """Write the folder and print the commands."""
    folder, weights = Path(arguments[0]).absolute(), [float(value) for value in arguments[1:]] or list(WEIGHTS)
    write(load_protocol("mini"), folder, weights)
    choice = f"configs={folder} protocol=mini_tuning tables={TABLE} backbones=D-53 seeds=3"
    print(f"snakemake --cores all --config {choice}")
    print(f"replication tables --configs {folder} --protocol mini_tuning --tables {TABLE}")


def write(protocol: Protocol, folder: Path, weights: Sequence[float]) -> None:
    """Data, variants, paper and protocol under ``folder``; the same files for the same arguments."""
    assert isinstance(protocol.data, EmbeddedData)
    scenes = make_embedded(protocol.data).absolute() / "coco"
    document = json.loads((scenes / "annotations" / "instances_train.json").read_bytes())
    first = round(len(document["images"]) * (1 - HELD_OUT))
    parts = {"train": document["images"][:first], "val": document["images"][first:]}
    data: dict[str, Any] = {"kind": "coco"}
    for name, images in parts.items():
        path = folder / "data" / f"{name}.json"
        write_text(path, json.dumps(part_of(document, images)))
        data[name] = {"annotations": str(path), "images": str(scenes / "train")}
    names = {
        loss: {weight: f"yolov3_D53_{loss}_w{weight:g}".replace(".", "_") for weight in weights} for loss in LOSSES
    }
    for loss, own in names.items():
        for weight, name in own.items():
            leaf = {"_BASE_": f"yolov3_D53_{loss}.yaml", "MODEL": {"YOLOV3": {"BBOX_REG_LOSS_WEIGHT": weight}}}
            _write_yaml(folder / "variants" / f"{name}.yaml", leaf)
    _write_yaml(folder / "papers" / "yolo_tuning.yaml", paper(names))
    title = "mini's training images, divided to choose a loss weight"
    change = {"name": "mini_tuning", "title": title, "note": NOTE, "data": data, "mechanisms": []}
    content = protocol.model_dump(mode="json", exclude_defaults=True) | change | {"tables": [TABLE]}
    content.pop("withdrawn", None)
    content["overrides"]["YOLOv3"].pop("MODEL.YOLOV3.BBOX_REG_LOSS_WEIGHT", None)  # an earlier choice
    _write_yaml(folder / "protocols" / "mini_tuning.yaml", content | {"run_backbones": ["D-53"]})


def part_of(document: dict[str, Any], images: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A COCO document of these images and their annotations."""
    kept = {image["id"] for image in images}
    annotations = [one for one in document["annotations"] if one["image_id"] in kept]
    return document | {"images": list(images), "annotations": annotations}


def paper(names: dict[str, dict[float, str]]) -> dict[str, Any]:
    """A table of MSE and of all losses and weights, without published numbers."""
    rows: list[dict[str, Any]] = [{"id": "mse", "label": "MSE", "backbone": "D-53", "variant": "yolov3_D53_mse"}]
    rows += [
        {"id": name, "label": f"{LOSSES[loss]}, weight {weight:g}", "backbone": "D-53", "variant": name}
        for loss, own in names.items()
        for weight, name in own.items()
    ]
    columns = [
        {"id": metric, "head": metric, "metric": metric, "criterion": "iou"} for metric in ("AP", "AP50", "AP75")
    ]
    table = {
        "id": TABLE, "caption": "YOLOv3: weight of the box loss", "beyond": True, "dataset": "embedded scenes",
        "benchmark": "coco", "split": "held-out training images", "unit": "percent",
        "criterion": "IoU as the overlap that makes a detection true", "source": ["this project"],
        "seen_via": ["this project"], "columns": columns, "baseline": "mse", "rows": rows,
    }  # fmt: skip
    head = {"id": "yolo_tuning", "title": "Choice of a loss weight", "arxiv": "-", "venue": "-"}
    return head | {"tables": [table], "claims": [], "deviations": []}


def _write_yaml(path: Path, content: dict[str, Any]) -> None:
    write_text(path, yaml.safe_dump(content, sort_keys=False))


if __name__ == "__main__":
    main(sys.argv[1:] or sys.exit(__doc__))
