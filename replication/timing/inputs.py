"""The fixed list of images that every variant is timed on, on the device before the clock starts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.data.transforms import ResizeShortestEdge
from torch import Tensor
from torch.nn import functional as F

from replication.catalog import Protocol
from replication.datasets import Split, load_split
from replication.errors import DataError
from replication.timing.candidates import Batch
from replication.training.curves import say
from replication.training.data import MappedRecords

SEED = 0

# (height, width): images, of the commonest sizes among 453 images of COCO train2017 and val2017.
COCO_SIZES = {
    (480, 640): 95, (427, 640): 57, (640, 480): 42, (426, 640): 20, (375, 500): 16, (640, 427): 14, (428, 640): 14,
    (500, 375): 13, (425, 640): 10, (424, 640): 9, (640, 425): 5,
}  # fmt: skip
CLASSES = {"coco": 80, "voc2007": 20}

Size = tuple[int, int]


@dataclass(frozen=True)
class Source:
    """Where images come from: a split's own, or noise of COCO's sizes where the data are not at hand."""

    text: str
    num_classes: int
    split: Split | None
    chosen: tuple[int, ...]
    sizes: tuple[Size, ...]


def find_source(protocol: Protocol, count: int) -> Source:
    """``count`` images drawn from the validation split by a fixed seed, or as many sizes drawn from COCO's.

    Raises DataError where the data are missing and the protocol's benchmark does not tell the number of classes.
    """
    draw = random.Random(SEED)
    try:
        split = load_split(protocol, "val")
    except DataError as error:
        if protocol.benchmark is None:
            raise
        say(f"noise in sizes of COCO images replaces the validation images: {str(error).splitlines()[0]}")
        sizes = draw.choices(list(COCO_SIZES), list(COCO_SIZES.values()), k=count)
        return Source("noise in sizes of COCO images", CLASSES[protocol.benchmark], None, (), tuple(sizes))
    chosen = draw.sample(range(len(split.records)), min(count, len(split.records)))
    sizes = [(split.records[index]["height"], split.records[index]["width"]) for index in chosen]
    return Source("validation images", len(split.classes), split, tuple(chosen), tuple(sizes))


def make_inputs(source: Source, cfg: CfgNode, size: Size | None, device: torch.device) -> list[Batch]:
    """One image a batch, (3, H, W) uint8 on ``device``, resized as the config resizes test images, or to ``size``."""
    images = _noise(source, cfg) if source.split is None else _mapped(source, source.split, cfg)
    return [
        [{"image": _resized(image, size).to(device), "height": height, "width": width}]
        for image, (height, width) in zip(images, source.sizes, strict=True)
    ]


def shapes(inputs: Sequence[Batch]) -> list[Size]:
    """(height, width) of the images as the models get them."""
    return [(batch[0]["image"].shape[1], batch[0]["image"].shape[2]) for batch in inputs]


def _mapped(source: Source, split: Split, cfg: CfgNode) -> list[Tensor]:
    mapped = MappedRecords(split.records, DatasetMapper(cfg, is_train=False), SEED)
    images: list[Tensor] = []
    for index in source.chosen:
        record: Any = mapped[index, index]
        if isinstance(record, DataError):
            raise record
        images.append(record["image"])
    return images


def _noise(source: Source, cfg: CfgNode) -> list[Tensor]:
    generator = torch.Generator().manual_seed(SEED)
    images = []
    for height, width in source.sizes:
        shape = ResizeShortestEdge.get_output_shape(height, width, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)
        images.append(torch.randint(0, 256, (3, *shape), dtype=torch.uint8, generator=generator))
    return images


def _resized(image: Tensor, size: Size | None) -> Tensor:
    if size is None:
        return image
    return F.interpolate(image[None].float(), size, mode="bilinear", antialias=True)[0].round().to(torch.uint8)
