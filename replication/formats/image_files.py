"""Image files: finding them by the names that annotations use, their sizes, and what Detectron2 would misread."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image

from replication.errors import DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "La", "RGBa")
ORIENTATION = 0x0112  # EXIF tag
TURNED = (5, 6, 7, 8)  # orientations that swap width and height
_ABSOLUTE = re.compile(r"/|[A-Za-z]:")


class ImageFolder:
    """Which files a folder holds, each subfolder listed once instead of every file asked for.

    A name may contain subfolders, with Windows separators too, and be normalised (NFC, NFD) in another way than on
    disk. An absolute name of another machine is looked for by its last part.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._listed: dict[Path, dict[str, str]] = {}

    def path(self, name: str) -> Path | None:
        """The file of that name as it is on disk, or None."""
        slashed = name.replace("\\", "/")
        moved = [slashed.rpartition("/")[2]] if _ABSOLUTE.match(slashed) else []
        for candidate in dict.fromkeys((name, slashed, *moved)):
            path = self.folder / candidate
            parent = self._existing(path.parent)
            if (stored := self._names(parent).get(_normal(path.name))) is not None:
                return parent / stored
        return None

    def _existing(self, folder: Path) -> Path:
        """The folder as it is on disk: names of folders may be normalised in another way, too."""
        if self._names(folder) or folder == self.folder or folder == folder.parent:
            return folder
        above = self._existing(folder.parent)
        stored = self._names(above).get(_normal(folder.name))
        return folder if stored is None else above / stored

    def _names(self, folder: Path) -> dict[str, str]:
        if folder not in self._listed:
            # The name itself goes before one that is only normalised alike.
            names = sorted(file_names(folder), key=lambda name: name == _normal(name))
            self._listed[folder] = {_normal(name): name for name in names}
        return self._listed[folder]


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def file_names(folder: Path) -> list[str]:
    """Names of all entries of a folder; none when there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{folder}: cannot be listed: {reason}; check its permissions") from error


def is_image(name: str) -> bool:
    """Whether a file's name ends as images do that can be read."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def stem(name: str) -> str:
    """A file's name without its folder and without the suffix of an image; other dots are part of the name."""
    base = name.replace("\\", "/").rpartition("/")[2]
    return base.rpartition(".")[0] if is_image(base) else base


class NameIndex:
    """Places of images by the names that other files may call them: as they are, without folder, without suffix."""

    def __init__(self, names: Iterable[str]) -> None:
        self.exact: dict[str, int] = {}
        self.places: dict[str, int | None] = {}
        for place, name in enumerate(names):
            self.exact.setdefault(_normal(name), place)
            for alias in dict.fromkeys(_aliases(name)):
                # None: two images could be meant.
                self.places[alias] = None if self.places.get(alias, place) != place else place

    def find(self, name: str) -> int | None:
        """The place of the image called ``name``; None when there is none, or are several."""
        if (exact := self.exact.get(_normal(name))) is not None:
            return exact
        return next((place for alias in _aliases(name) if (place := self.places.get(alias)) is not None), None)

    def numbers(self) -> dict[int, int]:
        """Places by the numbers that names consist of, for tools that write 000123.jpg as 123."""
        numbers: dict[int, int] = {}
        for alias, place in self.places.items():
            if place is not None and alias.isascii() and alias.isdecimal() and len(alias) < 19:
                numbers[int(alias)] = -1 if numbers.get(int(alias), place) != place else place
        return {number: place for number, place in numbers.items() if place >= 0}


def _aliases(name: str) -> Iterator[str]:
    if name:
        yield (plain := _normal(name))
        yield plain.replace("\\", "/").rpartition("/")[2]
        yield stem(plain)


def read_size(path: Path) -> tuple[int, int]:
    """Height and width in pixels, turned as EXIF says, as Detectron2 does. Raises ValueError with the reason."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(ORIENTATION, 1) in TURNED
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot be opened to learn its size: {error}") from error
    return (width, height) if turned else (height, width)


def misread(mode: str) -> str | None:
    """What is wrong with images of a mode of Pillow's that Detectron2 turns black or white without a word."""
    if mode in EIGHT_BIT:
        return None
    kind = "of 32-bit floating point" if mode == "F" else "of 16 or 32 bits"
    return f"pixels are {kind} (mode {mode}), which Detectron2 would read as black or white"


def check_depth(path: Path) -> None:
    """Raise DataError for an image whose pixels do not fit into 8 bits; one that cannot be opened passes."""
    try:
        with Image.open(path) as image:
            problem = misread(image.mode)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return
    if problem:
        raise DataError(f"{path}: {problem}; convert the image to 8 bits per channel")
