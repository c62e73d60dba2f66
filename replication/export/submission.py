"""What test servers take: COCO's zipped result list, VOC's tar of a file per class. The same bytes every time."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from replication.catalog import Protocol, Variant, VocData
from replication.errors import ConfigError, ResultError
from replication.evaluation.runs import read_run
from replication.export.entries import val_name
from replication.formats.columns import Detections, GroundTruth
from replication.formats.image_files import stem
from replication.results.files import write_bytes
from replication.results.run import Run

PER_IMAGE = 100
"""Detections per image that COCO's server counts."""
FIELDS = {"": "bbox", "-segm": "segmentation"}
"""COCO's server has a challenge each for boxes and masks: what it reads, and what tells the files apart."""
EARLIEST = (1980, 1, 1, 0, 0, 0)  # of the dates that a zip can hold
UNIX = 3


def submit_run(run: Run, folder: Path) -> list[Path]:
    """Write a run's ``detections.json`` in its benchmark's form: VOC's for data in VOC's form, else COCO's.

    Returns the archives' paths. Raises ConfigError for several lists of VOC, ResultError for detections that are
    missing or of other data.
    """
    protocol = run.protocol
    truth, detections, (path, _) = read_run(run.files, run.layout)
    if protocol.data.test_server == "voc":
        return [write_voc(truth, detections, protocol, algorithm(run), folder)]
    return write_coco(json.loads(path.read_bytes()), val_name(protocol), algorithm(run), folder)


def check_submittable(variant: Variant) -> None:
    """Raise ConfigError for an RPN alone, whose proposals have no class."""
    if variant.class_agnostic:
        raise ConfigError(f"--variant {variant.name}: is an RPN alone; a test server takes detections with classes")


def algorithm(run: Run) -> str:
    """The name under which a run is submitted."""
    return f"{run.variant.name}-seed{run.seed}"


def write_coco(records: Sequence[Mapping[str, Any]], name: str, algorithm: str, folder: Path) -> list[Path]:
    """Write ``detections_<set>_<algorithm>_results.zip``, and one of ``<algorithm>-segm`` where there are masks.

    ``records`` are COCO results, ``name`` the image set's. The best ``PER_IMAGE`` of each image are written, which are
    all that the server counts; YOLOv3 alone has more. Numbers are not rounded: evaluated again, they give what they
    gave.
    """
    best = _best(records)
    paths = []
    for suffix, field in FIELDS.items():
        if field != "bbox" and not any(field in record for record in best):
            continue
        kept = [{key: record[key] for key in ("image_id", "category_id", field, "score")} for record in best]
        base = f"detections_{name}_{algorithm}{suffix}_results"
        text = json.dumps(kept, allow_nan=False, separators=(",", ":")) + "\n"
        paths.append(folder / f"{base}.zip")
        write_bytes(paths[-1], _zip(f"{base}.json", text))
    return paths


def _best(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The ``PER_IMAGE`` records of each image with the highest scores, in their own order; of equals the first."""
    taken: Counter[int] = Counter()
    kept = []
    for place in sorted(range(len(records)), key=lambda place: -records[place]["score"]):
        taken[records[place]["image_id"]] += 1
        if taken[records[place]["image_id"]] <= PER_IMAGE:
            kept.append(place)
    return [records[place] for place in sorted(kept)]


def write_voc(truth: GroundTruth, detections: Detections, protocol: Protocol, algorithm: str, folder: Path) -> Path:
    """Write ``comp4_det_<split>_<algorithm>.tar``, which holds ``results/<folder>/Main/comp4_det_<split>_<class>.txt``.

    A line is image, score, xmin, ymin, xmax, ymax in 1-based inclusive pixels; a class without detections has an empty
    file. It is comp4, not comp3, since backbones start from ImageNet. Raises ConfigError for several lists, ResultError
    for two images of one name.
    """
    assert isinstance(protocol.data, VocData)
    if len(protocol.data.val) > 1:
        raise ConfigError(f"protocol {protocol.name}: data.val: {len(protocol.data.val)} lists; a server takes one")
    part = protocol.data.val[0]
    images, split = [stem(name) for name in truth.image_names], protocol.data.set_name("val")
    _check_name(split, "data.val: split")
    for name in truth.class_names:
        _check_name(name, "class")
    spaced = next((name for name in images if len(name.split()) != 1), None)
    if spaced is not None:
        raise ResultError(f"image {spaced!r}: VOC's lines are split at spaces; rename it without any")
    twice = [name for name, count in Counter(images).items() if count > 1]
    if twice:
        raise ResultError(f"protocol {protocol.name}: data.val: two images are named {twice[0]}; VOC names them apart")
    lines: list[list[str]] = [[] for _ in truth.class_names]
    corners = detections.boxes + np.array([1.0, 1.0, 0.0, 0.0])
    rows = zip(
        detections.images.tolist(),
        detections.labels.tolist(),
        detections.scores.tolist(),
        corners.tolist(),
        strict=True,
    )
    for image, label, score, box in rows:
        lines[label].append(" ".join([images[image], *map(repr, (score, *box))]) + "\n")
    for name in Path(part.folder).parts:
        _check_name(name, "data.val: folder")
    inside = f"results/{part.folder if part.folder != '.' else protocol.name}/Main"
    files = {
        f"{inside}/comp4_det_{split}_{name}.txt": "".join(own)
        for name, own in zip(truth.class_names, lines, strict=True)
    }
    path = folder / f"comp4_det_{split}_{algorithm}.tar"
    write_bytes(path, _tar(files))
    return path


def _zip(name: str, text: str) -> bytes:
    buffer, entry = io.BytesIO(), zipfile.ZipInfo(name, EARLIEST)
    entry.create_system, entry.external_attr = UNIX, 0o644 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(entry, text)
    return buffer.getvalue()


def _check_name(name: str, what: str) -> None:
    """Raise ResultError for a name that would leave its folder in the archive or break its line."""
    if not name or name.startswith(".") or any(letter in "/\\" or not letter.isprintable() for letter in name):
        raise ResultError(f"{what} {name!r}: VOC names a file after it, so it needs letters and no slash; rename it")


def _tar(files: Mapping[str, str]) -> bytes:
    """Members in the order of their names, with zero uid, gid and mtime."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in sorted(files.items()):
            content, entry = text.encode(), tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
