"""VOC's rules and files: generated and published detections against golden numbers, and files by hand."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from support.voc_folder import write_voc_folder, zero_based

from replication import cli
from replication.errors import DataError, ResultError
from replication.evaluation import Options, evaluate, point
from replication.evaluation.matching import match
from replication.formats.detections import read_detections
from replication.formats.truth import read_ground_truth

DETECTORS = {"tiny-yolo-voc": (53.974, 54.415), "yolov2-voc-150": (72.138, 74.518), "yolov3-voc": (67.748, 69.676)}


@pytest.fixture(scope="module")
def golden_list(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    truth = json.loads((golden / "voc" / "truth.json").read_text())
    return write_voc_folder(tmp_path_factory.mktemp("golden_voc"), truth, "test")


@pytest.mark.parametrize("criterion", ["voc07", "voc", "voc07_giou", "voc_giou"])
def test_golden_numbers(golden: Path, golden_list: Path, criterion: str):
    expected = json.loads((golden / "numbers.json").read_text())["voc"][criterion]
    truth = read_ground_truth(golden_list).under(criterion)
    matches = match(truth, read_detections(golden / "voc" / "detections", truth), criterion)
    assert matches.class_names == tuple(expected)
    per_class = np.array([expected[name] for name in matches.class_names]).T
    np.testing.assert_allclose(100 * point(matches, ("all",)).precision["all"][0], per_class, rtol=0, atol=1e-10)
    assert point(matches).metric("AP50")[0] == pytest.approx(per_class[0].mean(), abs=1e-10)


@pytest.mark.parametrize("criterion", ["voc", "voc07_giou"])
def test_coco_json_with_difficult_objects_gives_the_golden_numbers(golden: Path, tmp_path: Path, criterion: str):
    """VOC's ground truth as a COCO file: 0-based XYWH boxes, difficult objects marked."""
    truth = json.loads((golden / "voc" / "truth.json").read_text())
    (tmp_path / "gt.json").write_text(json.dumps(zero_based(truth)))
    expected = json.loads((golden / "numbers.json").read_text())["voc"][criterion]
    result = evaluate(golden / "voc" / "detections", tmp_path / "gt.json", Options(criterion=criterion))
    assert {name: one["AP50"] for name, one in result["per_class"].items()} == {
        name: pytest.approx(values[0], abs=1e-10) for name, values in expected.items()
    }
    assert result["objects"] == sum(not one["difficult"] for one in truth["annotations"])
    assert "AR100" not in result["metrics"]


@pytest.fixture(scope="module")
def truth(voc2007_test: Path):
    return read_ground_truth(voc2007_test)


@pytest.mark.parametrize("name", DETECTORS)
def test_golden_numbers_of_published_detectors(shared: Path, truth, name: str):
    folder = shared / "data" / "voc2007_eval"
    golden = json.loads((folder / "golden.json").read_text())[name]
    found = read_detections(folder / "dets" / name, truth)
    assert len(found) == golden["detections"]
    for criterion, key, mean in zip(("voc07", "voc"), ("ap07", "ap_area"), DETECTORS[name], strict=True):
        matches = match(truth, found, criterion)
        estimate = point(matches, ("all",))
        expected = [golden["classes"][label][key] for label in matches.class_names]
        np.testing.assert_allclose(estimate.precision["all"][0, 0], expected, rtol=0, atol=1e-12)
        assert estimate.metric("AP50")[0] == pytest.approx(mean, abs=1e-3)


def test_coco_json_with_difficult_objects_gives_the_same(shared: Path, truth, tmp_path: Path):
    folder = shared / "data" / "voc2007_eval"
    (tmp_path / "gt.json").write_bytes(gzip.decompress((folder / "voc2007_test_gt.json.gz").read_bytes()))
    detections = folder / "dets" / "yolov3-voc"
    by_json = evaluate(detections, tmp_path / "gt.json", Options(criterion="voc07_giou"))
    matches = match(truth, read_detections(detections, truth), "voc07_giou")
    assert by_json["metrics"]["AP50"] == pytest.approx(point(matches).metric("AP50")[0], abs=1e-10)
    assert by_json["objects"] == 12032
    assert "AR100" not in by_json["metrics"]
    # GIoU is at most IoU.
    assert by_json["metrics"]["AP50"] < DETECTORS["yolov3-voc"][0]


XML = """<annotation><size><width>{width}</width><height>80</height></size>
<object><name>cat</name><difficult>{difficult}</difficult>
<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>10</xmax><ymax>{ymax}</ymax></bndbox></object></annotation>"""


def voc_folder(
    root: Path, *, names: str = "one\ntwo -1\n", difficult: int = 0, ymax: object = 10, width: object = 100
) -> Path:
    for part in ("Annotations", "ImageSets/Main", "found"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for name in ("one", "two"):
        (root / "Annotations" / f"{name}.xml").write_text(XML.format(difficult=difficult, ymax=ymax, width=width))
    (root / "ImageSets/Main/test.txt").write_text(names)
    (root / "found/comp4_det_test_cat.txt").write_text("one 0.9 1 1 10 10\ntwo 0.8 1 1 10 5\n")
    return root / "ImageSets/Main/test.txt"


def test_the_additional_pixel(tmp_path: Path):
    """1..10 is ten pixels wide: rows 1..5 of ten are an overlap of exactly one half, which must be exceeded."""
    result = evaluate(tmp_path / "found", voc_folder(tmp_path), Options(criterion="voc"))
    assert result["metrics"]["AP50"] == pytest.approx(50)
    (tmp_path / "found/comp4_det_test_cat.txt").write_text("one 0.9 1 1 10 10\ntwo 0.8 1 1 10 6\n")
    result = evaluate(tmp_path / "found", tmp_path / "ImageSets/Main/test.txt", Options(criterion="voc"))
    assert result["metrics"]["AP50"] == pytest.approx(100)


def test_a_box_without_area_is_a_false_detection(tmp_path: Path):
    path = voc_folder(tmp_path)
    (tmp_path / "found/comp4_det_test_cat.txt").write_text("one 0.9 1 9 10 3\none 0.8 1 1 10 10\ntwo 0.7 1 1 10 10\n")
    for criterion in ("voc", "voc_giou"):
        result = evaluate(tmp_path / "found", path, Options(criterion=criterion))
        # Precision 1/2 and 2/3 at the two true detections, the envelope 2/3 over both.
        assert result["metrics"]["AP50"] == pytest.approx(200 / 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": "\n"}, r"test\.txt: the list is empty"),
        ({"names": "one\none\n"}, "listed twice"),
        ({"names": "three\n"}, r"three\.xml: missing, but three is listed"),
        ({"ymax": "ten"}, r"one\.xml: object 0 \(cat\): bndbox must have four numbers"),
        ({"ymax": -1}, r"one\.xml: object 0 \(cat\): bndbox is empty"),
        ({"ymax": "nan"}, "not a finite number"),
        ({"width": "abc"}, r"one\.xml: size/width is 'abc', expected a whole number of pixels"),
    ],
)
def test_wrong_annotations(tmp_path: Path, change, message):
    with pytest.raises(DataError, match=message):
        read_ground_truth(voc_folder(tmp_path, **change))


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("det_dog.txt", "one 0.9 1 1 2 2", "no detections in files named .* of a class in the ground truth"),
        ("det_cat.txt", "three 0.9 1 1 2 2", r"det_cat\.txt, line 1: image 'three' is not in the ground truth"),
        ("det_cat.txt", "one 0.9 1 1 2", r"line 1: expected image, score"),
        ("det_cat.txt", "one high 1 1 2 2", r"line 1: expected image, score"),
        ("det_cat.txt", "one nan 1 1 2 2", r"line 1: a number is not finite"),
    ],
)
def test_wrong_detections(tmp_path: Path, name, line, message):
    truth = read_ground_truth(voc_folder(tmp_path))
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / name).write_text(line + "\n")
    with pytest.raises(ResultError, match=message):
        read_detections(tmp_path / "wrong", truth)


def test_an_empty_folder_is_refused(tmp_path: Path, capsys):
    path = voc_folder(tmp_path)
    (tmp_path / "empty").mkdir()
    assert cli.main(["evaluate", str(tmp_path / "empty"), str(path)]) == 2
    assert "no detections in files named" in capsys.readouterr().err


def test_a_list_that_lies_too_near_to_the_root(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(Path, "resolve", lambda path: Path("/sets") / path.name)
    (tmp_path / "test.txt").write_text("one\n")
    with pytest.raises(DataError, match=r"test\.txt: a VOC image list lies in <root>/ImageSets/Main"):
        read_ground_truth(tmp_path / "test.txt")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("det_cat.txt.gz", b"one 0.9 1 1 2 2"),
        ("det_cat.txt.gz", gzip.compress(b"one 0.9 1 1 2 2\n" * 99, mtime=0)[:-12]),
        ("det_cat.txt.gz", gzip.compress(b"", mtime=0)[:10] + b"\xff" * 20),
        ("det_cat.txt", b"\xff\xfe one"),
    ],
)
def test_unreadable_result_files(tmp_path: Path, name, content):
    truth = read_ground_truth(voc_folder(tmp_path))
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / name).write_bytes(content)
    with pytest.raises(ResultError, match=rf"{name}: cannot be read as text"):
        read_detections(tmp_path / "wrong", truth)


def test_files_of_classes_that_the_split_lacks_are_left_out_with_a_warning(tmp_path: Path, capsys):
    path = voc_folder(tmp_path)
    alone = evaluate(tmp_path / "found", path, Options(criterion="voc"))
    assert alone["warnings"] == []
    for name in ("comp4_det_test_dog.txt", "comp4_det_test_wild_cat.txt"):
        (tmp_path / "found" / name).write_text("one 0.99 30 30 40 40\n")
    found = evaluate(tmp_path / "found", path, Options(criterion="voc"))
    assert found["metrics"] == alone["metrics"]
    assert cli.main(["evaluate", str(tmp_path / "found"), str(path)]) == 0
    message = "left out, of classes not in the ground truth: comp4_det_test_dog.txt, comp4_det_test_wild_cat.txt"
    assert message in capsys.readouterr().err


def test_names_of_classes_are_whole(tmp_path: Path):
    path = voc_folder(tmp_path)
    annotation = tmp_path / "Annotations/two.xml"
    annotation.write_text(annotation.read_text().replace("<name>cat", "<name>wild_cat"))
    truth = read_ground_truth(path)
    assert truth.class_names == ("cat", "wild_cat")
    for prefix in ("comp4_det_test_", "comp3_1f-2b_det_val_", "yolo_", ""):
        folder = tmp_path / f"by {prefix}"
        folder.mkdir()
        (folder / f"{prefix}cat.txt").write_text("one 0.9 1 1 10 10\n")
        (folder / f"{prefix}wild_cat.txt").write_text("two 0.8 1 1 10 10\n")
        assert read_detections(folder, truth).labels.tolist() == [0, 1]


def test_two_files_of_one_class_are_refused(tmp_path: Path):
    truth = read_ground_truth(voc_folder(tmp_path))
    (tmp_path / "found/comp3_det_test_cat.txt").write_text("one 0.9 1 1 10 10\n")
    with pytest.raises(ResultError, match=r"comp4_det_test_cat\.txt: class 'cat' is in comp3_det_test_cat\.txt too"):
        read_detections(tmp_path / "found", truth)


def test_verification_of_voc_files_is_exit_2(tmp_path: Path, capsys):
    path = voc_folder(tmp_path)
    assert cli.main(["evaluate", str(tmp_path / "found"), str(path), "--verify"]) == 2
    assert f"--verify: {tmp_path / 'found'} is not a .json file" in capsys.readouterr().err
    records = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10], "score": 0.5}]
    (tmp_path / "dt.json").write_text(json.dumps(records))
    assert cli.main(["evaluate", str(tmp_path / "dt.json"), str(path), "--verify"]) == 2
    assert f"--verify: {path} is not a .json file" in capsys.readouterr().err
