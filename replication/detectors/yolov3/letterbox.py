"""Images of any shape in the middle of a grey square."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

GREY = 127.5  # Darknet's 0.5


def square_side(sizes: Sequence[tuple[int, int]], stride: int) -> int:
    """The side of the square that holds all images of ``sizes`` (height, width), a multiple of ``stride``."""
    longest = max(max(size) for size in sizes)
    return -(-longest // stride) * stride


def margins(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Whole pixels left of and above an image of ``size`` (height, width) in a square: x, y."""
    return (side - size[1]) // 2, (side - size[0]) // 2


def letterbox(images: Sequence[Tensor], side: int, mean: Tensor, std: Tensor) -> Tensor:
    """Normalised batch (N, C, side, side) of images (C, Hi, Wi) in pixel values, grey around each.

    ``mean`` and ``std`` are (C, 1, 1) in pixel values.
    """
    batch = ((GREY - mean) / std).expand(len(images), -1, side, side).clone(memory_format=torch.contiguous_format)
    for row, image in zip(batch, images, strict=True):
        height, width = image.shape[-2:]
        left, above = margins((height, width), side)
        row[:, above : above + height, left : left + width] = (image - mean) / std
    return batch
