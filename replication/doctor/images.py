"""The doctor's look at image files: there, whole, of the size the annotations state, not turned by EXIF."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageFile, UnidentifiedImageError
from tqdm import tqdm

from replication.doctor.findings import Finding, Level
from replication.formats.image_files import ORIENTATION, TURNED, misread

FEW = 2000  # so many images are decoded in full without being asked: seconds
JPEG_END = b"\xff\xd9"
TAIL = 4096  # bytes searched for the end marker: cameras append padding and previews

REPLACE = "fetch or export the image again"


@dataclass(frozen=True)
class Annotated:
    """An image file, and the size in pixels that the annotations state, where they could be read."""

    path: Path
    height: int | None = None
    width: int | None = None


def check_images(images: Sequence[Annotated], deep: bool) -> list[Finding]:
    """A finding for each fault of each file. All pixels are decoded when ``deep`` or for at most FEW images.

    Otherwise the header is read and the end of the file looked at, which finds files that were cut off.
    """
    decode = deep or len(images) <= FEW
    tolerant, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes outside the interpreter's lock
            found = pool.map(lambda image: check_image(image, decode), images)
            quiet = len(images) <= FEW and not sys.stderr.isatty()
            shown = tqdm(found, total=len(images), desc="checking images", unit="image", disable=quiet)
            return [finding for findings in shown for finding in findings]
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = tolerant


def check_image(image: Annotated, decode: bool) -> list[Finding]:
    """The faults of one file; none when it is good."""
    try:
        with Image.open(image.path) as opened:
            findings = _size(image, opened)
            if (problem := misread(opened.mode)) is not None:
                findings.append(_finding(image, "error", problem, "convert the image to 8 bits per channel"))
            if decode:
                opened.load()
            elif opened.format == "JPEG" and JPEG_END not in _tail(image.path):  # PNG: getexif has decoded it
                return [_finding(image, "error", "truncated: no JPEG end marker", REPLACE)]
    except FileNotFoundError:
        return [_finding(image, "error", "no such image file", "complete the folder or correct the path")]
    except UnidentifiedImageError:
        return [_finding(image, "error", "no image that Pillow can read", REPLACE)]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return [_finding(image, "error", f"unreadable or truncated: {error}", REPLACE)]
    return findings


def _size(image: Annotated, opened: Image.Image) -> list[Finding]:
    """Faults of size and orientation. Detectron2 turns an image as its EXIF tag says before anything else."""
    orientation = opened.getexif().get(ORIENTATION, 1)
    width, height = opened.size
    if orientation in TURNED:
        width, height = height, width
    if image.height is not None and (height, width) != (image.height, image.width):
        turned = f" after turning it as its EXIF orientation {orientation} says" if orientation != 1 else ""
        message = f"is {width}x{height} pixels{turned}, annotated as {image.width}x{image.height}"
        return [_finding(image, "error", message, "correct 'width' and 'height' in the annotation, or the image")]
    if orientation in range(2, 9):
        message = f"EXIF orientation {orientation}: the image is turned when it is read"
        return [_finding(image, "warning", message, "check that its boxes were drawn on the turned image")]
    return []


def _tail(path: Path) -> bytes:
    with open(path, "rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(max(0, length - TAIL))
        return file.read()


def _finding(image: Annotated, level: Level, message: str, action: str) -> Finding:
    return Finding(level, "data", str(image.path), message, action)
