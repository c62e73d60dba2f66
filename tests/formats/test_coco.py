"""The COCO reader on whole data sets, generated and real, and on every kind of bad file."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as rle
from pycocotools.coco import COCO

from replication.errors import DataError
from replication.formats.coco import read_coco
from replication.formats.splits import Split, training_split

GOOD: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "a.jpg", "height": 40, "width": 60},
        {"id": 3, "file_name": "sub/b.jpg", "height": 50, "width": 50},
    ],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 90, "bbox": [1.5, 2, 10, 20], "area": 150.0, "iscrowd": 0,
         "segmentation": [[1.5, 2, 11.5, 2, 11.5, 22]]},
        {"id": 2, "image_id": 7, "category_id": 2, "bbox": [0, 0, 30, 30], "area": 900, "iscrowd": 1,
         "segmentation": {"size": [40, 60], "counts": [0, 1200, 1200]}},
    ],
    "categories": [{"id": 90, "name": "cup"}, {"id": 2, "name": "cat"}],
}  # fmt: skip


def write(folder: Path, document: Any) -> Path:
    (folder / "sub").mkdir(exist_ok=True)
    for name in ("a.jpg", "sub/b.jpg"):
        (folder / name).write_bytes(b"")
    path = folder / "instances.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def read(folder: Path, document: Any) -> Any:
    return split_of(write(folder, document), folder)


def split_of(path: Path, folder: Path, require_images: bool = True) -> Split:
    return training_split("train", read_coco(path), folder, require_images=require_images)


def test_records_have_contiguous_classes_crowds_and_empty_images(tmp_path: Path) -> None:
    split = read(tmp_path, GOOD)
    assert split.classes == ("cat", "cup")
    assert split.category_ids == (2, 90)
    first, second = split.records
    assert (first["image_id"], first["file_name"]) == (7, f"{tmp_path}/a.jpg")
    assert second["annotations"] == []
    cup, crowd = first["annotations"]
    assert (cup["bbox"], cup["bbox_mode"], cup["category_id"], cup["area"]) == ([1.5, 2, 11.5, 22], 0, 1, 150.0)
    assert cup["segmentation"] == [[1.5, 2, 11.5, 2, 11.5, 22]]
    assert (crowd["iscrowd"], crowd["category_id"]) == (1, 0)
    assert rle.decode(crowd["segmentation"]).sum() == 1200


def change(*path: Any, value: Any) -> Callable[[dict], None]:
    def apply(document: dict) -> None:
        target: Any = document
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value

    return apply


BAD = {
    "nan box": (change("annotations", 0, "bbox", 0, value=float("nan")), r"annotations\[0\]: bbox is \[nan.*finite"),
    "negative": (change("annotations", 0, "bbox", value=[1, 2, -10, 20]), r"annotations\[0\]: .*negative width"),
    "outside": (change("annotations", 0, "bbox", value=[100, 2, 10, 20]), r"wholly outside its image of 60x40"),
    "three numbers": (change("annotations", 0, "bbox", value=[1, 2, 3]), r"bbox is \[1, 2, 3\] \(a list\)"),
    "text in box": (change("annotations", 0, "bbox", value=["1", 2, 3, 4]), r"expected four finite numbers"),
    "category": (change("annotations", 0, "category_id", value=5), r"\[0\]: category_id 5 is not among .* 2, 90"),
    "category type": (change("annotations", 0, "category_id", value=[2]), r"category_id is \[2\] \(a list\)"),
    "image": (change("annotations", 0, "image_id", value=99), r"annotations\[0\]: image_id 99 is not among the images"),
    "annotation id": (change("annotations", 1, "id", value=1), r"annotations\[1\]: id 1 occurs twice"),
    "annotation id type": (change("annotations", 1, "id", value="x"), r"whole numbers in some records and text in"),
    "image id": (change("images", 1, "id", value=7), r"images\[1\]: id 7 occurs twice"),
    "image size": (change("images", 1, "height", value="tall"), r"height is 'tall' \(text\), expected a whole number"),
    "image name": (change("images", 1, "file_name", value=None), r"images\[1\] \(3\): file_name is missing"),
    "class id": (change("categories", 1, "id", value=90), r"categories\[1\]: id 90 occurs twice"),
    "class name": (change("categories", 1, "name", value=""), r"categories\[1\]: name is '', expected a text"),
    "class type": (change("categories", 1, "id", value="2"), r"categories: ids are whole numbers in some records and"),
    "crowd": (change("annotations", 0, "iscrowd", value=2), r"iscrowd is 2, expected 0 or 1, true or false"),
    "area": (change("annotations", 0, "area", value=-1), r"area is -1.0, expected a finite number"),
    "endless area": (change("annotations", 0, "area", value=float("inf")), r"area is inf, expected a finite number"),
    "huge box": (change("annotations", 0, "bbox", value=[10**400, 2, 3, 4]), r"expected four finite numbers"),
    "nan polygon": (change("annotations", 0, "segmentation", value=[[1, 2, 3, 4, float("nan"), 6]]), "polygon 0 needs"),
    "text polygon": (change("annotations", 0, "segmentation", value=[["1"] * 6]), r"polygon 0 needs numbers of pixels"),
    "rle size": (change("annotations", 1, "segmentation", "size", value=[4, 6]), r"size is \[4, 6\], the image"),
    "rle sum": (change("annotations", 1, "segmentation", "counts", value=[3]), r"segmentation: counts cover 3 pixels"),
    "rle text": (change("annotations", 1, "segmentation", "counts", value="0"), r"segmentation: counts cover 0 pixels"),
    "polygon": (change("annotations", 0, "segmentation", value=[1, 2]), r"polygon 0 needs x and y"),
    "no images": (change("images", value=[]), r"images: the list is empty"),
    "no classes": (change("categories", value=[]), r"categories: the list is empty"),
    "no list": (change("annotations", value={"1": 2}), r"annotations: expected a list of records, found dict"),
    "no object": (change("annotations", value=[1]), r"annotations\[0\]: expected a record, found int"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_content_is_told_with_file_and_field(case: str, tmp_path: Path) -> None:
    apply, message = BAD[case]
    document = copy.deepcopy(GOOD)
    apply(document)
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, document)
    assert str(caught.value).startswith(f"{tmp_path}/instances.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps(GOOD)[:200], "not valid JSON, perhaps truncated"),
        ("[]", "expected a COCO mapping, found list"),
        ("", "the file is empty"),
    ],
)
def test_cut_or_foreign_files_are_told(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, text)


def test_missing_files_are_named_with_their_annotation_file(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    (tmp_path / "sub" / "b.jpg").unlink()
    with pytest.raises(
        DataError, match=r"1 of 2 image files named in .*instances\.json are missing, first 'sub/b\.jpg'"
    ):
        split_of(path, tmp_path)
    assert len(split_of(path, tmp_path, require_images=False).records) == 2
    with pytest.raises(DataError, match=r"none\.json: no such file"):
        read_coco(tmp_path / "none.json")


def test_many_problems_become_one_error_with_the_first_five(tmp_path: Path) -> None:
    document = copy.deepcopy(GOOD)
    document["annotations"] = [{**GOOD["annotations"][0], "id": i, "category_id": 1} for i in range(12)]
    with pytest.raises(DataError, match=r"instances\.json: 12 problems") as caught:
        read(tmp_path, document)
    lines = str(caught.value).splitlines()
    assert len(lines) == 7
    assert lines[-1].strip() == "... and 7 more"


def test_boxes_over_the_border_are_clipped_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    document = copy.deepcopy(GOOD)
    document["annotations"][0]["bbox"] = [-5, 2, 70, 20]
    document["annotations"][1]["bbox"] = [30.0, 10, 30.4, 30]
    with caplog.at_level(logging.WARNING):
        boxes = [found["bbox"] for found in read(tmp_path, document).records[0]["annotations"]]
    assert boxes == [[0, 2, 60, 22], [30.0, 10, 60.4, 40]]  # less than a pixel over is rounding and stays
    assert "1 boxes extend beyond their image" in caplog.text


def test_slivers_as_in_train2017_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    document = copy.deepcopy(GOOD)  # annotation 918 of train2017
    document["annotations"][0] |= {"bbox": [29.65, 38.33, 1.03, 0.0], "area": 0.0}
    with caplog.at_level(logging.WARNING):
        assert [found["id"] for found in read(tmp_path, document).records[0]["annotations"]] == [2]
    assert "left out 1 annotations" in caplog.text


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("full", [False, True])
def test_a_whole_set_equals_pycocotools(coco_photographs: Path, split: str, full: bool) -> None:
    folder = coco_photographs
    path = folder / "annotations" / f"instances_{split}2017{'' if full else '_ccby'}.json"
    ours = split_of(path, folder / f"{split}2017", require_images=not full)
    theirs = COCO(str(path))
    assert [record["image_id"] for record in ours.records] == list(theirs.imgs)
    assert ours.category_ids == tuple(sorted(theirs.cats))
    assert any(not record["annotations"] for record in ours.records)
    found = [entry for record in ours.records for entry in record["annotations"]]
    assert len(found) == len(theirs.anns)
    assert sum(entry["iscrowd"] for entry in found) > 0
    for record in ours.records:
        for entry in record["annotations"]:
            x, y, w, h = theirs.anns[entry["id"]]["bbox"]
            assert entry["bbox"] == [x, y, x + w, y + h]
            assert ours.category_ids[entry["category_id"]] == theirs.anns[entry["id"]]["category_id"]
            if entry["iscrowd"]:
                assert np.array_equal(rle.decode(entry["segmentation"]), theirs.annToMask(theirs.anns[entry["id"]]))


def test_minival_without_images_reads(shared: Path) -> None:
    folder = shared / "data" / "coco_eval" / "val2014_100"
    split = split_of(folder / "instances_val2014_100.json", folder, require_images=False)
    assert len(split.classes) == 80


def test_detectron2_takes_the_masks(tmp_path: Path) -> None:
    utils = pytest.importorskip("detectron2.data.detection_utils")
    record = read(tmp_path, GOOD).records[0]
    instances = utils.annotations_to_instances(record["annotations"], (40, 60), mask_format="bitmask")
    assert instances.gt_masks.tensor.shape == (2, 40, 60)
    assert int(instances.gt_masks.tensor[1].sum()) == 1200


def test_an_integer_box_is_resized_exactly(tmp_path: Path) -> None:
    """[1, 2, 4, 7] half as large again; Detectron2 would cut a box of integers to [1, 3, 6, 10]."""
    utils = pytest.importorskip("detectron2.data.detection_utils")
    transforms = pytest.importorskip("detectron2.data.transforms")
    document = copy.deepcopy(GOOD)
    document["annotations"] = [{**GOOD["annotations"][1], "bbox": [1, 2, 3, 5], "iscrowd": 0}]
    entry = read(tmp_path, document).records[0]["annotations"][0]
    del entry["segmentation"]
    resize = transforms.TransformList([transforms.ResizeTransform(40, 60, 60, 90)])
    moved = utils.transform_instance_annotations(entry, resize, (60, 90))
    assert moved["bbox"].tolist() == [1.5, 3.0, 6.0, 10.5]
