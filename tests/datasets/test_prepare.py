"""A protocol's splits, ground truth, hash and manifest."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from pycocotools.coco import COCO

from replication.catalog.protocols import Protocol
from replication.datasets import Prepared, data_hash, ground_truth, load_split, prepare, register
from replication.errors import DataError, ReplicationError, ResultError

EMBEDDED = {"kind": "embedded", "seed": 1, "train": 8, "val": 4, "size": (128, 160)}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    return tmp_path / "data"


def protocol(data: dict[str, Any], **more: Any) -> Protocol:
    base = {"name": "trial", "title": "t", "batch": 1, "tables": ("giou-T4",), "checkpoint_every": 1}
    return Protocol.model_validate(base | {"data": data} | more)


def coco(folder: Path) -> dict[str, Any]:
    """The embedded set as a user's own COCO folder."""
    splits = {
        split: {"annotations": f"{folder}/coco/annotations/instances_{split}.json", "images": f"{folder}/coco/{split}"}
        for split in ("train", "val")
    }
    return {"kind": "coco", **splits}


def voc(folder: Path, **more: Any) -> dict[str, Any]:
    return {"kind": "voc", "root": f"{folder}/voc", "train": [{"split": "train"}], "val": [{"split": "val"}], **more}


@pytest.fixture
def folder(root: Path) -> Path:
    """The embedded set under a user's own name; also proves that paths are relative to the data root."""
    load_split(protocol(EMBEDDED), "train")
    made = next(path for path in root.iterdir() if path.name.startswith("embedded-"))
    return shutil.copytree(made, root / "own")


def test_coco_and_voc_of_one_set_are_the_same_boxes(folder: Path) -> None:
    for split in ("train", "val"):
        ours = [load_split(protocol(data), split) for data in (EMBEDDED, coco(Path("own")), voc(Path("own")))]
        boxes = [
            [[(e["category_id"], *e["bbox"], e["area"]) for e in record["annotations"]] for record in one.records]
            for one in ours
        ]
        assert boxes[0] == boxes[1] == boxes[2]
        assert ours[0].classes == ours[2].classes == tuple("0123456789")


def test_ground_truth_is_what_pycocotools_reads(tmp_path: Path) -> None:
    path = prepare(protocol(EMBEDDED), tmp_path / "results")
    truth = COCO(str(path.with_name("ground_truth.json")))
    split = load_split(protocol(EMBEDDED), "val")
    assert len(truth.imgs) == 4
    for record in split.records:
        for entry in record["annotations"]:
            x1, y1, x2, y2 = entry["bbox"]
            theirs = truth.anns[entry["id"]]
            assert theirs["bbox"] == [x1, y1, x2 - x1, y2 - y1]
            assert truth.cats[theirs["category_id"]]["name"] == split.classes[entry["category_id"]]
            mask = truth.annToMask(theirs)
            assert mask.any(axis=0).sum() == x2 - x1
    assert truth.imgs[split.records[0]["image_id"]]["file_name"] == Path(split.records[0]["file_name"]).name


def test_manifest(tmp_path: Path, root: Path) -> None:
    ranges = {"small": (0, 256), "medium": (256, 1681), "large": (1681, 1e5)}
    trial = protocol(EMBEDDED, area_ranges=ranges)
    path = prepare(trial, tmp_path / "results")
    assert path == tmp_path / "results" / "trial" / "data.json"
    manifest = Prepared.read(path).manifest
    assert (manifest["schema"], manifest["name"], manifest["kind"]) == ("data/1", "trial", "embedded")
    assert manifest["data_hash"] == data_hash(trial)
    train = manifest["splits"]["train"]
    split = load_split(trial, "train")
    assert train["images"] == 8
    assert train["objects"] == train["masks"] == sum(len(record["annotations"]) for record in split.records)
    assert sum(train["objects_per_class"].values()) == train["objects"]
    assert (root / train["folder"]).is_dir()
    assert not Path(train["folder"]).is_absolute()
    assert sum(manifest["area_fractions"].values()) == pytest.approx(1.0, abs=0.05)


def test_preparing_again_leaves_the_files_alone(tmp_path: Path) -> None:
    path = prepare(protocol(EMBEDDED), tmp_path)
    before = {file: file.stat().st_mtime_ns for file in path.parent.iterdir()}
    prepare(protocol(EMBEDDED), tmp_path)
    assert {file: file.stat().st_mtime_ns for file in path.parent.iterdir()} == before
    path.write_text("{")
    with pytest.raises(ResultError, match="not readable as JSON"):
        Prepared.read(path)
    prepare(protocol(EMBEDDED), tmp_path)
    assert Prepared.read(path).manifest["kind"] == "embedded"


@pytest.mark.parametrize("kind", ["coco", "voc"])
def test_the_hash_follows_content_and_not_place(kind: str, folder: Path, root: Path) -> None:
    make = coco if kind == "coco" else voc
    first = data_hash(protocol(make(folder)))
    moved = shutil.move(folder, root / "moved")
    assert data_hash(protocol(make(moved))) == first
    file = moved / ("coco/annotations/instances_val.json" if kind == "coco" else "voc/Annotations/000010.xml")
    file.write_text(file.read_text() + "\n")
    assert data_hash(protocol(make(moved))) != first


def test_voc_list_and_classes_enter_the_hash(folder: Path) -> None:
    first = data_hash(protocol(voc(folder)))
    assert data_hash(protocol(voc(folder, classes=tuple("9876543210")))) != first
    names = folder / "voc" / "ImageSets" / "Main" / "train.txt"
    names.write_text("\n".join(names.read_text().split()[1:]))
    assert data_hash(protocol(voc(folder))) != first


def test_difficult_objects_are_ignored_in_ground_truth(folder: Path, tmp_path: Path) -> None:
    for name in ("train", "val"):
        stem = next(
            stem
            for stem in (folder / "voc" / "ImageSets" / "Main" / f"{name}.txt").read_text().split()
            if "<object>" in (folder / "voc" / "Annotations" / f"{stem}.xml").read_text()
        )
        path = folder / "voc" / "Annotations" / f"{stem}.xml"
        path.write_text(path.read_text().replace("<difficult>0", "<difficult>1", 1))
    own = protocol(voc(folder))
    manifest = Prepared.read(prepare(own, tmp_path)).manifest["splits"]
    assert manifest["val"]["ignored"] == 1
    assert manifest["train"]["ignored"] == 0
    marked = [e for e in ground_truth(load_split(own, "val"))["annotations"] if e.get("ignore")]
    assert [(e["difficult"], e["iscrowd"]) for e in marked] == [(1, 0)]


@pytest.mark.parametrize(
    ("data", "command"),
    [
        (coco(Path("none")) | {"download": "coco2017"}, "replication data coco2017"),
        (voc(Path("none"), download=("voc2007", "voc2012")), "replication data voc2012"),
    ],
)
def test_absent_data_name_the_command_that_fetches_them(data: dict[str, Any], command: str, tmp_path: Path) -> None:
    for action in (lambda own: prepare(own, tmp_path), data_hash):
        with pytest.raises(DataError, match=command):
            action(protocol(data))


def test_absent_own_data_name_the_path(folder: Path) -> None:
    with pytest.raises(DataError, match=r"none/coco/annotations/instances_train\.json: no such file or folder; check"):
        load_split(protocol(coco(Path("none"))), "train")
    data = coco(folder)
    shutil.rmtree(data["train"]["images"])
    with pytest.raises(DataError, match=r"own/coco/train: no such file or folder"):
        load_split(protocol(data), "train")
    assert len(load_split(protocol(data), "train", require_images=False).records) == 8


def test_a_home_folder_is_expanded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert len(load_split(protocol(voc(Path("~"))), "val").records) == 4


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_other_categories_in_val_are_told(folder: Path, tmp_path: Path) -> None:
    path = folder / "coco" / "annotations" / "instances_val.json"
    edit(
        path,
        annotations=json.loads(path.read_text())["annotations"][:1],
        categories=[{"id": i, "name": f"c{i}"} for i in range(11)],
    )
    with pytest.raises(DataError, match="name different categories"):
        prepare(protocol(coco(folder)), tmp_path)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_objects_is_told(split: str, folder: Path, tmp_path: Path) -> None:
    edit(folder / "coco" / "annotations" / f"instances_{split}.json", annotations=[])
    with pytest.raises(DataError, match=f"no image of the {split} split has an object"):
        prepare(protocol(coco(folder)), tmp_path)


def test_a_class_seen_only_in_val_is_told(folder: Path, tmp_path: Path) -> None:
    for stem in (folder / "voc" / "ImageSets" / "Main" / "val.txt").read_text().split():
        path = folder / "voc" / "Annotations" / f"{stem}.xml"
        path.write_text(path.read_text().replace("<name>", "<name>x"))
    with pytest.raises(DataError, match=r"class 'x\d' is not among 0, 1"):
        prepare(protocol(voc(folder)), tmp_path)


def test_shared_images_are_warned_of(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = coco(folder)
    with caplog.at_level(logging.WARNING):
        prepare(protocol(data | {"val": data["train"]}), tmp_path)
    assert "8 images are in train and in val" in caplog.text


def test_results_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(ReplicationError, match=r"ground_truth\.json: cannot write"):
        prepare(protocol(EMBEDDED), tmp_path / "results")


def halves(folder: Path) -> dict[str, Any]:
    """The training split cut into two files; the second half's images lie in a folder of their own."""
    source = folder / "coco" / "annotations" / "instances_train.json"
    document = json.loads(source.read_text())
    middle = len(document["images"]) // 2
    parts = []
    for name, images in (("first", document["images"][:middle]), ("second", document["images"][middle:])):
        ids = {image["id"] for image in images}
        kept = [found for found in document["annotations"] if found["image_id"] in ids]
        (folder / f"{name}.json").write_text(json.dumps(document | {"images": images, "annotations": kept}))
        (folder / name).mkdir()
        for image in images:
            shutil.copy(folder / "coco" / "train" / image["file_name"], folder / name)
        parts.append({"annotations": f"{folder}/{name}.json", "images": f"{folder}/{name}"})
    return {**coco(folder), "train": parts}


def test_a_split_of_two_files_is_the_split_of_one(folder: Path) -> None:
    def plain(data: dict[str, Any]) -> list[dict[str, Any]]:
        records = load_split(protocol(data), "train").records
        return [record | {"file_name": Path(record["file_name"]).name} for record in records]

    two, one = halves(folder), coco(folder)
    assert plain(two) == plain(one)
    split = load_split(protocol(two), "train")
    assert all((split.root / image["file_name"]).is_file() for image in ground_truth(split)["images"])
    assert data_hash(protocol(two)) != data_hash(protocol({**two, "train": two["train"][:1]}))


@pytest.mark.parametrize(
    ("field", "spoil"),
    [
        ("categories", lambda own, other: own["categories"][0].update(name="other")),
        ("images", lambda own, other: own["images"][0].update(id=other["images"][0]["id"])),
        ("annotations", lambda own, other: own["annotations"][0].update(id=other["annotations"][0]["id"])),
    ],
)
def test_files_of_a_split_that_do_not_fit_are_told(folder: Path, field: str, spoil: Any) -> None:
    data = halves(folder)
    first, second = (Path(part["annotations"]) for part in data["train"])
    content = json.loads(second.read_text())
    if field == "images":
        content["annotations"] = []
    spoil(content, json.loads(first.read_text()))
    second.write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"second\.json: {field}: .*first\.json"):
        load_split(protocol(data), "train")


def test_register_enters_and_replaces(folder: Path) -> None:
    data = pytest.importorskip("detectron2.data")
    register(protocol(EMBEDDED))
    loaded = register(protocol(voc(folder)), ["val"])
    assert data.DatasetCatalog.get("trial_val") is loaded["val"].records
    assert len(data.DatasetCatalog.get("trial_train")) == 8
    metadata = data.MetadataCatalog.get("trial_val")
    assert metadata.thing_classes == list("0123456789")
    assert metadata.thing_dataset_id_to_contiguous_id == {index + 1: index for index in range(10)}


def test_real_coco(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "coco_mini"
    splits = {
        split: {
            "annotations": f"{folder}/annotations/instances_{split}2017_ccby.json",
            "images": f"{folder}/{split}2017",
        }
        for split in ("train", "val")
    }
    manifest = Prepared.read(prepare(protocol({"kind": "coco", **splits}), tmp_path)).manifest
    assert [manifest["splits"][split]["images"] for split in ("train", "val")] == [43, 47]
    assert manifest["splits"]["val"]["crowds"] == 6
    assert manifest["category_ids"][-1] == 90
    assert sum(manifest["area_fractions"].values()) == pytest.approx(1, abs=0.01)
    truth, original = (
        COCO(str(path)) for path in (tmp_path / "trial" / "ground_truth.json", splits["val"]["annotations"])
    )
    assert {key: (a["area"], a["category_id"], a["iscrowd"]) for key, a in truth.anns.items()} == {
        key: (a["area"], a["category_id"], a["iscrowd"]) for key, a in original.anns.items()
    }
    for key, entry in original.anns.items():
        assert truth.anns[key]["bbox"] == pytest.approx(entry["bbox"], abs=1e-9)


def test_blood_cells(shared: Path, tmp_path: Path) -> None:
    data = voc(Path("x")) | {"root": str(shared / "data" / "bccd")}
    manifest = Prepared.read(prepare(protocol(data), tmp_path)).manifest
    assert manifest["classes"] == ["Platelets", "RBC", "WBC"]
    assert manifest["splits"]["val"]["objects"] == 1138


def test_annotations_numbered_from_0_are_numbered_from_1(root: Path, tmp_path: Path) -> None:
    load_split(protocol(EMBEDDED), "train")
    source = next(root.glob("embedded-*/coco"))
    data: dict[str, Any] = {"kind": "coco"}
    for split in ("train", "val"):
        document = json.loads((source / "annotations" / f"instances_{split}.json").read_text())
        for number, entry in enumerate(document["annotations"]):
            entry["id"] = number
        file = tmp_path / f"{split}.json"
        file.write_text(json.dumps(document))
        data[split] = {"annotations": str(file), "images": str(source / split)}
    truth = ground_truth(load_split(protocol(data), "val"))
    assert [entry["id"] for entry in truth["annotations"]] == list(range(1, len(truth["annotations"]) + 1))
