from __future__ import annotations

import json
from pathlib import Path

import pytest

from replication.catalog import load_catalog, load_protocol
from replication.errors import ResultError
from replication.evaluation import bootstrap, point
from replication.evaluation.runs import evaluate_run, run_matches
from replication.results.files import read_json, write_json
from replication.results.run import Run

BOX = [10.0, 10.0, 20.0, 20.0]


def run_of(tmp_path: Path, protocol: str = "smoke", variant: str = "retinanet_R50", seed: int = 0) -> Run:
    return Run(load_catalog().variants[variant], load_protocol(protocol), seed, tmp_path)


def detected(run: Run, trained_on: str = "now", found: list[float] = BOX) -> Run:
    folder, here = run.folder, run.layout.folder
    write_json(
        folder / "provenance.json",
        "provenance/1",
        {"data_hash": trained_on, "config_hash": "c", "fingerprint": "f"},
    )
    write_json(here / "data.json", "data/1", {"data_hash": "now"})
    truth = {
        "images": [{"id": 1, "width": 64, "height": 64, "file_name": "a.jpg"}],
        "categories": [{"id": 3, "name": "thing"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": BOX, "area": 400.0, "iscrowd": 0}],
    }
    (here / "ground_truth.json").write_text(json.dumps(truth))
    (folder / "detections.json").write_text(
        json.dumps([{"image_id": 1, "category_id": 3, "bbox": found, "score": 0.9}])
    )
    return run


def test_metrics_say_whose_they_are(tmp_path: Path):
    evaluate_run(detected(run_of(tmp_path)))
    written = read_json(run_of(tmp_path).folder / "metrics.json", "metrics/1")
    assert (written["protocol"], written["variant"], written["seed"]) == ("smoke", "retinanet_R50", 0)
    assert written["metrics"]["AP"] == pytest.approx(100)
    # 400 square pixels are medium under smoke's ranges, small under COCO's.
    assert written["metrics"]["APm"] == pytest.approx(100)
    assert written["metrics"]["APs"] is None


def test_detections_of_other_data_are_refused(tmp_path: Path):
    with pytest.raises(ResultError, match=r"data_hash is before.*has now: the data have changed"):
        evaluate_run(detected(run_of(tmp_path), "before"))
    assert not (run_of(tmp_path).folder / "metrics.json").exists()


# 20 x 20 moved by 1, 5: 19 * 15 = 285 of 515 is IoU 0.5534; hull 21 * 25 = 525, GIoU 0.5343.
MOVED = [11.0, 15.0, 20.0, 20.0]


def test_numbers_by_giou_stand_beside(tmp_path: Path):
    result = evaluate_run(detected(run_of(tmp_path), found=MOVED))
    written = read_json(run_of(tmp_path).folder / "metrics.json", "metrics/1")
    for numbers in (result, written):
        assert numbers["criterion"] == "iou"
        assert numbers["metrics"]["AP"] == pytest.approx(20)
        assert numbers["giou_metrics"]["AP"] == pytest.approx(10)


def test_runs_on_voc_are_evaluated_by_its_rules(tmp_path: Path):
    run = run_of(tmp_path, "paper_voc", "faster_rcnn_R50_voc_giou", 1)
    half = [10.0, 10.0, 20.0, 10.0]  # an overlap of exactly 0.5, which VOC's rule does not count
    for found, expected in ((half, 0), (BOX, 100)):
        result = evaluate_run(detected(run, found=found))
        assert result["criterion"] == "voc07"
        assert result["metrics"]["AP50"] == pytest.approx(expected)
        assert result["giou_metrics"]["AP50"] == pytest.approx(expected)


def test_matches_of_a_finished_run(tmp_path: Path):
    run = detected(run_of(tmp_path), found=MOVED)
    result = evaluate_run(run)
    kept = sorted(run.files.matches.iterdir())
    for giou, key in ((False, "metrics"), (True, "giou_metrics")):
        matches = run_matches(run.files, run.layout, run.protocol, giou)
        assert point(matches).metric("AP")[0] == result[key]["AP"]
        assert bootstrap(matches, 5).metric("AP").tolist() == [result[key]["AP"]] * 5
    assert sorted(run.files.matches.iterdir()) == kept
    assert [path.name.split("-")[0] for path in kept] == ["giou", "iou"]
