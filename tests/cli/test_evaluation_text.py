"""The command's answer."""

from __future__ import annotations

import json

from replication.cli.evaluation_text import format_evaluation

METRICS = {"AP": 100 / 3, "AP50": 50.0, "AP75": 0.0, "APs": None, "APm": 20.0, "APl": 99.995}
RESULT = {
    "metrics": METRICS,
    "mask_metrics": None,
    "per_class": {
        "cat": {"AP": 100 / 3, "AP50": 50.0, "objects": 3, "detections": 7},
        "dog": {"AP": None, "AP50": None, "objects": 0, "detections": 1},
    },
    "criterion": "iou",
    "mistakes": {"duplicate": {"count": 12, "gain": 0.25}, "missed": {"count": 0, "gain": None}},
    "rare_classes": ["cat"],
    "images": 2,
    "objects": 3,
    "area_ranges": {"small": [0, 1], "medium": [1, 2], "large": [2, 3]},
    "evaluator": "replication 0.1.0",
}


def test_json_for_machines():
    assert (
        json.loads(format_evaluation(RESULT, "json"))
        == {
            "schema": "evaluation/1",
            "intervals": None,
            "difference": None,
        }
        | RESULT
    )


def test_table_for_people():
    text = format_evaluation(RESULT)
    assert "3 objects on 2 images" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["AP", "AP50", "AP75", "APs", "APm", "APl"] in lines
    assert ["boxes", "33.33", "50.00", "0.00", "-", "20.00", "100.00"] in lines
    assert ["cat", "33.33", "50.00", "3", "7"] in lines
    assert ["dog", "-", "-", "0", "1"] in lines
    assert not any(line and line[0] == "masks" for line in lines)
    assert ["duplicate", "12", "0.25"] in lines
    assert ["missed", "0", "-"] in lines
    assert lines[-1][:2] == ["boxes", "33.33"]  # the summary stands last


def test_table_shows_intervals_and_rare_classes():
    interval = {"estimate": 33.3, "low": 30.0, "high": 36.6, "se": 1.68, "bias": 0.4}
    more = {"intervals": {"AP": interval, "APs": None}, "bootstrap": {"replicates": 1000, "seed": 7, "unit": "image"}}
    text = format_evaluation(RESULT | more)
    assert ["AP", "33.30", "30.00", "36.60", "1.68", "+0.40"] in [line.split() for line in text.splitlines()]
    assert "1000 resamplings of the images, seed 7" in text
    assert "fewer than 10 objects" in text
    assert text.split("too narrow: ")[1].startswith("cat\n")


def test_table_shows_differences():
    value = {"estimate": -1.25, "se": 0.5, "bias": 0.01, "percentile": [-2.2, -0.3], "t": [-2.23, -0.27]}
    more = {"difference": {"AP": value, "APs": None}, "difference_supported": {"AP": {"estimate": 0.5}}}
    text = format_evaluation(RESULT | more | {"supported_classes": 1})
    lines = [line.split() for line in text.splitlines()]
    assert ["AP", "-1.25", "0.50", "-2.23", "to", "-0.27", "-2.20", "to", "-0.30"] in lines
    assert ["AP", "+0.50", "-", "-", "-"] in lines
    assert "over 1 classes with at least 10 objects" in text


def test_table_shows_masks_when_there_are():
    text = format_evaluation(RESULT | {"mask_metrics": METRICS})
    assert any(line.split()[:2] == ["masks", "33.33"] for line in text.splitlines())
