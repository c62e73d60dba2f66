"""Valid files with bytes and values changed: an error that names the file, or what an independent reading confirms."""

from __future__ import annotations

import json
import logging
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.small_data import (
    CLASSES,
    coco_document,
    coco_results,
    data_of,
    write_coco,
    write_results_json,
    write_results_voc,
    write_results_yolo,
    write_voc,
    write_yolo,
)

from replication.catalog.protocols import Protocol
from replication.datasets import load_split
from replication.errors import ReplicationError
from replication.evaluation import Options, evaluate
from replication.formats.columns import Detections, GroundTruth
from replication.formats.detections import read_detections
from replication.formats.npz_results import save_detections
from replication.formats.truth import read_ground_truth

MUTATIONS = 2000  # of each format
JUNK = [
    None, True, False, 0, 1, -1, 2, 0.5, 11.0, 1e308, 10**30, math.nan, math.inf, "", "0", "1", "x", "shelf_11", "\x00",
    [], [1], [[1]], {}, {"a": 1}, [1, 2, 3, 4], [math.nan, 1, 2, 3], [1, 2, -3, 4], [1, 2, 0, 0],
]  # fmt: skip
TEXTS = ["", "x", "nan", "inf", "-inf", "1e999", "--1", "0x10", "\u0661x", "1,5", "\x07", "None"]
"""What is no number, or none to compute with, in a field of a text file."""


def mutated(content: bytes, rng: random.Random) -> bytes:
    """The content with a few bytes changed, left out, put in or cut off."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        place = rng.randrange(len(data) + 1) if data else 0
        kind = rng.randrange(5)
        if kind == 0 and place < len(data):
            data[place] = rng.randrange(256)
        elif kind == 1 and place < len(data):
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del data[place : place + rng.choice([1, 1, 10])]
        elif kind == 3:
            data[place:place] = bytes(rng.choice(b'0123456789-.eE "{}[],:<>/&\n\\\xff\x00') for _ in range(2))
        elif kind == 4 and rng.random() < 0.2:
            del data[place:]
    return bytes(data)


def values(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a JSON document, as container and key."""
    pairs = list(document.items() if isinstance(document, dict) else enumerate(document))
    for key, value in pairs:
        yield document, key
        if isinstance(value, dict | list):
            yield from values(value)


def mutated_json(text: bytes, rng: random.Random) -> bytes:
    """A JSON document with a value exchanged for another, a key taken out, or bytes changed."""
    if rng.random() < 0.5:
        return mutated(text, rng)
    document = json.loads(text)
    for _ in range(rng.choice([1, 1, 2])):
        container, key = rng.choice(list(values(document)))
        if isinstance(container, dict) and rng.random() < 0.15:
            container.pop(key, None)
        elif isinstance(container, dict) or key < len(container):
            container[key] = rng.choice(JUNK)
    return json.dumps(document).encode()


def mutated_text(text: bytes, rng: random.Random) -> bytes:
    """A text file with a field exchanged, a line doubled or taken out, or bytes changed."""
    lines = text.decode().splitlines()
    if rng.random() < 0.5 or not lines:
        return mutated(text, rng)
    place = rng.randrange(len(lines))
    fields = lines[place].split(" ")
    kind = rng.randrange(4)
    if kind == 0:
        lines.insert(place, lines[place])
    elif kind == 1:
        del lines[place]
    elif kind == 2:
        fields.insert(rng.randrange(len(fields) + 1), rng.choice(["1", *TEXTS]))
    else:
        fields[rng.randrange(len(fields))] = rng.choice(TEXTS)
    if kind > 1:
        lines[place] = " ".join(fields)
    return "\n".join(lines).encode()


def sound(columns: GroundTruth | Detections, truth: GroundTruth) -> None:
    """What every number is computed from is finite and refers to what is there."""
    assert np.isfinite(columns.boxes).all()
    assert np.isfinite(columns.box_areas).all()
    assert (columns.box_areas >= 0).all()
    if len(columns.images):
        assert 0 <= columns.images.min() <= columns.images.max() < len(truth.image_ids)
        assert 0 <= columns.labels.min() <= columns.labels.max() < len(truth.class_ids)


def campaign(file: Path, change: Callable[[bytes, random.Random], bytes], read: Callable[[], Any], seed: int) -> int:
    """How many mutated files could be read; anything but an error for the user fails."""
    content, rng, accepted = file.read_bytes(), random.Random(seed), 0
    for number in range(MUTATIONS):
        file.write_bytes(change(content, rng))
        try:
            read()
            accepted += 1
        except ReplicationError:
            pass
        except Exception as error:
            kept = file.with_name("failed")
            kept.write_bytes(file.read_bytes())
            raise AssertionError(f"mutation {number} of seed {seed}, kept as {kept}: {error!r}") from error
    return accepted


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)


def protocol(kind: str, root: Path) -> Protocol:
    fields = {"name": "own", "title": "t", "batch": 1, "tables": ("giou-T5",), "checkpoint_every": 1}
    return Protocol.model_validate(fields | {"data": data_of(kind, root)})


@pytest.mark.parametrize(
    ("kind", "write", "file", "change"),
    [
        ("coco", write_coco, "gt.json", mutated_json),
        ("voc", write_voc, "Annotations/shelf_11.xml", mutated_text),
        ("voc", write_voc, "ImageSets/Main/val.txt", mutated_text),
        ("yolo", write_yolo, "labels/val/shelf_11.txt", mutated_text),
        ("yolo", write_yolo, "data.yaml", mutated_text),
    ],
)
def test_mutated_ground_truth(kind: str, write: Any, file: str, change: Any, tmp_path: Path) -> None:
    path = write(tmp_path)
    own = protocol(kind, tmp_path)

    def read() -> None:
        truth = read_ground_truth(path)
        sound(truth, truth)
        for record in load_split(own, "val").records:
            for entry in record["annotations"]:
                x1, y1, x2, y2 = entry["bbox"]
                assert -1 <= x1 < x2 <= record["width"] + 1
                assert -1 <= y1 < y2 <= record["height"] + 1
                assert math.isfinite(entry["area"])

    assert 0 < campaign(tmp_path / file, change, read, 1) < MUTATIONS


@pytest.mark.parametrize(
    ("write", "file", "change"),
    [
        (write_results_json, "coco_instances_results.json", mutated_json),
        (write_results_voc, "comp4_det_val_mug.txt", mutated_text),
        (write_results_yolo, "labels/shelf_11.txt", mutated_text),
    ],
)
def test_mutated_detections(write: Any, file: str, change: Any, tmp_path: Path) -> None:
    truth = read_ground_truth(write_coco(tmp_path / "truth"))
    path = write(tmp_path / "found")
    read = read_and_check(path, truth)
    assert 0 < campaign(tmp_path / "found" / file, change, read, 2) < MUTATIONS


def read_and_check(path: Path, truth: GroundTruth) -> Callable[[], None]:
    def read() -> None:
        found = read_detections(path, truth)
        sound(found, truth)
        assert np.isfinite(found.scores).all()

    return read


def test_mutated_columns(tmp_path: Path) -> None:
    """The archive has checksums, so that no changed number passes."""
    truth = read_ground_truth(write_coco(tmp_path / "truth"))
    found = read_detections(write_results_json(tmp_path / "found"), truth)
    path = tmp_path / "columns.npz"
    save_detections(path, found, truth)

    def read() -> None:
        again = read_detections(path, truth)
        assert np.array_equal(again.boxes, found.boxes)
        assert np.array_equal(again.scores, found.scores)
        assert np.array_equal(again.labels, found.labels)

    campaign(path, mutated, read, 3)


@pytest.mark.parametrize("place", range(1, 6))
@pytest.mark.parametrize("text", [text for text in TEXTS if text])
def test_no_field_that_is_no_number_passes(place: int, text: str, tmp_path: Path) -> None:
    """Of VOC's and YOLO's detections, each of the five numbers."""
    truth = read_ground_truth(write_coco(tmp_path / "truth"))
    for write, file in ((write_results_voc, "comp4_det_val_mug.txt"), (write_results_yolo, "labels/shelf_11.txt")):
        folder = write(tmp_path / write.__name__)
        fields = (folder / file).read_text().splitlines()[0].split(" ")
        fields[place] = text
        (folder / file).write_text(" ".join(fields))
        with pytest.raises(ReplicationError, match=rf"{file}, line 1"):
            read_detections(folder, truth)


@pytest.mark.parametrize("which", ["truth", "detections"])
def test_numbers_of_mutated_values_are_those_of_pycocotools(which: str, tmp_path: Path) -> None:
    """Where both read the file: equal to 1e-12, or with the reason why not; an unexplained difference is an error."""
    truth, found = write_coco(tmp_path / "truth"), write_results_json(tmp_path / "found")
    file, rng = truth if which == "truth" else found, random.Random(4)
    content, compared, refusals = file.read_bytes(), 0, []
    for _ in range(400):
        file.write_bytes(mutated_json(content, rng))
        try:
            verified = evaluate(found, truth, Options(verify=True))["verified"]["boxes"]
        except ReplicationError as error:
            refusals.append(str(error))
            continue
        compared += verified["difference"] is not None
        assert verified["difference"] is None or verified["difference"] < 1e-12 or verified["reasons"]
    assert compared > 40
    assert not [text for text in refusals if "please report" in text]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_anywhere(data: st.DataObject, tmp_path: Path) -> None:
    """Either both files are read and the numbers lie from 0 to 100, or the error names the file."""
    documents = {"gt.json": coco_document(), "dt.json": coco_results()}
    changed = data.draw(st.sampled_from(sorted(documents)))
    container, key = data.draw(st.sampled_from(list(values(documents[changed]))))
    container[key] = data.draw(JSON)
    for name, document in documents.items():
        (tmp_path / name).write_text(json.dumps(document))
    refusal = ""
    try:
        result = evaluate(tmp_path / "dt.json", tmp_path / "gt.json")
    except ReplicationError as error:
        refusal = str(error)
    if refusal:
        assert refusal.startswith((f"{tmp_path}/gt.json: ", f"{tmp_path}/dt.json: "))
        return
    numbers = [value for value in result["metrics"].values() if value is not None]
    assert all(0 <= value <= 100 + 1e-9 for value in numbers)
    assert len(result["per_class"]) in (len(CLASSES), len(CLASSES) - 1)
