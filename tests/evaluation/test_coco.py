"""AP against golden numbers of generated and of real detections, and against cases whose answer is known by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from replication.catalog.protocols import AreaRanges
from replication.errors import DataError, ResultError
from replication.evaluation import METRICS, Options, evaluate

REAL = {
    "val2014_100/fakebbox100": (
        "val2014_100/instances_val2014_fakebbox100_results.json",
        "val2014_100/instances_val2014_100.json",
    ),
    "val2014_100/fakesegm100": (
        "val2014_100/instances_val2014_fakesegm100_results.json",
        "val2014_100/instances_val2014_100.json",
    ),
    "coco_mini val2017/yolo-fastest-xl": (
        "yolo-fastest-xl_val2017_bbox.json",
        "../coco_mini/annotations/instances_val2017.json",
    ),
    "coco_mini val2017/yolo-fastest": (
        "yolo-fastest_val2017_bbox.json",
        "../coco_mini/annotations/instances_val2017.json",
    ),
}


def truth(*annotations, images=1, classes=("digit",)):
    """COCO ground truth of 100 x 100 images; an annotation is a box XYWH and more keys."""
    return {
        "images": [{"id": i + 1, "height": 100, "width": 100} for i in range(images)],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(classes)],
        "annotations": [
            {"id": i + 1, "image_id": 1, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0} | more
            for i, (box, more) in enumerate(annotations)
        ],
    }


def detection(box, score=0.9, **more):
    return {"image_id": 1, "category_id": 1, "bbox": box, "score": score} | more


@pytest.fixture
def run(tmp_path):
    """Evaluates a ground truth against detections through files."""

    def evaluate_files(ground_truth, detections, **options):
        (tmp_path / "gt.json").write_text(json.dumps(ground_truth))
        (tmp_path / "dt.json").write_text(json.dumps(detections))
        return evaluate(tmp_path / "dt.json", tmp_path / "gt.json", Options(**options))

    return evaluate_files


@pytest.mark.parametrize("honour_ignore", [False, True], ids=["as pycocotools is", "with ignored objects"])
def test_golden_numbers(golden: Path, tmp_path: Path, honour_ignore: bool, capsys):
    """pycocotools overwrites ``ignore``: equal to it without that key, and with it to pycocotools mended there."""
    numbers = json.loads((golden / "numbers.json").read_text())
    truth = json.loads((golden / "coco" / "truth.json").read_text())
    for annotation in truth["annotations"]:
        if not honour_ignore:
            annotation.pop("ignore", None)
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    for kind, key in (("boxes", "metrics"), ("masks", "mask_metrics")):
        expected = numbers[f"{kind}, ignore honoured" if honour_ignore else kind]
        result = evaluate(golden / "coco" / f"{kind}.json", tmp_path / "truth.json")
        assert result[key] == percentages(expected["metrics"])
        if kind == "boxes":
            assert result["mask_metrics"] is None
            assert {name: one["AP"] for name, one in result["per_class"].items()} == percentages(
                expected["per_class_AP"]
            )
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("criterion", ["giou", "giou_paper"])
def test_golden_numbers_under_giou(golden: Path, criterion: str):
    expected = json.loads((golden / "numbers.json").read_text())[criterion]
    result = evaluate(golden / "coco" / "boxes.json", golden / "coco" / "truth.json", Options(criterion=criterion))
    assert {name: result["metrics"][name] for name in expected} == percentages(expected)


def percentages(numbers: dict[str, float | None]) -> dict[str, object]:
    return {name: None if value is None else pytest.approx(value, abs=1e-10) for name, value in numbers.items()}


@pytest.mark.parametrize("name", REAL)
def test_golden_numbers_of_real_detections(shared: Path, name: str, capsys):
    folder = shared / "data" / "coco_eval"
    golden = json.loads((folder / "golden.json").read_text())[name]
    detections, ground_truth = (folder / file for file in REAL[name])
    result = evaluate(detections, ground_truth)
    measured = result["mask_metrics"] if "fakesegm" in name else result["metrics"]
    expected = {key: value for key, value in golden.items() if key != "per_category_AP"}
    assert measured == {key: pytest.approx(100 * value, abs=1e-10) for key, value in expected.items()}
    assert capsys.readouterr().out == ""
    if "fakesegm" in name:
        return
    assert result["mask_metrics"] is None
    names = {c["id"]: c["name"] for c in json.loads(ground_truth.read_text())["categories"]}
    for key, value in golden["per_category_AP"].items():
        expected = None if value is None else pytest.approx(100 * value, abs=1e-10)
        assert result["per_class"][names[int(key)]]["AP"] == expected


def test_official_demo_numbers(shared: Path):
    folder = shared / "data" / "coco_eval" / "val2014_100"
    result = evaluate(
        folder / "instances_val2014_fakebbox100_results.json",
        folder / "instances_val2014_100.json",
        Options(masks=False),
    )
    assert [round(result["metrics"][key] / 100, 3) for key in METRICS] == [0.505, 0.697, 0.573, 0.586, 0.519, 0.501]
    assert result["images"] == pytest.approx(100)
    assert result["evaluator"].startswith("replication ")


def test_perfect_detection(run):
    result = run(truth(([10, 10, 40, 40], {})), [detection([10, 10, 40, 40])])
    hundred = pytest.approx(100)
    assert [result["metrics"][key] for key in METRICS] == [hundred, hundred, hundred, None, hundred, None]
    assert result["per_class"] == {"digit": {"AP": hundred, "AP50": hundred, "objects": 1, "detections": 1}}
    assert (result["images"], result["objects"]) == (1, 1)


def test_ap_counts_the_thresholds_that_the_overlap_reaches(run):
    # 10x10 against its upper 10x8: IoU 0.8, reached by the thresholds 0.50 ... 0.80, seven of ten.
    result = run(truth(([0, 0, 10, 10], {})), [detection([0, 0, 10, 8])])
    assert result["metrics"]["AP"] == pytest.approx(70)
    assert result["metrics"]["AP50"] == pytest.approx(100)
    assert result["metrics"]["AP75"] == pytest.approx(100)


def test_one_of_two_objects_found(run):
    # Precision 1 up to recall 0.5, then 0: 51 of the 101 recall points.
    result = run(truth(([0, 0, 10, 10], {}), ([50, 50, 10, 10], {})), [detection([0, 0, 10, 10])])
    assert result["metrics"]["AP"] == pytest.approx(100 * 51 / 101)


def test_false_positive_ahead_halves_precision(run):
    found = [detection([60, 60, 9, 9], 0.9), detection([0, 0, 10, 10], 0.8)]
    assert run(truth(([0, 0, 10, 10], {})), found)["metrics"]["AP"] == pytest.approx(50)


def test_no_detections_is_zero_not_an_error(run):
    result = run(truth(([0, 0, 10, 10], {})), [])
    assert result["metrics"]["AP"] == 0
    assert result["metrics"]["APl"] is None
    assert result["mask_metrics"] is None


def test_class_without_ground_truth_is_none_and_left_out_of_the_mean(run):
    result = run(truth(([0, 0, 10, 10], {}), classes=("a", "b")), [detection([0, 0, 10, 10])])
    assert result["metrics"]["AP"] == pytest.approx(100)
    assert result["per_class"]["b"] == {"AP": None, "AP50": None, "objects": 0, "detections": 0}


def test_difficult_object_is_ignored_found_or_not(run):
    difficult = {"ignore": 1, "difficult": 1}
    ground_truth = truth(([0, 0, 10, 10], {}), ([50, 50, 10, 10], difficult))
    missed = run(ground_truth, [detection([0, 0, 10, 10], 0.5)])
    found = run(ground_truth, [detection([0, 0, 10, 10], 0.5), detection([50, 50, 10, 10], 0.9)])
    assert missed["metrics"]["AP"] == found["metrics"]["AP"] == pytest.approx(100)
    assert missed["objects"] == 1


def test_ignored_object_is_not_a_crowd(run):
    # A crowd takes any number of detections; an ignored object one, by its IoU.
    half = [50, 50, 10, 4]
    objects = ([0, 0, 10, 10], {}), ([50, 50, 10, 10], {"iscrowd": 1})
    found = [detection([0, 0, 10, 10], 0.5), detection(half, 0.9), detection(half, 0.8)]
    assert run(truth(*objects), found)["metrics"]["AP"] == pytest.approx(100)
    objects = ([0, 0, 10, 10], {}), ([50, 50, 10, 10], {"ignore": 1})
    assert run(truth(*objects), found)["metrics"]["AP"] == pytest.approx(100 / 3)


def test_area_ranges_of_the_protocol_decide_the_sizes(run):
    ground_truth = truth(([0, 0, 10, 10], {}), ([40, 40, 20, 20], {}))
    found = [detection([40, 40, 20, 20])]
    coco = run(ground_truth, found)["metrics"]
    assert (coco["APs"], coco["APm"], coco["APl"]) == (pytest.approx(100 * 51 / 101), None, None)
    areas = AreaRanges(small=(0, 150), medium=(150, 500), large=(500, 1e10))
    result = run(ground_truth, found, area_ranges=areas)
    assert (result["metrics"]["APs"], result["metrics"]["APm"], result["metrics"]["APl"]) == (
        0,
        pytest.approx(100),
        None,
    )
    assert result["area_ranges"] == {"small": [0, 150], "medium": [150, 500], "large": [500, 1e10]}


def test_annotation_without_area_is_measured_by_its_box(run):
    ground_truth = truth(([0, 0, 40, 40], {}))
    del ground_truth["annotations"][0]["area"]
    del ground_truth["annotations"][0]["iscrowd"]
    assert run(ground_truth, [detection([0, 0, 40, 40])])["metrics"]["APm"] == pytest.approx(100)


def test_at_most_100_detections_an_image_count(run):
    noise = [detection([60, 60, 5, 5], 0.9)] * 100
    assert run(truth(([0, 0, 10, 10], {})), [*noise, detection([0, 0, 10, 10], 0.1)])["metrics"]["AP"] == 0


def mask(box, size=100):
    """RLE of an XYWH box on a square image."""
    rle = mask_utils.frPyObjects(np.array([box], dtype=float), size, size)[0]
    return {"size": rle["size"], "counts": rle["counts"].decode()}


POLYGON = {"segmentation": [[0, 0, 40, 0, 40, 40, 0, 40]]}


def test_masks_are_evaluated_by_mask_overlap(run):
    # The box is right, the mask covers its left 40 %.
    found = [detection([0, 0, 40, 40], segmentation=mask([0, 0, 16, 40]))]
    result = run(truth(([0, 0, 40, 40], POLYGON)), found)
    assert result["metrics"]["AP"] == pytest.approx(100)
    assert result["mask_metrics"]["AP"] == 0
    found = [detection([0, 0, 9, 9], segmentation=mask([0, 0, 40, 40]))]
    result = run(truth(([0, 0, 40, 40], POLYGON)), found)
    assert result["metrics"]["AP"] == 0
    assert result["mask_metrics"]["AP"] == pytest.approx(100)
    assert result["mask_metrics"]["APm"] == pytest.approx(100)


def test_box_results_do_not_change_when_masks_ride_along(run):
    found = [detection([0, 0, 40, 36], segmentation=mask([0, 0, 40, 40]))]
    with_masks = run(truth(([0, 0, 40, 40], POLYGON)), found)
    assert run(truth(([0, 0, 40, 40], POLYGON)), found, masks=False) == with_masks | {"mask_metrics": None}


def test_masks_demanded_but_absent(run):
    with pytest.raises(ResultError, match=r"dt\.json: no segmentation"):
        run(truth(([0, 0, 40, 40], POLYGON)), [detection([0, 0, 40, 40])], masks=True)
    with pytest.raises(DataError, match=r"gt\.json: masks asked for"):
        run(truth(([0, 0, 40, 40], {})), [detection([0, 0, 4, 4], segmentation=mask([0, 0, 4, 4]))], masks=True)


def test_no_torch():
    code = (
        "import sys, replication.evaluation, replication.report;"
        "sys.exit(any(name.split('.')[0] in ('torch', 'detectron2') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
