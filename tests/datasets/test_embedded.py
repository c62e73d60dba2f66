"""The embedded set: what is pinned, what a scene must hold, and making it safely."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as rle

from replication.catalog import EmbeddedData, load_protocol
from replication.datasets import embedded
from replication.datasets.embedded import area_ranges, make_embedded, mask_box, scenes
from replication.datasets.embedded_scene import INK, MAX_OBJECTS, MIN_VISIBLE
from replication.datasets.embedded_sources import VAL_DIGITS, load_sources
from replication.errors import DataError
from replication.formats.splits import SPLITS

SMALL_AREA, LARGE_AREA = load_protocol("mini").area_ranges.medium


def data(train: int = 6, val: int = 3, seed: int = 1) -> EmbeddedData:
    return EmbeddedData(kind="embedded", seed=seed, train=train, val=val, size=(128, 160))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(tmp_path_factory.mktemp("data")))
        return make_embedded(data(300, 100))


def document(folder: Path, split: str) -> dict:
    return json.loads((folder / "coco" / "annotations" / f"instances_{split}.json").read_text())


def test_pixels_and_masks_of_a_seed_are_pinned() -> None:
    digest = hashlib.sha256()
    for split, image_id, scene in scenes(data()):
        digest.update(f"{split} {image_id} {scene.pixels.shape}".encode() + scene.pixels.tobytes())
        for found in scene.objects:
            digest.update(f"{found.label}".encode() + found.mask.tobytes())
    assert digest.hexdigest() == "b1776d3214bac59d266377bb683c1c49e05e679225c7325ac0e9e97859353a27"


def test_annotation_files_of_a_seed_are_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    folder = make_embedded(data())
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*/*") if path.suffix in (".json", ".xml", ".txt")):
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    assert digest.hexdigest() == "e670270a5773dbdebc17f3170761a6ed9b35ce491af96a2a14de9f72d2720a18"


def test_an_image_does_not_depend_on_how_many_there_are() -> None:
    few, many = list(scenes(data(2, 1))), list(scenes(data(5, 1)))
    assert np.array_equal(few[1][2].pixels, many[1][2].pixels)
    assert np.array_equal(few[-1][2].pixels, many[-1][2].pixels)


def test_seeds_and_splits_give_other_images() -> None:
    one, two = next(iter(scenes(data(1, 1)))), next(iter(scenes(data(1, 1, seed=2))))
    assert not np.array_equal(one[2].pixels[:128, :128], two[2].pixels[:128, :128])


def test_train_and_val_share_neither_digits_nor_photograph_regions() -> None:
    sources = load_sources()
    train, val = ({glyph.tobytes() for glyph in sources[split].glyphs} for split in SPLITS)
    assert not train & val
    assert np.bincount(sources["val"].labels).tolist() == [VAL_DIGITS] * 10
    for left, right in zip(sources["train"].photographs, sources["val"].photographs, strict=True):
        assert left.height == right.height
        assert left.width > right.width >= 100


def test_boxes_are_tight_around_visible_masks_and_inside_the_image(made: Path) -> None:
    content = document(made, "val")
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    for entry in content["annotations"]:
        mask = rle.decode(entry["segmentation"]).astype(bool)
        assert mask.shape == sizes[entry["image_id"]]
        x1, y1, x2, y2 = mask_box(mask)
        assert entry["bbox"] == [x1, y1, x2 - x1, y2 - y1]
        assert entry["area"] == (x2 - x1) * (y2 - y1)


def test_masks_of_one_image_do_not_overlap_and_keep_their_visible_share() -> None:
    hidden = 0
    for _, _, scene in scenes(data(40, 1)):
        assert len(scene.objects) <= MAX_OBJECTS
        if scene.objects:
            assert np.sum([found.mask for found in scene.objects], axis=0).max() == 1
            assert all(found.mask.any() for found in scene.objects)
        hidden += sum(_cut(found.mask) for found in scene.objects)
    assert hidden > 10, "occlusion should cut digits into pieces"
    assert 0 < MIN_VISIBLE < 1
    assert 0 < INK < 255


def _cut(mask: np.ndarray) -> bool:
    """Whether the mask falls into pieces (one flood fill does not reach all of it)."""
    reached = np.zeros_like(mask)
    reached[tuple(np.argwhere(mask)[0])] = True
    while True:
        grown = reached.copy()
        for axis in (0, 1):
            for step in (-1, 1):
                grown |= np.roll(grown, step, axis)
        grown &= mask
        if (grown == reached).all():
            return bool((mask & ~reached).any())
        reached = grown


def test_scales_run_from_a_twentieth_to_seven_tenths(made: Path) -> None:
    content = document(made, "train")
    sides = {image["id"]: min(image["height"], image["width"]) for image in content["images"]}
    shares = np.array([max(entry["bbox"][2:]) / sides[entry["image_id"]] for entry in content["annotations"]])
    assert 0.03 < shares.min() < 0.08
    assert 0.6 < shares.max() < 0.75
    assert 0.12 < np.median(shares) < 0.24  # log-uniform on 0.06..0.7: 0.205


def test_area_ranges_give_the_shares_of_coco(made: Path) -> None:
    areas = np.array([entry["area"] for split in SPLITS for entry in document(made, split)["annotations"]])
    assert np.mean(areas < SMALL_AREA) == pytest.approx(0.40, abs=0.05)
    assert np.mean(areas > LARGE_AREA) == pytest.approx(0.25, abs=0.05)
    small, large = area_ranges(document(made, "train")["annotations"])
    assert small == pytest.approx(SMALL_AREA, rel=0.25)
    assert large == pytest.approx(LARGE_AREA, rel=0.2)


def test_area_ranges_of_known_areas() -> None:
    assert area_ranges([{"area": area} for area in range(101)]) == (40.0, 75.0)
    with pytest.raises(DataError, match="no annotations"):
        area_ranges([])


def test_some_images_have_no_object_and_all_classes_occur(made: Path) -> None:
    content = document(made, "train")
    filled = {entry["image_id"] for entry in content["annotations"]}
    assert 0 < len(content["images"]) - len(filled) < 40
    assert {entry["category_id"] for entry in content["annotations"]} == set(range(1, 11))


def test_a_finished_folder_is_reused(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(made.parent))
    before = (made / "embedded.json").stat().st_mtime_ns
    assert make_embedded(data(300, 100)) == made
    assert (made / "embedded.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", ["image", "annotation", "generator", "manifest"])
def test_a_damaged_folder_is_made_anew(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    folder = make_embedded(data())
    annotations = folder / "coco" / "annotations" / "instances_val.json"
    right = annotations.read_bytes()
    if damage == "image":
        next((folder / "coco" / "train").iterdir()).unlink()
    elif damage == "annotation":
        annotations.write_bytes(right[:-10])
    elif damage == "manifest":
        (folder / "embedded.json").write_text("{")
    else:
        monkeypatch.setattr(embedded, "GENERATOR", embedded.GENERATOR + 1)
    make_embedded(data())
    assert annotations.read_bytes() == right
    assert len(list((folder / "coco" / "train").iterdir())) == 6


def test_nothing_half_made_is_left_when_making_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))

    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(embedded, "voc_xml", full)
    with pytest.raises(DataError, match="No space left on device"):
        make_embedded(data())
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []
    monkeypatch.undo()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    (tmp_path / f".{embedded.embedded_folder(data()).name}.part-killed").mkdir()
    folder = make_embedded(data())
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [folder]


def test_makers_at_once_give_one_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        folders = pool.map(make_embedded, [data(), data()])
    assert folders[0] == folders[1]
    assert len(list((folders[0] / "voc" / "JPEGImages").iterdir())) == 9


def test_a_file_system_without_hard_links_gets_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))

    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("os.link", refuse)
    folder = make_embedded(data())
    one = folder / "voc" / "JPEGImages" / "000001.jpg"
    assert one.read_bytes() == (folder / "coco" / "train" / "000001.jpg").read_bytes()


@pytest.mark.parametrize("size", [(160, 128), (8, 16), (128, 4000)])
def test_a_size_that_makes_no_sense_is_refused(
    size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    with pytest.raises(DataError, match=r"data\.size: \[\d+, \d+\] is not a range"):
        make_embedded(EmbeddedData(kind="embedded", seed=0, train=1, val=1, size=size))


def test_changed_sources_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replication.datasets.embedded_sources.PHOTOGRAPHS", {"coffee.png": "0" * 64})
    with pytest.raises(DataError, match=r"coffee\.png: missing or not the expected photograph"):
        load_sources.__wrapped__()
    monkeypatch.undo()
    monkeypatch.setattr("replication.datasets.embedded_sources.DIGITS_SHA256", "0" * 64)
    with pytest.raises(DataError, match="mnist_data"):
        load_sources.__wrapped__()


def test_a_folder_that_is_a_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "occupied").write_text("")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "occupied"))
    with pytest.raises(DataError, match="cannot make the embedded data"):
        make_embedded(data())
