"""metrics.json and the command's answer."""

from __future__ import annotations

import json

from replication.evaluation import format_evaluation, metrics_document, write_metrics
from replication.files import read_json

METRICS = {"AP": 100 / 3, "AP50": 50.0, "AP75": 0.0, "APs": None, "APm": 20.0, "APl": 99.995}
RESULT = {
    "metrics": METRICS,
    "mask_metrics": None,
    "per_class": {"cat": {"AP": 100 / 3, "AP50": 50.0}, "dog": {"AP": None, "AP50": None}},
    "images": 2,
    "objects": 3,
    "area_ranges": {"small": [0, 1], "medium": [1, 2], "large": [2, 3]},
    "evaluator": "pycocotools 2.0.11",
}


def test_metrics_file_keeps_full_precision_and_none(tmp_path):
    path = tmp_path / "seed0" / "metrics.json"
    write_metrics(path, RESULT, "faster_rcnn_R50_giou", "mini", 3)
    document = read_json(path, "metrics/1")
    assert document == {"schema": "metrics/1"} | metrics_document(RESULT, "faster_rcnn_R50_giou", "mini", 3)
    assert document["metrics"]["AP"] == 100 / 3
    assert document["metrics"]["APs"] is None
    assert (document["variant"], document["protocol"], document["seed"]) == ("faster_rcnn_R50_giou", "mini", 3)


def test_json_for_machines():
    assert json.loads(format_evaluation(RESULT, "json")) == {"schema": "evaluation/1"} | RESULT


def test_table_for_people():
    text = format_evaluation(RESULT)
    assert "3 objects on 2 images" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["AP", "AP50", "AP75", "APs", "APm", "APl"] in lines
    assert ["boxes", "33.33", "50.00", "0.00", "-", "20.00", "100.00"] in lines
    assert ["cat", "33.33", "50.00"] in lines
    assert ["dog", "-", "-"] in lines
    assert not any(line and line[0] == "masks" for line in lines)


def test_table_shows_masks_when_there_are():
    text = format_evaluation(RESULT | {"mask_metrics": METRICS})
    assert any(line.split()[:2] == ["masks", "33.33"] for line in text.splitlines())
