"""The doctor's look at a protocol's data: what the readers object to, known counts and ids, every image file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import singledispatch
from pathlib import Path

from replication.catalog.protocols import CocoData, Data, Protocol, SplitName, VocData
from replication.datasets.embedded import embedded_folder
from replication.datasets.prepare import pair_problems, shared_images
from replication.datasets.splits import image_folders, load_split, located
from replication.doctor.findings import Finding, Level
from replication.doctor.images import Annotated, check_images
from replication.errors import ReplicationError
from replication.formats.image_files import file_names, is_image
from replication.formats.problems import RejectedData
from replication.formats.splits import SPLITS, Split

# Images and annotations of the official files: cocodataset.org and the files' own lengths. Of train2017, the reader
# leaves out two annotations without height or width, so that two numbers of annotations are right.
COCO_COUNTS: dict[str, tuple[int, tuple[int, ...]]] = {
    "instances_train2017.json": (118_287, (860_001, 859_999)),
    "instances_val2017.json": (5000, (36_781,)),
}
# Images of the official lists: "Database statistics" of the VOC 2007 and VOC 2012 pages.
VOC_COUNTS: dict[tuple[str, str | None], int] = {
    ("VOC2007", "trainval"): 5011,
    ("VOC2007", "test"): 4952,
    ("VOC2012", "trainval"): 11_540,
}
# COCO numbers its 80 categories from 1 to 90; these were dropped before its release.
COCO_IDS = set(range(1, 91)) - {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}


def contents(protocol: Protocol, deep: bool) -> tuple[list[Finding], dict[SplitName, Split]]:
    """Findings about a protocol's data, and the splits that could be read.

    With ``deep`` every image of a large set is decoded, too. An embedded set that is not made yet is no fault.
    """
    absent = _not_made(protocol.data, protocol.name)
    if absent is not None:
        return [absent], {}
    findings: list[Finding] = []
    splits: dict[SplitName, Split] = {}
    for name in SPLITS:
        own, split = _split(protocol, name, deep)
        findings += own
        if split is not None:
            splits[name] = split
    if len(splits) == len(SPLITS):
        findings += _pair(splits["train"], splits["val"])
    return findings, splits


def _not_made(data: Data, protocol: str) -> Finding | None:
    if data.kind != "embedded" or embedded_folder(data).is_dir():
        return None
    made = f"not made yet; `replication prepare --protocol {protocol}` makes it in seconds"
    return Finding("ok", "data", str(embedded_folder(data)), made)


def _split(protocol: Protocol, name: SplitName, deep: bool) -> tuple[list[Finding], Split | None]:
    findings: list[Finding] = []
    split: Split | None = None
    with _heard() as warnings:
        try:
            split = load_split(protocol, name, require_images=False, masks=False)
        except ReplicationError as error:
            findings += objections(error)
    findings += warnings
    try:
        folders = image_folders(protocol.data, name)
    except ReplicationError:  # told above
        folders = []
    missing = [folder for folder in folders if not folder.is_dir()]
    if missing:
        action = _command(protocol.data) or "check the path in the protocol's 'data'"
        findings += [Finding("error", "data", str(path), "no such folder of images", action) for path in missing]
        return findings, split
    findings += check_images(_annotated(split) if split else _all_images(folders), deep)
    if split is None:
        return findings, None
    findings += _official(protocol.data, name, split)
    return findings or [_good(protocol, name, split)], split


def _pair(train: Split, val: Split) -> Iterator[Finding]:
    """What would stop ``prepare`` though each split can be read."""
    for problem in pair_problems(train, val):
        yield from objections(ReplicationError(problem))
    if (warning := shared_images(train, val)) is not None:
        yield Finding("warning", "data", str(val.root), warning, "remove these images from one of the splits")


def objections(error: ReplicationError) -> list[Finding]:
    """A reader's error as findings: one for each problem, with the advice for its action."""
    if isinstance(error, RejectedData):
        return [Finding("error", "data", str(error.source), problem, error.advice) for problem in error.problems]
    subject, _, rest = str(error).partition(": ")
    message, _, advice = rest.rpartition("; ") if "; " in rest else (rest, "", "correct the file, then run again")
    return [Finding("error", "data", subject, message, advice)]


def _annotated(split: Split) -> list[Annotated]:
    return [Annotated(Path(entry["file_name"]), entry["height"], entry["width"]) for entry in split.records]


def _all_images(folders: list[Path]) -> list[Annotated]:
    """Every image file of the folders, without sizes: what can be checked when the annotations cannot be read."""
    names = ((folder, name) for folder in folders for name in sorted(file_names(folder)))
    return [Annotated(folder / name) for folder, name in names if is_image(name)]


@singledispatch
def _official(data: Data, name: SplitName, split: Split) -> list[Finding]:
    """Deviations from the official files' counts and ids: errors where the protocol asks for those files."""
    return []


@_official.register
def _(data: CocoData, name: SplitName, split: Split) -> list[Finding]:
    annotations = located(data.parts(name)[0].annotations)
    if len(data.parts(name)) > 1 or annotations.name not in COCO_COUNTS:
        return []
    level: Level = "error" if data.downloads else "warning"
    findings = []
    images, objects = COCO_COUNTS[annotations.name]
    found = sum(len(entry["annotations"]) for entry in split.records)
    if len(split.records) != images or found not in objects:
        message = (
            f"{len(split.records)} images and {found} annotations, the official file has {images} and {objects[0]}"
        )
        action = _command(data) or "give a subset another name, so that it is not taken for the official file"
        findings.append(Finding(level, "data", str(annotations), message, action))
    if set(split.category_ids) != COCO_IDS:
        message = f"category ids are {sorted(split.category_ids)}, not COCO's 80 from 1 to 90"
        action = _command(data) or "expected for other classes; for COCO's own use the official ids"
        findings.append(Finding(level, "data", str(annotations), message, action))
    return findings


@_official.register
def _(data: VocData, name: SplitName, split: Split) -> list[Finding]:
    root = located(data.root)
    keys = [((root / part.folder).name, part.split) for part in data.parts(name)]
    if not all(key in VOC_COUNTS for key in keys):
        return []
    expected = sum(VOC_COUNTS[key] for key in keys)
    if len(split.records) == expected:
        return []
    names = " + ".join(f"{folder} {part}" for folder, part in keys)
    level: Level = "error" if data.downloads else "warning"
    action = "fetch the missing part, or give a list of your own another name"
    message = f"{len(split.records)} images, the official {names} has {expected}"
    return [Finding(level, "data", str(root), message, action)]


def _good(protocol: Protocol, name: SplitName, split: Split) -> Finding:
    objects = sum(len(entry["annotations"]) for entry in split.records)
    message = f"{len(split.records)} images, {objects} objects, {len(split.classes)} classes, all images intact"
    return Finding("ok", "data", f"{protocol.name} {name} ({split.root})", message)


def _command(data: Data) -> str:
    commands = " and ".join(f"`replication data {name}`" for name in data.downloads)
    return f"fetch it with {commands}" if commands else ""


class _Listener(logging.Handler):
    """Turns what the readers log as warnings into findings."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__(logging.WARNING)
        self.findings = findings

    def emit(self, record: logging.LogRecord) -> None:
        subject, _, message = record.getMessage().partition(": ")
        action = "check these annotations; runs use the data as they are"
        self.findings.append(Finding("warning", "data", subject, message, action))


@contextmanager
def _heard() -> Iterator[list[Finding]]:
    findings: list[Finding] = []
    logger, listener = logging.getLogger("replication.formats"), _Listener(findings)
    logger.addHandler(listener)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield findings
    finally:
        logger.propagate = propagate
        logger.removeHandler(listener)
