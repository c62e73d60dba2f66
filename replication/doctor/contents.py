"""The doctor's look at a protocol's data: what the readers object to, known counts and ids, every image file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from replication.catalog.protocols import CocoData, EmbeddedData, Protocol, VocData
from replication.datasets.embedded import embedded_folder
from replication.datasets.splits import coco_paths, load_split, located
from replication.doctor.findings import SHOWN, Finding, Level
from replication.doctor.images import Annotated, check_images
from replication.errors import DataError
from replication.formats import splits as records
from replication.formats.splits import SPLITS, Split, SplitName, file_names
from replication.formats.voc import IMAGE_SUFFIXES

# Images and annotations of the official files: cocodataset.org and the files' own lengths. Of train2017, the reader
# leaves out two annotations without height or width, so that two numbers of annotations are right.
COCO_COUNTS: dict[str, tuple[int, tuple[int, ...]]] = {
    "instances_train2017.json": (118_287, (860_001, 859_999)),
    "instances_val2017.json": (5000, (36_781,)),
}
# Images of the official lists: "Database statistics" of the VOC 2007 and VOC 2012 pages.
VOC_COUNTS = {("VOC2007", "trainval"): 5011, ("VOC2007", "test"): 4952, ("VOC2012", "trainval"): 11_540}
# COCO numbers its 80 categories from 1 to 90; these were dropped before its release.
COCO_IDS = set(range(1, 91)) - {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}


def contents(protocol: Protocol, deep: bool) -> list[Finding]:
    """Findings about both splits of a protocol's data; with ``deep`` every image of a large set is decoded, too."""
    data = protocol.data
    if isinstance(data, EmbeddedData) and not embedded_folder(data).is_dir():
        made = f"not made yet; `replication prepare --protocol {protocol.name}` makes it in seconds"
        return [Finding("ok", "data", str(embedded_folder(data)), made)]
    return [finding for name in SPLITS for finding in _split(protocol, name, deep)]


def _split(protocol: Protocol, name: SplitName, deep: bool) -> list[Finding]:
    findings: list[Finding] = []
    split: Split | None = None
    with _heard() as warnings, _all_problems():
        try:
            split = load_split(protocol, name, require_images=False)
        except DataError as error:
            findings += objections(error)
    findings += warnings
    folders = _image_folders(protocol, name)
    missing = [folder for folder in folders if not folder.is_dir()]
    if missing:
        action = _fetch(protocol) or "check the path in the protocol's 'data'"
        return [
            *findings,
            *(Finding("error", "data", str(path), "no such folder of images", action) for path in missing),
        ]
    findings += check_images(_annotated(split) if split else _all_images(folders), deep)
    if split is None:
        return findings
    findings += _known(protocol, name, split)
    return findings or [_good(protocol, name, split)]


def objections(error: DataError) -> list[Finding]:
    """A reader's error as findings: its subject and advice from the first line, a problem from each further one."""
    head, *problems = str(error).split("\n  ")
    subject, _, rest = head.partition(": ")
    message, _, advice = rest.rpartition("; ") if "; " in rest else (rest, "", "correct the file, then run again")
    return [Finding("error", "data", subject, problem, advice) for problem in problems or [message]]


def _annotated(split: Split) -> list[Annotated]:
    return [Annotated(Path(entry["file_name"]), entry["height"], entry["width"]) for entry in split.records]


def _all_images(folders: list[Path]) -> list[Annotated]:
    """Every image file of the folders, without sizes: what can be checked when the annotations cannot be read."""
    names = ((folder, name) for folder in folders for name in sorted(file_names(folder)))
    return [Annotated(folder / name) for folder, name in names if name.lower().endswith(IMAGE_SUFFIXES)]


def _image_folders(protocol: Protocol, name: SplitName) -> list[Path]:
    data = protocol.data
    if isinstance(data, VocData):
        parts = data.train if name == "train" else data.val
        return sorted({located(data.root) / part.folder / "JPEGImages" for part in parts})
    return [images for _, images in coco_paths(data, name)]


def _known(protocol: Protocol, name: SplitName, split: Split) -> list[Finding]:
    """Deviations from the official files' counts and ids: errors where the protocol asks for those files."""
    data = protocol.data
    if isinstance(data, VocData):
        return _known_voc(data, name, split)
    paths = coco_paths(data, name)
    annotations = paths[0][0]
    if not isinstance(data, CocoData) or len(paths) > 1 or annotations.name not in COCO_COUNTS:
        return []
    level: Level = "error" if data.download else "warning"
    findings = []
    images, objects = COCO_COUNTS[annotations.name]
    found = sum(len(entry["annotations"]) for entry in split.records)
    if len(split.records) != images or found not in objects:
        message = (
            f"{len(split.records)} images and {found} annotations, the official file has {images} and {objects[0]}"
        )
        action = _fetch(protocol) or "give a subset another name, so that it is not taken for the official file"
        findings.append(Finding(level, "data", str(annotations), message, action))
    if set(split.category_ids) != COCO_IDS:
        message = f"category ids are {sorted(split.category_ids)}, not COCO's 80 from 1 to 90"
        action = _fetch(protocol) or "expected for other classes; for COCO's own use the official ids"
        findings.append(Finding(level, "data", str(annotations), message, action))
    return findings


def _known_voc(data: VocData, name: SplitName, split: Split) -> list[Finding]:
    parts = data.train if name == "train" else data.val
    root = located(data.root)
    keys = [((root / part.folder).name, part.split) for part in parts]
    if not all(key in VOC_COUNTS for key in keys):
        return []
    expected = sum(VOC_COUNTS[key] for key in keys)
    if len(split.records) == expected:
        return []
    names = " + ".join(f"{folder} {part}" for folder, part in keys)
    level: Level = "error" if data.download else "warning"
    action = "fetch the missing part, or give a list of your own another name"
    message = f"{len(split.records)} images, the official {names} has {expected}"
    return [Finding(level, "data", str(root), message, action)]


def _good(protocol: Protocol, name: SplitName, split: Split) -> Finding:
    objects = sum(len(entry["annotations"]) for entry in split.records)
    message = f"{len(split.records)} images, {objects} objects, {len(split.classes)} classes, all images whole"
    return Finding("ok", "data", f"{protocol.name} {name} ({split.root})", message)


def _fetch(protocol: Protocol) -> str:
    download = getattr(protocol.data, "download", None)
    names = (download,) if isinstance(download, str) else download or ()
    commands = " and ".join(f"`replication data {name}`" for name in names)
    return f"fetch it with {commands}" if commands else ""


@contextmanager
def _all_problems() -> Iterator[None]:
    """Lets the readers quote SHOWN problems in an error instead of the few that fit a message."""
    few, records.SHOWN = records.SHOWN, SHOWN
    try:
        yield
    finally:
        records.SHOWN = few


class _Listener(logging.Handler):
    """Turns what the readers log as warnings into findings."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__(logging.WARNING)
        self.findings = findings

    def emit(self, record: logging.LogRecord) -> None:
        subject, _, message = record.getMessage().partition(": ")
        self.findings.append(
            Finding("warning", "data", subject, message, "look at these annotations; runs use the data as said")
        )


@contextmanager
def _heard() -> Iterator[list[Finding]]:
    findings: list[Finding] = []
    logger, listener = logging.getLogger("replication.datasets"), _Listener(findings)
    logger.addHandler(listener)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield findings
    finally:
        logger.propagate = propagate
        logger.removeHandler(listener)
