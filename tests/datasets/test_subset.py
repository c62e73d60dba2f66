"""A part of a data set chosen by rule: the mix of classes and sizes, the same everywhere, and known by its hash."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from replication.catalog.protocols import Protocol
from replication.datasets import data_hash, load_split, prepare
from replication.datasets.subset import list_hash, stratified
from replication.errors import ConfigError, DataError

SIDES = (16, 64, 160)


def record(image: int, objects: list[tuple[int, float]], **more: Any) -> dict[str, Any]:
    annotations = [{"category_id": label, "area": area, "iscrowd": 0, **more} for label, area in objects]
    return {"image_id": image, "annotations": annotations}


@pytest.fixture(scope="module")
def world() -> list[dict[str, Any]]:
    """6,000 images like COCO's: classes from common to rare, of all sizes, and images without objects."""
    draw = random.Random(0)
    weights = [1 / (1 + label) ** 1.2 for label in range(30)]
    images = []
    for image in range(6000):
        labels = draw.choices(range(30), weights, k=draw.choice((0, 1, 2, 3, 7, 15)))
        images.append(record(10 * image + 3, [(label, draw.choice(SIDES) ** 2.0) for label in labels]))
    return images


def kinds(records: list[dict[str, Any]]) -> Counter[tuple[int, float]]:
    """Images with each class and size."""
    return Counter(kind for one in records for kind in {(o["category_id"], o["area"]) for o in one["annotations"]})


@pytest.mark.parametrize("share", [0.1, 0.2])
def test_every_class_and_size_keeps_its_share(world: list[dict[str, Any]], share: float) -> None:
    chosen = stratified(world, share, seed=0)
    assert len(chosen) == round(share * len(world))
    whole, part = kinds(world), kinds(chosen)
    rarest = sorted(whole, key=lambda kind: whole[kind])[:10]
    for kind in whole:
        if whole[kind] >= 50:
            assert part[kind] / whole[kind] == pytest.approx(share, abs=0.07), kind
    # Rare kinds, that a draw of images could miss, lose little.
    assert sum(part[kind] for kind in rarest) / sum(whole[kind] for kind in rarest) == pytest.approx(share, abs=0.03)


def test_it_depends_on_neither_the_files_order_nor_anything_else(world: list[dict[str, Any]]) -> None:
    chosen = stratified(world, 0.2, seed=0)
    mixed = world.copy()
    random.Random(1).shuffle(mixed)
    again = stratified(mixed, 0.2, seed=0)
    assert list_hash(chosen) == list_hash(again)
    assert [one["image_id"] for one in again] == [one["image_id"] for one in mixed if one in again]
    assert list_hash(chosen) == "634b3575e0bf86266965cafde7ef6bd075f96d21c582efc944219b1370770184"


def test_seeds_choose_other_images(world: list[dict[str, Any]]) -> None:
    first, second = ({one["image_id"] for one in stratified(world, 0.2, seed)} for seed in (0, 1))
    assert len(first & second) / len(first) == pytest.approx(0.2, abs=0.05)


def test_each_image_is_as_likely_as_any_other() -> None:
    """One rare class beside a common one: an image is chosen in a fifth of 400 seeds, whatever it shows."""
    images = [record(n, [(0, 100.0)]) for n in range(40)] + [record(n, [(0, 100.0), (1, 100.0)]) for n in range(40, 45)]
    counts = Counter(one["image_id"] for seed in range(400) for one in stratified(images, 0.2, seed))
    assert all(0.12 < counts[n] / 400 < 0.28 for n in range(45))


def test_crowds_and_ignored_objects_make_no_kind() -> None:
    """Alone in their image they leave it with those that have no objects."""
    plain = [record(n, []) for n in range(10)]
    other = [record(n, [(0, 100.0)], iscrowd=1) for n in range(5)] + [
        record(n, [(0, 100.0)], ignore=1) for n in range(5, 10)
    ]
    assert [one["image_id"] for one in stratified(plain, 0.5, 3)] == [
        one["image_id"] for one in stratified(other, 0.5, 3)
    ]


def test_sizes_are_those_of_coco() -> None:
    """Areas of 32^2 and 96^2 pixels are small and medium still."""
    images = [record(n, [(0, area)]) for n, area in enumerate((32.0**2, 32.0**2 + 1, 96.0**2, 96.0**2 + 1) * 10)]
    for sizes in ((0,), (1, 2), (3,)):  # numbers of images modulo 4
        chosen = [one for one in stratified(images, 0.5, 0) if one["image_id"] % 4 in sizes]
        assert len(chosen) == 5 * len(sizes)


def protocol(subset: Any) -> Protocol:
    splits = {
        split: {"annotations": f"coco/annotations/instances_{split}.json", "images": f"coco/{split}"}
        for split in ("train", "val")
    }
    data = {"kind": "coco", **splits, "train": {**splits["train"], "subset": subset}}
    base = {"name": "trial", "title": "t", "batch": 1, "tables": ("giou-T4",), "checkpoint_every": 1}
    return Protocol.model_validate(base | {"data": data})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The embedded set of 20 and 4 images as a COCO folder."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    data = {"kind": "embedded", "seed": 1, "train": 20, "val": 4, "size": (64, 80)}
    base = {"name": "trial", "title": "t", "batch": 1, "tables": ("giou-T4",), "checkpoint_every": 1}
    load_split(Protocol.model_validate(base | {"data": data}), "train")
    next(tmp_path.glob("embedded-*/coco")).rename(tmp_path / "coco")
    return tmp_path


def test_a_protocol_trains_on_its_part(folder: Path) -> None:
    whole, part = protocol(None), protocol({"share": 0.25, "seed": 4})
    chosen = load_split(part, "train").records
    assert len(chosen) == 5
    assert all(one in load_split(whole, "train").records for one in chosen)
    assert len(load_split(part, "val").records) == 4
    hashes = {data_hash(protocol(subset)) for subset in (None, {"share": 0.25, "seed": 4}, {"share": 0.25, "seed": 5})}
    assert len(hashes) == 3
    assert part.data.describe() == (
        "trained on 25% of coco/annotations/instances_train, evaluated on coco/annotations/instances_val"
    )


def test_the_manifest_names_rule_and_list(folder: Path) -> None:
    splits = json.loads(prepare(protocol({"share": 0.25, "seed": 4}), folder / "results").read_text())["splits"]
    assert splits["train"]["images"] == 5
    assert splits["train"]["subset"] == {
        "rules": [{"annotations": "coco/annotations/instances_train.json", "share": 0.25, "seed": 4}],
        "list_sha256": list_hash(load_split(protocol({"share": 0.25, "seed": 4}), "train").records),
    }
    assert "subset" not in splits["val"]


def test_a_share_that_leaves_nothing_is_named(folder: Path) -> None:
    with pytest.raises(
        DataError, match=r"instances_train\.json: the protocol's data\.train\.subset leaves none .* larger"
    ):
        load_split(protocol({"share": 0.01}), "train")


@pytest.mark.parametrize("share", [0, 1, 1.5, -0.2])
def test_shares_are_parts(share: float) -> None:
    with pytest.raises((ConfigError, ValueError), match="share"):
        protocol({"share": share})
