"""Every wrong record of either file is refused with the file, the record and what is wrong."""

from __future__ import annotations

import copy
import json

import pytest

from replication.errors import DataError, ResultError
from replication.evaluation import evaluate

TRUTH = {
    "images": [{"id": 1, "height": 100, "width": 100}, {"id": 2, "height": 100, "width": 100}],
    "categories": [{"id": 1, "name": "a"}, {"id": 7, "name": "b"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10], "area": 100, "iscrowd": 0},
        {"id": 2, "image_id": 2, "category_id": 7, "bbox": [0, 0, 10, 10], "area": 100, "iscrowd": 0},
    ],
}
DETECTIONS = [
    {"image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10], "score": 0.5},
    {"image_id": 2, "category_id": 7, "bbox": [0, 0, 10, 10], "score": 0.5},
]


def changed(document, keys, value):
    """A copy with one entry set, or removed when ``value`` is ``...``."""
    document = copy.deepcopy(document)
    *path, last = keys
    place = document
    for key in path:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return document


def evaluate_text(folder, detections, truth):
    (folder / "dt.json").write_text(detections)
    (folder / "gt.json").write_text(truth)
    return evaluate(folder / "dt.json", folder / "gt.json")


def test_the_pair_itself_is_good(tmp_path):
    assert evaluate_text(tmp_path, json.dumps(DETECTIONS), json.dumps(TRUTH))["metrics"]["AP"] == pytest.approx(100)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        ((0, "score"), float("nan"), r"detections\[0\]: score is nan"),
        ((1, "score"), float("inf"), r"detections\[1\]: score is inf"),
        ((1, "score"), "0.5", r"detections\[1\]: score is '0.5'"),
        ((0, "score"), ..., r"detections\[0\]: key 'score' is missing"),
        ((0, "bbox"), ..., r"detections\[0\]: key 'bbox' is missing"),
        ((0, "image_id"), ..., r"detections\[0\]: key 'image_id' is missing"),
        ((0, "image_id"), 99, r"detections\[0\]: image_id 99 is not in the ground truth"),
        ((0, "image_id"), "1", r"detections\[0\]: image_id is '1', expected a whole number"),
        ((1, "category_id"), 2, r"detections\[1\]: category_id 2 is not in the ground truth"),
        ((0, "bbox"), [0, 0, float("nan"), 10], r"detections\[0\]: bbox is .*four finite numbers"),
        ((0, "bbox"), [0, 0, 10, float("-inf")], r"detections\[0\]: bbox is .*four finite numbers"),
        ((0, "bbox"), [0, 0, 10], r"detections\[0\]: bbox is .*four finite numbers"),
        ((0, "bbox"), [20, 20, -10, 10], r"detections\[0\]: bbox .*negative width or height"),
        ((1,), "x", r"detections\[1\]: expected a record, found str"),
        ((0, "segmentation"), [[1, 2, 3]], r"detections\[0\]: segmentation is not a compressed RLE"),
        ((0, "segmentation"), {"size": [5, 5], "counts": "0"}, r"size is \[5, 5\], the image is \[100, 100\]"),
    ],
)
def test_bad_detections(tmp_path, keys, value, message):
    with pytest.raises(ResultError, match=r"dt\.json: .*" + message):
        evaluate_text(tmp_path, json.dumps(changed(DETECTIONS, keys, value)), json.dumps(TRUTH))


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("images",), ..., r"whole file: key 'images' is missing"),
        (("annotations",), ..., r"whole file: key 'annotations' is missing"),
        (("images",), [], r"images: the list is empty"),
        (("categories",), [], r"categories: the list is empty"),
        (("annotations",), [], r"annotations: no object to find"),
        (("annotations",), {}, r"annotations: expected a list of records, found dict"),
        (("images", 1, "id"), 1, r"images\[1\]: id 1 occurs twice"),
        (("categories", 1, "id"), 1, r"categories\[1\]: id 1 occurs twice"),
        (("categories", 1, "name"), "a", r"categories\[1\]: name 'a' occurs twice"),
        (("annotations", 1, "id"), 1, r"annotations\[1\]: id 1 occurs twice"),
        (("annotations", 0, "id"), 0, r"annotations\[0\]: id is 0"),
        (("annotations", 0, "id"), ..., r"annotations\[0\]: key 'id' is missing"),
        (("annotations", 0, "bbox"), ..., r"annotations\[0\]: key 'bbox' is missing"),
        (("annotations", 0, "bbox"), [0, float("nan"), 1, 1], r"annotations\[0\]: bbox is .*four finite numbers"),
        (("annotations", 0, "bbox"), [0, 0, 1, -1], r"annotations\[0\]: bbox .*negative width or height"),
        (("annotations", 0, "area"), float("nan"), r"annotations\[0\]: area is nan"),
        (("annotations", 1, "image_id"), 3, r"annotations\[1\]: image_id 3 is not in the ground truth"),
        (("annotations", 1, "category_id"), 3, r"annotations\[1\]: category_id 3 is not in the ground truth"),
    ],
)
def test_bad_ground_truth(tmp_path, keys, value, message):
    with pytest.raises(DataError, match=r"gt\.json: .*" + message):
        evaluate_text(tmp_path, json.dumps(DETECTIONS), json.dumps(changed(TRUTH, keys, value)))


def test_only_crowds_leave_nothing_to_find(tmp_path):
    truth = changed(changed(TRUTH, ("annotations", 0, "iscrowd"), 1), ("annotations", 1, "ignore"), 1)
    with pytest.raises(DataError, match="no object to find"):
        evaluate_text(tmp_path, json.dumps(DETECTIONS), json.dumps(truth))


def test_truncated_files(tmp_path):
    with pytest.raises(ResultError, match=r"dt\.json: not valid JSON, perhaps truncated"):
        evaluate_text(tmp_path, json.dumps(DETECTIONS)[:-20], json.dumps(TRUTH))
    with pytest.raises(DataError, match=r"gt\.json: not valid JSON, perhaps truncated"):
        evaluate_text(tmp_path, json.dumps(DETECTIONS), json.dumps(TRUTH)[:40])


def test_swapped_files(tmp_path):
    with pytest.raises(DataError, match=r"gt\.json: whole file: expected a COCO mapping, found list"):
        evaluate_text(tmp_path, json.dumps(TRUTH), json.dumps(DETECTIONS))
    with pytest.raises(ResultError, match=r"dt\.json: detections: expected a list of records, found dict"):
        evaluate_text(tmp_path, json.dumps(TRUTH), json.dumps(TRUTH))


def test_missing_files(tmp_path):
    (tmp_path / "gt.json").write_text(json.dumps(TRUTH))
    with pytest.raises(ResultError, match=r"dt\.json: no such file"):
        evaluate(tmp_path / "dt.json", tmp_path / "gt.json")
    with pytest.raises(DataError, match=r"absent\.json: no such file"):
        evaluate(tmp_path / "dt.json", tmp_path / "absent.json")
    with pytest.raises(DataError, match="cannot be read"):
        evaluate(tmp_path / "dt.json", tmp_path)


def test_not_utf8(tmp_path):
    (tmp_path / "dt.json").write_bytes(b"\xff\xfe\x00junk")
    (tmp_path / "gt.json").write_text(json.dumps(TRUTH))
    with pytest.raises(ResultError, match="not valid JSON"):
        evaluate(tmp_path / "dt.json", tmp_path / "gt.json")


def test_masks_in_some_records_only(tmp_path):
    rle = {"size": [100, 100], "counts": "0"}
    with pytest.raises(ResultError, match="only 1 of 2 records have a segmentation"):
        evaluate_text(tmp_path, json.dumps(changed(DETECTIONS, (0, "segmentation"), rle)), json.dumps(TRUTH))
