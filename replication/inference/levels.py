"""``levels.json``: which level each object selects in a trained FSAF, against its size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.data.detection_utils import build_augmentation

from replication.detectors import FSAF
from replication.detectors.fsaf.losses import OnlineSelection
from replication.results.files import write_json
from replication.training.data import Record, training_records

SCHEMA = "levels/1"
IMAGES = 200  # enough for a picture


def selects_online(model: Any) -> bool:
    """Whether a model is one whose objects select their level by its loss."""
    return isinstance(model, FSAF) and model.anchor_free and isinstance(model.selection, OnlineSelection)


def write_levels(model: Any, cfg: CfgNode, records: list[Record], path: Path) -> None:
    """Let the objects of the first images of ``records`` select their level and write ``levels.json``.

    ``objects`` has a pair an object: the square root of its box's area in pixels of the input image, and the number
    of the level (3 for stride 8). ``heuristic_level`` and ``heuristic_size`` are l0 and 224, ``levels`` the numbers
    that there are.
    """
    mapper = DatasetMapper(
        is_train=True, augmentations=build_augmentation(cfg, is_train=False), image_format=cfg.INPUT.FORMAT
    )
    numbers = [stride.bit_length() - 1 for stride in model.strides]
    objects: list[tuple[float, int]] = []
    used = training_records(records)[:IMAGES]
    for record in used:
        image = mapper(record)
        sides = image["instances"].gt_boxes.area().sqrt().tolist()
        chosen = model.select_levels([image])[0].tolist()
        objects += [(round(side, 2), numbers[index]) for side, index in zip(sides, chosen, strict=True)]
    node = cfg.MODEL.FSAF
    write_json(
        path,
        SCHEMA,
        {
            "images": len(used),
            "levels": numbers,
            "heuristic_level": node.HEURISTIC_LEVEL,
            "heuristic_size": node.HEURISTIC_SIZE,
            "objects": objects,
        },
    )
