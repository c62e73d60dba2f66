"""Reads PASCAL VOC's annotations: lists of images with an XML file each, or a folder of XML files.

VOC's bounds are 1-based and inclusive: xmin..xmax becomes the 0-based xmin - 1 and the width xmax - xmin + 1.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from replication.catalog.protocols import VocSplit
from replication.errors import DataError
from replication.formats.annotations import Annotations, Box, Category, Image, Object
from replication.formats.image_files import ImageFolder, file_names, is_image, stem
from replication.formats.problems import Problems
from replication.formats.values import UNSPECIFIED, flag, is_finite

CORNERS = ("xmin", "ymin", "xmax", "ymax")
_FLAG = re.compile(r"\s+(-1|0|1)$")
_DECLARED = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")


@dataclass(frozen=True)
class Listed:
    """An image of a list: its name there without suffix, its XML file, and the image where the folder has it."""

    name: str
    annotation: Path
    image: Path | None


@dataclass
class _Reading:
    """What is gathered while the files of a set are read."""

    problems: Problems
    images: list[Image] = field(default_factory=list)
    objects: list[tuple[int, str, Box, bool]] = field(default_factory=list)
    unspecified: int = 0


def read_voc(root: Path, parts: Sequence[VocSplit], classes: Sequence[str] | None = None) -> Annotations:
    """The images of several lists; ids count from 1 in the order of the lists. Names of images are relative to root.

    Without ``classes`` these are the names that occur, sorted. Raises DataError with the first problems.
    """
    problems = Problems(root)
    listed = [entry for part in parts for entry in listed_files(root, part, problems)]
    problems.stop("complete the folder, then run again")
    return _read(root, listed, classes, problems)


def read_voc_path(path: Path) -> Annotations:
    """Ground truth for evaluation: an image list, or a folder of annotations without lists. Raises DataError."""
    if not path.is_dir():
        folder = path.resolve().parents
        if len(folder) < 3:
            raise DataError(
                f"{path}: a VOC image list lies in <root>/ImageSets/Main, next to <root>/Annotations; move it"
            )
        files = _listed(path, folder[2])
    else:
        lists = sorted((path / "ImageSets" / "Main").glob("*.txt"))
        if lists:
            names = ", ".join(entry.name for entry in lists[:5]) + (", ..." if len(lists) > 5 else "")
            raise DataError(f"{path}: has image lists ({names}) in ImageSets/Main; give the one to evaluate on")
        files = _whole_folder(path)
    problems = Problems(path)
    for entry in files:
        if not entry.annotation.is_file():
            problems.add(str(entry.annotation), f"missing, but {entry.name} is listed")
    problems.stop("complete the folder, then run again")
    return _read(path, files, None, problems)


def is_voc(path: Path) -> bool:
    """Whether a folder holds VOC's annotations."""
    return path.is_dir() and ((path / "Annotations").is_dir() or any(path.glob("*.xml")))


def image_list(root: Path, part: VocSplit) -> Path | None:
    """The file that lists the images of a split; None where a folder is taken whole."""
    return None if part.split is None else root / part.folder / "ImageSets" / "Main" / f"{part.split}.txt"


def annotation_files(root: Path, part: VocSplit) -> list[Path]:
    """The annotation files of a split, in its order. Raises DataError when one, or its image, is missing."""
    problems = Problems(root)
    files = [listed.annotation for listed in listed_files(root, part, problems)]
    problems.stop("complete the folder, then run again")
    return files


def listed_files(root: Path, part: VocSplit, problems: Problems) -> Iterator[Listed]:
    """The files of a split; an image or annotation that is missing is added to ``problems``."""
    source, folder = image_list(root, part), root / part.folder
    files = _whole_folder(folder) if source is None else _listed(source, folder)
    where = folder if source is None else source
    for entry in files:
        if not entry.annotation.is_file():
            problems.add(str(entry.annotation), f"missing, but {entry.name} is listed in {where}")
        elif entry.image is None:
            expected = folder / "JPEGImages" / f"{entry.name}.jpg"
            problems.add(str(expected), f"missing image (none of another suffix either), but listed in {where}")
        else:
            yield entry


def _whole_folder(folder: Path) -> list[Listed]:
    """Every annotation of a folder, with ``Annotations`` in it or the XML files themselves, by name."""
    place = folder / "Annotations" if (folder / "Annotations").is_dir() else folder
    names = sorted(name for name in file_names(place) if name.lower().endswith(".xml"))
    if not names:
        raise DataError(f"{place}: no .xml files; a data set needs at least one annotated image")
    images = _Images(folder)
    return [Listed(name[:-4], place / name, images.find(name[:-4])) for name in names]


def _listed(path: Path, folder: Path) -> list[Listed]:
    place = folder / "Annotations"
    annotations, images = ImageFolder(place), _Images(folder)
    found: list[Listed] = []
    for name in _names(path, annotations):
        annotation = annotations.path(f"{name}.xml") or place / f"{name}.xml"
        found.append(Listed(name, annotation, images.find(name)))
    return found


class _Images:
    """The image files of a VOC folder by their names without suffix."""

    def __init__(self, folder: Path) -> None:
        here = folder / "JPEGImages" if (folder / "JPEGImages").is_dir() else folder
        self.files = ImageFolder(here)
        self.names = {stem(name): name for name in file_names(here) if is_image(name)}

    def find(self, name: str) -> Path | None:
        return self.files.path(self.names.get(name) or f"{name}.jpg")


def _names(path: Path, annotations: ImageFolder) -> list[str]:
    """Image names of a list. A column -1, 0 or 1 after the name, a folder and a suffix are not part of them."""
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except FileNotFoundError:
        raise DataError(f"{path}: no such image list; check root, folder and split") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a list of images: {error}") from None
    if not lines:
        raise DataError(f"{path}: the list is empty; a data set needs at least one image")
    names = [_name(line, annotations) for line in lines]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{path}: {len(twice)} images are listed twice, first {twice[0]}; list each once")
    return names


def _name(line: str, annotations: ImageFolder) -> str:
    plain = _FLAG.sub("", line)
    for name in dict.fromkeys((line, plain, stem(line), stem(plain))):
        if "\0" not in name and annotations.path(f"{name}.xml"):
            return name
    return plain


def _read(root: Path, listed: Sequence[Listed], classes: Sequence[str] | None, problems: Problems) -> Annotations:
    reading = _Reading(problems)
    for number, entry in enumerate(listed, start=1):
        tree = _parse(entry.annotation, problems)
        if tree is None:
            continue
        height, width = (_extent(tree, side, entry.annotation, problems) for side in ("height", "width"))
        reading.images.append(Image(number, _image_name(root, entry), height, width))
        _read_objects(tree, number, entry.annotation, reading)
    names = sorted({name for _, name, _, _ in reading.objects}) if classes is None else list(classes)
    places = {name: place for place, name in enumerate(names, start=1)}
    for image, name, _, _ in reading.objects:
        if name not in places:
            problems.add(str(listed[image - 1].annotation), f"class {name!r} is not among {', '.join(names)}")
    problems.stop("correct the files, or the protocol's 'classes'; then run again")
    objects = [
        Object(number, image, places[name], box, difficult=difficult)
        for number, (image, name, box, difficult) in enumerate(reading.objects, start=1)
    ]
    categories = tuple(Category(number, name) for name, number in places.items())
    text = f"{reading.unspecified} objects have difficult 'Unspecified', which is read as 0"
    notes = (text,) if reading.unspecified else ()
    return Annotations(root, tuple(reading.images), categories, tuple(objects), notes)


def _image_name(root: Path, entry: Listed) -> str:
    if entry.image is None or not entry.image.is_relative_to(root):
        return entry.name
    return str(entry.image.relative_to(root))


def _parse(path: Path, problems: Problems) -> ElementTree.Element | None:
    """An XML file, decoded by the encoding that it declares: the parser itself knows few."""
    try:
        content = path.read_bytes()
        if b"<!ENTITY" in content:
            raise ValueError("declares entities, which annotations do not need")
        declared = _DECLARED.match(content)
        if declared is not None and declared[1].lower() not in (b"utf-8", b"utf-16"):
            text = content.decode(declared[1].decode("ascii"))
            return ElementTree.fromstring(text[text.index("?>") + 2 :].strip())
        return ElementTree.fromstring(content.strip())
    except LookupError as error:
        problems.add(str(path), f"not readable as XML: {error}; save it as UTF-8")
    except (ElementTree.ParseError, OSError, ValueError) as error:
        problems.add(str(path), f"not readable as XML, perhaps cut off or in another encoding than declared: {error}")
    return None


def _extent(tree: ElementTree.Element, side: str, path: Path, problems: Problems) -> int | None:
    """Height or width; None where it is absent, or 0 and -1 as some tools write."""
    text = (tree.findtext(f"size/{side}") or "0").strip()
    try:
        value = float(text)
        if value <= 0:
            return None
        if value.is_integer() and value < 2**31:
            return int(value)
    except ValueError:
        pass
    problems.add(str(path), f"size/{side} is {text!r}, expected a whole number of pixels")
    return None


def _read_objects(tree: ElementTree.Element, image: int, path: Path, reading: _Reading) -> None:
    for number, entry in enumerate(tree.iterfind("object")):
        name = (entry.findtext("name") or "").strip()
        where = f"{path}: object {number} ({name})"
        if not name:
            reading.problems.add(where, "has no <name>")
            continue
        box = _box(entry)
        if isinstance(box, str):
            reading.problems.add(where, box)
            continue
        text = (entry.findtext("difficult") or "").strip()
        if text.lower() == UNSPECIFIED:
            reading.unspecified += 1
            text = ""
        try:
            reading.objects.append((image, name, box, flag(text)))
        except ValueError as error:
            reading.problems.add(where, f"difficult {error}")


def _box(entry: ElementTree.Element) -> Box | str:
    """The box as 0-based XYWH, or what is wrong with it."""
    texts = [entry.findtext(f"bndbox/{key}") for key in CORNERS]
    try:
        x1, y1, x2, y2 = (float(text) for text in texts if text is not None)
    except ValueError:
        return f"bndbox must have four numbers {', '.join(CORNERS)}, found {texts}"
    box = x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1
    if not all(map(is_finite, (*box, box[2] * box[3]))):
        return f"bndbox has a value that is not a finite number: {texts}"
    if box[2] < 0 or box[3] < 0:
        return f"bndbox is empty: its upper bounds must not be less than its lower ones, found {texts}"
    return box
