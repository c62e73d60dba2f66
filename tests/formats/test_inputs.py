"""Every wrong record of either file is refused with the file, the record and what is wrong."""

from __future__ import annotations

import copy
import json
import os
import re

import numpy as np
import pytest
from pycocotools import mask as mask_utils
from support.simulation import detector, population, write_pair

from replication import cli
from replication.errors import DataError, ResultError
from replication.evaluation import evaluate
from replication.formats import json_results
from replication.formats.detections import read_detections
from replication.formats.native import CHOICE
from replication.formats.npz_results import save_detections
from replication.formats.rle_kernels import pixels
from replication.formats.truth import read_ground_truth

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
        ((0, "image_id"), "1", r"detections\[0\]: image_id is '1', which is text, but ids are whole numbers"),
        ((0, "bbox"), [0, 0, float("nan"), 10], r"detections\[0\]: bbox is .*four finite numbers"),
        ((0, "bbox"), [0, 0, 10, float("-inf")], r"detections\[0\]: bbox is .*four finite numbers"),
        ((0, "bbox"), [0, 0, 10], r"detections\[0\]: bbox is .*four finite numbers"),
        ((0, "bbox"), [20, 20, -10, 10], r"detections\[0\]: bbox .*negative width or height"),
        ((1, "bbox"), None, r"detections\[1\]: key 'bbox' is missing"),
        ((1, "image_id"), 2**70, r"detections\[1\]: image_id is 1180591620717411303424, which does not fit into 64"),
        ((1, "image_id"), True, r"detections\[1\]: image_id is True \(true or false\), expected a whole number"),
        ((1,), "x", r"detections\[1\]: expected a record, found str"),
        ((0, "segmentation"), {"size": [100, 100], "counts": "0"}, r"\[0\]: segmentation counts cover 0 pixels"),
        ((0, "segmentation"), {"size": [100, 100], "counts": ""}, r"\[0\]: segmentation counts cover 0 pixels"),
        ((1, "segmentation"), {"size": [100, 100], "counts": "hello o"}, r"\[1\]: segmentation counts do not decode"),
        ((0, "segmentation"), {"size": [100, 100], "counts": "`iä"}, r"\[0\]: segmentation counts do not decode"),
        ((0, "segmentation"), {"size": [100, 100], "counts": "P"}, r"\[0\]: segmentation counts do not decode"),
        ((0, "segmentation"), {"size": [100, 100], "counts": "o" * 12}, r"\[0\]: segmentation counts do not decode"),
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
        (("annotations", 1, "id"), 1, r"annotations\[1\]: id 1 occurs twice"),
        (("annotations", 0, "id"), ..., r"annotations\[0\]: key 'id' is missing"),
        (("annotations", 0, "bbox"), ..., r"annotations\[0\]: key 'bbox' is missing"),
        (("annotations", 0, "bbox"), [0, float("nan"), 1, 1], r"annotations\[0\]: bbox is .*four finite numbers"),
        (("annotations", 0, "bbox"), [0, 0, 1, -1], r"annotations\[0\]: bbox .*negative width or height"),
        (("annotations", 0, "area"), float("nan"), r"annotations\[0\]: area is nan"),
        (("annotations", 0, "area"), -4, r"annotations\[0\]: area is -4"),
        (("images", 0, "height"), "tall", r"images\[0\] \(1\): height is 'tall'"),
        (("images", 0, "id"), 1.5, r"images\[0\]: id is 1\.5"),
        (("annotations", 1, "image_id"), 3, r"annotations\[1\]: image_id 3 is not among the images 1, 2"),
        (("annotations", 1, "category_id"), 3, r"annotations\[1\]: category_id 3 is not among the categories 1, 7"),
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


def compressed(mask):
    """COCO's text for a mask."""
    code = mask_utils.encode(np.asfortranarray(mask, np.uint8))
    return {"size": code["size"], "counts": code["counts"].decode()}


def test_pixels_of_codes_by_pycocotools():
    """Random masks of all densities: the whole image is covered, and less of it when a code is cut anywhere."""
    rng = np.random.default_rng(5)
    codes = []
    for share in (0, 0.001, 0.1, 0.5, 0.99, 1):
        for height, width in ((1, 1), (7, 5), (300, 411), (2000, 1500)):
            code = compressed(rng.random((height, width)) < share)
            codes.append((code["counts"], height * width))
    texts, sizes = zip(*codes, strict=True)
    assert pixels(texts).tolist() == list(sizes)
    cut = pixels([text[:-1] for text in texts])
    assert (cut != sizes).all()
    assert (cut < sizes).all()
    assert pixels([]).tolist() == []


RECTANGLE = [[0, 0, 10, 0, 10, 10, 0, 10]]
MASKS = [
    ({"size": [50, 50], "counts": [0, 100, 2400]}, r"size is \[50, 50\], the image is \[100, 100\]"),
    (compressed(np.eye(50)), r"size is \[50, 50\], the image is \[100, 100\]"),
    ({"size": [100, 100], "counts": [0, 100]}, r"counts cover 100 pixels"),
    ({"size": [100, 100], "counts": [0, -100, 10100]}, "counts must be whole numbers"),
    ({"size": [100, 100], "counts": [0, 0.5]}, "counts must be whole numbers"),
    ({"size": [100, 100], "counts": "ooo"}, "counts do not decode"),
    ({"size": [100, 100], "counts": "0"}, "counts cover 0 pixels"),
    ({"size": [100, 100]}, "expected polygons"),
    ({"counts": [0, 100, 9900]}, "size is None"),
    ([[]], "polygon 0 needs x and y"),
    ([[1, 2, 3, 4]], "polygon 0 needs x and y"),
    ([[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 7]], "polygon 1 needs x and y"),
    ([["a", 2, 3, 4, 5, 6]], "polygon 0 needs numbers of pixels"),
    ([[1e12, 2, 3, 4, 5, 6]], "polygon 0 needs numbers of pixels"),
    ([1, 2, 3, 4, 5, 6], "polygon 0 needs x and y"),
    ("polygon", "expected polygons"),
    (7, "expected polygons"),
]


@pytest.mark.parametrize(("segmentation", "message"), MASKS)
def test_bad_masks_of_the_ground_truth(tmp_path, segmentation, message):
    truth = changed(
        changed(TRUTH, ("annotations", 0, "segmentation"), RECTANGLE),
        ("annotations", 1),
        {
            **TRUTH["annotations"][1],
            "segmentation": segmentation,
        },
    )
    found = [one | {"segmentation": compressed(np.tri(100))} for one in DETECTIONS]
    with pytest.raises(DataError, match=r"gt\.json: annotations\[1\]: segmentation: .*" + message):
        evaluate_text(tmp_path, json.dumps(found), json.dumps(truth))


def test_bad_masks_do_not_matter_where_boxes_alone_are_evaluated(tmp_path):
    truth = json.dumps(changed(TRUTH, ("annotations", 0, "segmentation"), "polygon"))
    assert evaluate_text(tmp_path, json.dumps(DETECTIONS), truth)["mask_metrics"] is None


@pytest.mark.parametrize("counts", ["plain", "compressed"])
def test_sound_masks_of_both_codes(tmp_path, counts):
    square = compressed(np.pad(np.ones((10, 10)), (0, 90)))
    runs = [0, *[10, 90] * 9, 10, 9090]
    code = square if counts == "compressed" else {"size": [100, 100], "counts": runs}
    truth = copy.deepcopy(TRUTH)
    for annotation in truth["annotations"]:
        annotation["segmentation"] = code
    found = [one | {"segmentation": square} for one in DETECTIONS]
    assert evaluate_text(tmp_path, json.dumps(found), json.dumps(truth))["mask_metrics"]["AP"] == pytest.approx(100)


def test_masks_in_some_records_only(tmp_path):
    rle = compressed(np.zeros((100, 100)))
    found = evaluate_text(tmp_path, json.dumps(changed(DETECTIONS, (0, "segmentation"), rle)), json.dumps(TRUTH))
    assert found["mask_metrics"] is None
    assert any("only 1 of 2 records have a segmentation" in text for text in found["warnings"])


def same(one, other):
    return all(np.array_equal(getattr(one, key), getattr(other, key)) for key in vars(one) if key != "masks")


@pytest.fixture
def simulated(tmp_path, monkeypatch):
    """Files that are read in parts: by the JSON library, as without the scanner."""
    monkeypatch.setenv(CHOICE, "numba")
    truth = population(51, 30, 4)
    paths = write_pair(tmp_path, truth, detector(truth, 52, per_image=20))
    return (*paths, read_ground_truth(paths[1]))


@pytest.mark.parametrize("indent", [None, 1])
def test_reading_in_parts_gives_the_same(simulated, monkeypatch, indent):
    path, _, truth = simulated
    path.write_text(json.dumps(json.loads(path.read_text()), indent=indent))
    whole = read_detections(path, truth)
    monkeypatch.setattr(json_results, "CHUNK", 500)
    assert same(read_detections(path, truth), whole)


def test_cuts_that_fall_into_a_record_do_no_harm(simulated, monkeypatch):
    """Records with lists of records and texts that look like an end: the file is then read as a whole."""
    path, _, truth = simulated
    whole = read_detections(path, truth)
    records = [{"made": [{"a": 1}, {"b": 2}], "note": "},{", **one} for one in json.loads(path.read_text())]
    path.write_text(json.dumps(records, separators=(",", ":")))
    monkeypatch.setattr(json_results, "CHUNK", 500)
    assert same(read_detections(path, truth), whole)


def test_a_file_too_large_to_read_twice_still_names_the_record(simulated, monkeypatch):
    path, _, truth = simulated
    records = json.loads(path.read_text())
    records[400]["score"] = "high"
    path.write_text(json.dumps(records))
    monkeypatch.setattr(json_results, "CHUNK", 500)
    monkeypatch.setattr(json_results, "REREAD", 1000)
    with pytest.raises(ResultError, match=r"detections\.json: detections\[400\]: score is 'high' \(text\)"):
        read_detections(path, truth)


def test_nested_records_of_a_file_too_large_to_read_twice(simulated, monkeypatch):
    """Cuts behind a segmentation that is not the last key, and in a text, are passed over."""
    path, _, truth = simulated
    records = [
        {
            "segmentation": compressed(np.tri(480, 640, index % 300)),
            "note": "},{",
            "made": [{"a": 1}, {"b": 2}],
            **one,
        }
        for index, one in enumerate(json.loads(path.read_text()))
    ]
    path.write_text(json.dumps(records, separators=(",", ":")))
    whole = read_detections(path, truth)
    monkeypatch.setattr(json_results, "REREAD", 1000)
    for chunk in (500, 777, 5000):
        monkeypatch.setattr(json_results, "CHUNK", chunk)
        found = read_detections(path, truth)
        assert same(found, whole)
        assert found.masks == whole.masks


def test_a_wrong_record_between_nested_ones_is_still_found(simulated, monkeypatch):
    path, _, truth = simulated
    records = [{"made": {"a": 1}, **one} for one in json.loads(path.read_text())]
    monkeypatch.setattr(json_results, "CHUNK", 500)
    monkeypatch.setattr(json_results, "REREAD", 1000)
    text = json.dumps(records)
    path.write_text(text.replace('"score"', '"mark"', 1))
    with pytest.raises(ResultError, match=r"detections\[0\]: key 'score' is missing"):
        read_detections(path, truth)
    for wrong in (text[:20_000] + "}" + text[20_000:], text[:-300]):
        path.write_text(wrong)
        with pytest.raises(ResultError, match=r"detections\[\d+\] or one of the following records"):
            read_detections(path, truth)


def test_a_truncated_file_says_where(simulated, monkeypatch):
    path, _, truth = simulated
    text = path.read_text()
    path.write_text(text[: len(text) * 2 // 3])
    monkeypatch.setattr(json_results, "CHUNK", 500)
    with pytest.raises(ResultError, match=r"after record \d+, not valid JSON, perhaps truncated"):
        read_detections(path, truth)


def test_empty_files(tmp_path):
    with pytest.raises(DataError, match=r"gt\.json: the file is empty"):
        evaluate_text(tmp_path, "[]", "")


def test_a_number_beyond_floating_point(tmp_path):
    text = json.dumps(DETECTIONS).replace("0.5", "1e999", 1)
    with pytest.raises(ResultError, match=r"detections\[0\]: score is inf"):
        evaluate_text(tmp_path, text, json.dumps(TRUTH))


def test_order_of_images_and_categories_in_the_file_does_not_matter(tmp_path):
    turned = {key: value[::-1] for key, value in TRUTH.items()}
    one, other = (evaluate_text(tmp_path, json.dumps(DETECTIONS), json.dumps(text)) for text in (TRUTH, turned))
    assert one["metrics"] == other["metrics"]
    assert list(one["per_class"]) == list(other["per_class"]) == ["a", "b"]


@pytest.mark.parametrize(("boxes", "warned"), [([60, 60, 90, 90], True), ([60, 60, 30, 30], False)])
def test_boxes_that_look_like_corners_are_warned_of(tmp_path, boxes, warned):
    found = [one | {"bbox": boxes} for one in DETECTIONS]
    warnings = evaluate_text(tmp_path, json.dumps(found), json.dumps(TRUTH))["warnings"]
    assert ["these look like [x1, y1, x2, y2]" in text for text in warnings] == [True] * warned


def test_columns_as_npz(simulated, tmp_path):
    path, ground_truth, truth = simulated
    found = read_detections(path, truth)
    save_detections(tmp_path / "found.npz", found, truth)
    assert same(read_detections(tmp_path / "found.npz", truth), found)
    assert evaluate(tmp_path / "found.npz", ground_truth)["metrics"] == evaluate(path, ground_truth)["metrics"]


GOOD = {"image_ids": np.array([1]), "class_ids": np.array([7]), "boxes": np.ones((1, 4)) * [1, 1, 9, 9]}
GOOD["scores"] = np.array([0.5])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": None}, "array 'scores' is missing"),
        ({"scores": np.ones(2)}, "differ in length"),
        ({"scores": np.array([np.nan])}, r"detections\[0\]: score is nan"),
        ({"scores": np.array(0.5)}, r"scores: has shape \(\), expected \(N,\)"),
        ({"scores": np.ones((1, 1))}, r"scores: has shape \(1, 1\)"),
        ({"scores": np.array(["high"])}, "scores: is of type <U4, expected numbers"),
        ({"scores": np.array([0.5 + 1j])}, "scores: is of type complex128"),
        ({"boxes": np.ones((1, 5))}, r"boxes: has shape \(1, 5\)"),
        ({"boxes": np.array(1.0)}, r"boxes: has shape \(\)"),
        ({"boxes": np.full((1, 4), "a")}, "boxes: is of type <U1"),
        ({"image_ids": np.array([[1]])}, r"image_ids: has shape \(1, 1\)"),
        ({"class_ids": np.array(7)}, r"class_ids: has shape \(\)"),
        ({"class_ids": np.array([7, 7])}, "class_ids: has 2 entries, boxes has 1"),
        ({"image_ids": np.array([2**63 + 1], np.uint64)}, r"image_ids\[0\]: 9223372036854775809 does not fit"),
        ({"image_ids": np.array([True])}, "image_ids: is of type bool, expected whole numbers"),
        ({"box_areas": np.array([])}, "box_areas: has 0 entries, boxes has 1"),
        ({"box_areas": np.array(64.0)}, r"box_areas: has shape \(\)"),
        ({"box_areas": np.array([[64.0]])}, r"box_areas: has shape \(1, 1\)"),
        ({"box_areas": np.array(["64"])}, "box_areas: is of type <U2"),
        ({"box_areas": np.array([np.nan])}, r"box_areas\[0\]: is nan, the box has 64.0"),
        ({"box_areas": np.array([np.inf])}, r"box_areas\[0\]: is inf"),
        ({"box_areas": np.array([64 * (1 + 2e-9)])}, r"box_areas\[0\]: is 64.0000001"),
        ({"boxes": np.array([[9.0, 1, 1, 9]])}, "negative width"),
        ({"image_ids": np.array([5])}, "image_id 5 is not in the ground truth"),
        ({"class_ids": np.array([7.5])}, "class_ids: is of type float64"),
    ],
)
def test_wrong_columns(tmp_path, capsys, change, message):
    (tmp_path / "gt.json").write_text(json.dumps(TRUTH))
    columns = {key: value for key, value in (GOOD | change).items() if value is not None}
    np.savez(tmp_path / "found.npz", **columns)
    assert cli.main(["evaluate", str(tmp_path / "found.npz"), str(tmp_path / "gt.json")]) == 2
    assert re.search(r"found\.npz: .*" + message, capsys.readouterr().err)


@pytest.mark.parametrize(
    "change",
    [
        {"image_ids": np.array([1], np.uint64), "class_ids": np.array([7], np.uint8)},
        {"boxes": np.asfortranarray(GOOD["boxes"]), "scores": np.array([0.5], np.float16)},
        {"boxes": np.array([[1, 1, 9, 9]]), "box_areas": np.array([64])},
        {"box_areas": np.array([64 * (1 + 5e-10)])},
    ],
)
def test_columns_of_other_sound_types(tmp_path, change):
    (tmp_path / "gt.json").write_text(json.dumps(TRUTH))
    truth = read_ground_truth(tmp_path / "gt.json")
    np.savez(tmp_path / "found.npz", **(GOOD | change))
    found = read_detections(tmp_path / "found.npz", truth)
    assert (found.images.dtype, found.labels.dtype) == (np.int64, np.int64)
    assert {found.boxes.dtype, found.box_areas.dtype, found.scores.dtype} == {np.dtype(np.float64)}
    assert found.boxes.flags.c_contiguous
    assert (found.images.tolist(), found.labels.tolist(), found.scores.tolist()) == ([0], [1], [0.5])


def test_areas_of_small_boxes_far_from_the_corner_survive_rounding(tmp_path):
    """x + width holds so small a width to 7 digits only."""
    far = [one | {"bbox": [99.9, 99.9, 1.1e-7, 1.7e-7]} for one in DETECTIONS]
    (tmp_path / "dt.json").write_text(json.dumps(far))
    (tmp_path / "gt.json").write_text(json.dumps(TRUTH))
    truth = read_ground_truth(tmp_path / "gt.json")
    found = read_detections(tmp_path / "dt.json", truth)
    save_detections(tmp_path / "found.npz", found, truth)
    assert same(read_detections(tmp_path / "found.npz", truth), found)


def test_a_file_that_is_no_npz(tmp_path):
    (tmp_path / "gt.json").write_text(json.dumps(TRUTH))
    (tmp_path / "found.npz").write_text("[]")
    with pytest.raises(ResultError, match="not readable as npz"):
        evaluate(tmp_path / "found.npz", tmp_path / "gt.json")
    os.unlink(tmp_path / "found.npz")
    with pytest.raises(ResultError, match="no such file"):
        evaluate(tmp_path / "found.npz", tmp_path / "gt.json")
