"""The augmentation that the GIoU authors' Darknet trains YOLOv3 with, behind INPUT.DARKNET; off by default.

A crop of random edges, which may lie outside of the image, is resized to a square without keeping its aspect; it is
mirrored, and its hue, saturation and brightness are changed. The side of the square is another every few iterations.
Everything is keyed by (seed, position in the stream of images), so it does not depend on workers or interruptions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from detectron2.data.transforms import ColorTransform, ExtentTransform
from PIL import Image

from replication.errors import ConfigError

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

SMALLEST = 0.001  # of the input's side; what is left of an object below this in either direction is dropped
_SIDES = 0x51DE5  # tells the sides' random numbers from those of an image of the same position


def add_darknet_input_config(cfg: CfgNode) -> None:
    """Add INPUT.DARKNET with the authors' values, off, in place. ``configs/variants/Base-YOLOv3.yaml`` has sources."""
    node = cfg.INPUT.DARKNET = CfgNode()
    node.ENABLED = False
    # Each edge of the crop lies up to this fraction of the image's side inside or outside of the image.
    node.JITTER = 0.3
    # Hue is shifted by up to this fraction of its circle.
    node.HUE = 0.1
    # Saturation and value are multiplied by a number from 1 to this, or by its inverse.
    node.SATURATION = 1.5
    node.EXPOSURE = 1.5
    # Sides of the input, one of which is drawn every EVERY iterations; the largest in the LAST iterations.
    node.SIDES = [320, 352, 384, 416, 448, 480, 512, 544, 576, 608]
    node.EVERY = 10
    node.LAST = 200
    # Objects per image; of more than these random ones are kept.
    node.MAX_OBJECTS = 90


@dataclass(frozen=True)
class Sides:
    """The side of the input in each iteration of ``batch`` images, of ``iterations`` in all."""

    sides: tuple[int, ...]
    every: int
    last: int
    batch: int
    iterations: int
    seed: int

    def at(self, position: int) -> int:
        """The side of the image at ``position`` of the stream, the same for all images of an iteration."""
        iteration = position // self.batch
        if iteration >= self.iterations - self.last:
            return max(self.sides)
        key = np.random.SeedSequence([self.seed, _SIDES, iteration // self.every])
        return int(self.sides[np.random.default_rng(key).integers(len(self.sides))])


class DarknetMapper(DatasetMapper):  # type: ignore[misc]
    """Detectron2's mapper of training records with INPUT.DARKNET's augmentation.

    A record carries its ``position`` in the stream. Random numbers are numpy's global ones, which the caller keys.
    """

    def __init__(self, cfg: CfgNode) -> None:
        """Raises ConfigError when the sides do not fit the model or one batch would mix them."""
        super().__init__(cfg, is_train=True)
        node, stride = cfg.INPUT.DARKNET, max(cfg.MODEL.YOLOV3.STRIDES)
        wrong = [side for side in node.SIDES if side <= 0 or side % stride]
        if not node.SIDES or wrong:
            raise ConfigError(f"INPUT.DARKNET.SIDES: {wrong or node.SIDES}: give multiples of {stride}")
        if cfg.DATALOADER.ASPECT_RATIO_GROUPING:
            raise ConfigError(
                "DATALOADER.ASPECT_RATIO_GROUPING: true with INPUT.DARKNET, whose images are all square; set it false"
            )
        batch, total = cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER
        self.sides = Sides(tuple(node.SIDES), node.EVERY, node.LAST, batch, total, cfg.SEED)
        self.crop_jitter, self.most = node.JITTER, node.MAX_OBJECTS
        self.colour = DarknetColour(node.HUE, node.SATURATION, node.EXPOSURE, cfg.INPUT.FORMAT)
        self.flip = [T.RandomFlip()] if cfg.INPUT.RANDOM_FLIP == "horizontal" else []

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record with its square ``image`` and ``instances``, without objects of which next to nothing is left."""
        side = self.sides.at(record["position"])
        self.augmentations = T.AugmentationList([DarknetCrop(self.crop_jitter, side), *self.flip, self.colour])
        mapped: dict[str, Any] = super().__call__(record)
        instances = mapped["instances"]
        boxes = instances.gt_boxes.tensor
        large = (boxes[:, 2:] - boxes[:, :2] >= SMALLEST * side).all(dim=1).nonzero().squeeze(1)
        if len(large) > self.most:
            large = large[sorted(np.random.permutation(len(large))[: self.most].tolist())]
        mapped["instances"] = instances[large]
        return mapped


class DarknetCrop(T.Augmentation):  # type: ignore[misc]
    """A crop whose edges lie up to ``jitter`` of the sides inside or outside of the image, resized to a square.

    What lies outside is black. Edges are whole pixels, rounded towards the image's.
    """

    def __init__(self, jitter: float, side: int) -> None:
        super().__init__()
        self.jitter, self.side = jitter, side

    def get_transform(self, image: Pixels) -> ExtentTransform:
        """The transform of this image, from four random numbers."""
        height, width = image.shape[:2]
        most = (int(self.jitter * width), int(self.jitter * height))
        left, right = (int(np.random.uniform(-most[0], most[0])) for _ in range(2))
        top, bottom = (int(np.random.uniform(-most[1], most[1])) for _ in range(2))
        return ExtentTransform((left, top, width - right, height - bottom), (self.side, self.side), fill=0)


class DarknetColour(T.Augmentation):  # type: ignore[misc]
    """A random change of hue, saturation and value, in 8 bits as in Darknet; here the hue goes round its circle."""

    def __init__(self, hue: float, saturation: float, exposure: float, image_format: str) -> None:
        super().__init__()
        self.hue, self.saturation, self.exposure, self.image_format = hue, saturation, exposure, image_format

    def get_transform(self, image: Pixels) -> ColorTransform:
        """The transform, from five random numbers."""
        hue, factors = np.random.uniform(-self.hue, self.hue), (_factor(self.saturation), _factor(self.exposure))
        return ColorTransform(lambda pixels: shift_colour(pixels, hue, *factors, self.image_format))


def _factor(most: float) -> float:
    factor = np.random.uniform(1, most)
    return float(factor if np.random.uniform() < 0.5 else 1 / factor)


def shift_colour(image: Pixels, hue: float, saturation: float, value: float, image_format: str = "RGB") -> Pixels:
    """(H, W, 3) uint8 in RGB or BGR, with the hue turned by a fraction of the circle and the other two multiplied."""
    order = slice(None) if image_format == "RGB" else slice(None, None, -1)
    pixels = Image.fromarray(np.ascontiguousarray(image[..., order])).convert("HSV")
    levels = np.arange(256)
    tables = [
        (levels + round(hue * 256)) % 256,
        np.minimum(np.rint(levels * saturation), 255),
        np.minimum(np.rint(levels * value), 255),
    ]
    changed = pixels.point(np.concatenate(tables).astype(int).tolist())
    return np.asarray(changed.convert("RGB"))[..., order]


def training_mapper(cfg: CfgNode) -> DatasetMapper:
    """The mapper of training records that the config asks for."""
    return DarknetMapper(cfg) if cfg.INPUT.DARKNET.ENABLED else DatasetMapper(cfg, is_train=True)
