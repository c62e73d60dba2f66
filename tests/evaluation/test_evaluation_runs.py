from __future__ import annotations

import json
from pathlib import Path

import pytest

from replication.catalog import Run, load_protocol
from replication.errors import ResultError
from replication.evaluation import evaluate_run
from replication.files import read_json, write_json

PROTOCOL = load_protocol("smoke")
RUN = Run(protocol="smoke", variant="retinanet_R50", seed=0)
BOX = [10.0, 10.0, 20.0, 20.0]


def results(tmp_path: Path, trained_on: str) -> Path:
    folder = RUN.folder(tmp_path)
    write_json(folder / "provenance.json", "provenance/1", {"data_hash": trained_on})
    write_json(tmp_path / "smoke" / "data.json", "data/1", {"data_hash": "now"})
    truth = {
        "images": [{"id": 1, "width": 64, "height": 64, "file_name": "a.jpg"}],
        "categories": [{"id": 3, "name": "thing"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": BOX, "area": 400.0, "iscrowd": 0}],
    }
    (tmp_path / "smoke" / "ground_truth.json").write_text(json.dumps(truth))
    (folder / "detections.json").write_text(json.dumps([{"image_id": 1, "category_id": 3, "bbox": BOX, "score": 0.9}]))
    return tmp_path


def test_metrics_say_whose_they_are(tmp_path: Path):
    evaluate_run(RUN, PROTOCOL, results(tmp_path, "now"))
    written = read_json(RUN.folder(tmp_path) / "metrics.json", "metrics/1")
    assert (written["protocol"], written["variant"], written["seed"]) == ("smoke", "retinanet_R50", 0)
    assert written["metrics"]["AP"] == pytest.approx(100)
    # 400 square pixels are medium under smoke's ranges, small under COCO's.
    assert written["metrics"]["APm"] == pytest.approx(100)
    assert written["metrics"]["APs"] is None


def test_detections_of_other_data_are_refused(tmp_path: Path):
    with pytest.raises(ResultError, match=r"data_hash is before.*has now: the data have changed"):
        evaluate_run(RUN, PROTOCOL, results(tmp_path, "before"))
    assert not (RUN.folder(tmp_path) / "metrics.json").exists()
