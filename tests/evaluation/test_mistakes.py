"""The decomposition of errors on scenes with one mistake of a known kind."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from support.simulation import detector, population

from replication.evaluation import Options, evaluate, point
from replication.evaluation.matching import match
from replication.evaluation.mistakes import _Scene, mistakes

BOX = [100, 100, 100, 100]
KINDS = ("localisation", "classification", "both", "duplicate", "background", "missed")


def annotation(number, box, category=1, **more):
    return {"id": number, "image_id": 1, "category_id": category, "bbox": box, "area": box[2] * box[3], **more}


def detection(box, score, category=1):
    return {"image_id": 1, "category_id": category, "bbox": box, "score": score}


def decompose(folder, objects, found, criterion="iou"):
    document = {
        "images": [{"id": 1, "width": 640, "height": 480}],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        "annotations": objects,
    }
    (folder / "gt.json").write_text(json.dumps(document))
    (folder / "dt.json").write_text(json.dumps(found))
    return evaluate(folder / "dt.json", folder / "gt.json", Options(criterion=criterion))


# Moved by 60 of 100: IoU 40 / 160 = 0.25. By 20: 80 / 120 = 0.67.
@pytest.mark.parametrize(
    ("false", "kind", "count", "gain"),
    [
        # Alone on its object, AP 0: moved onto it, AP 100.
        (detection([160, 100, 100, 100], 0.9), "localisation", 1, 100),
        (detection([120, 100, 100, 100], 0.9, category=2), "classification", 1, 100),
        # Nothing is left to find it: dropping gains nothing, not asking leaves the class without objects.
        (detection([160, 100, 100, 100], 0.9, category=2), "both", 1, 0),
        (detection([400, 300, 50, 50], 0.9), "background", 1, 0),
    ],
)
def test_a_single_false_detection(tmp_path, false, kind, count, gain):
    result = decompose(tmp_path, [annotation(1, BOX)], [false])["mistakes"]
    assert result[kind] == {"count": count, "gain": pytest.approx(gain)}
    others = {name: result[name]["count"] for name in KINDS if name != kind}
    missed = int(kind in ("both", "background"))
    assert others.pop("missed") == missed
    assert not any(others.values())
    assert result["missed"]["gain"] == (None if missed else pytest.approx(0))


def test_a_duplicate_ahead_of_nothing(tmp_path):
    """Two objects; found, found again, found: precision 1, 1/2, 2/3. AP50 is (51 * 1 + 50 * 2/3) / 101."""
    objects = [annotation(1, BOX), annotation(2, [300, 300, 100, 100])]
    found = [detection(BOX, 0.9), detection([102, 100, 100, 100], 0.8), detection([300, 300, 100, 100], 0.7)]
    result = decompose(tmp_path, objects, found)
    assert result["metrics"]["AP50"] == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)
    assert result["mistakes"]["duplicate"] == {"count": 1, "gain": pytest.approx(100 * 50 / 3 / 101)}
    assert sum(value["count"] for value in result["mistakes"].values()) == 1


def test_a_missed_object(tmp_path):
    objects = [annotation(1, BOX), annotation(2, [300, 300, 100, 100])]
    result = decompose(tmp_path, objects, [detection(BOX, 0.9)])
    assert result["mistakes"]["missed"] == {"count": 1, "gain": pytest.approx(100 * 50 / 101)}


def test_only_one_of_two_mislocated_detections_is_moved(tmp_path):
    found = [detection([160, 100, 100, 100], 0.8), detection([40, 100, 100, 100], 0.9)]
    result = decompose(tmp_path, [annotation(1, BOX)], found)["mistakes"]
    assert result["localisation"] == {"count": 2, "gain": pytest.approx(100)}
    # And none, where the object is found already: only then the false ones ahead go.
    result = decompose(tmp_path, [annotation(1, BOX)], [*found, detection(BOX, 0.1)])
    assert result["metrics"]["AP50"] == pytest.approx(100 / 3)
    assert result["mistakes"]["localisation"] == {"count": 2, "gain": pytest.approx(200 / 3)}


def test_crowds_are_no_mistakes(tmp_path):
    objects = [annotation(1, BOX), annotation(2, [300, 300, 100, 100], iscrowd=1)]
    result = decompose(tmp_path, objects, [detection(BOX, 0.9), detection([310, 310, 50, 50], 0.95)])["mistakes"]
    assert [result[kind]["count"] for kind in KINDS] == [0] * 6


def test_giou_tells_background_from_localisation_otherwise(tmp_path):
    """Moved by 80: IoU 20 / 180 = 0.111; moved by 80 and 40: 12 / 188, GIoU 0.0638 - 64 / 252 < 0.1."""
    near = [detection([180, 100, 100, 100], 0.9)]
    assert decompose(tmp_path, [annotation(1, BOX)], near)["mistakes"]["localisation"]["count"] == 1
    diagonal = [detection([150, 150, 100, 100], 0.9)]  # IoU 2500 / 17500 = 0.143, GIoU 0.143 - 5000 / 22500
    assert decompose(tmp_path, [annotation(1, BOX)], diagonal)["mistakes"]["localisation"]["count"] == 1
    assert decompose(tmp_path, [annotation(1, BOX)], diagonal, "giou")["mistakes"]["background"]["count"] == 1


def test_every_false_detection_has_one_kind():
    truth = population(41, 60, 6)
    detections = detector(truth, 42, per_image=30)
    matches = match(truth, detections)
    result = mistakes(truth, detections, matches)
    false = (matches.true[0] & 1 == 0) & (matches.ignored[0] & 1 == 0)
    assert sum(result[kind]["count"] for kind in KINDS[:-1]) == false.sum()
    base = point(matches).metric("AP50")[0]
    assert all(-1e-9 <= result[kind]["gain"] <= 100 - base for kind in KINDS)
    assert result["missed"]["count"] > 0


def test_better_localisation_shows_as_such():
    truth = population(43, 200, 4)
    rough, fine = (mistakes(truth, one, match(truth, one)) for one in (detector(truth, 44, s) for s in (1.0, 2.0)))
    assert fine["localisation"]["gain"] < rough["localisation"]["gain"]
    assert fine["classification"]["count"] > 0


@pytest.mark.parametrize("digits", [0, 1, 6])
def test_detections_moved_into_other_classes_stand_where_sorting_puts_them(digits):
    """By class, falling score and place in the matches; rounded scores are often equal."""
    truth = population(9, 80, 5)
    found = detector(truth, 4, confused=0.3)
    found = replace(found, scores=np.round(found.scores, digits))
    matches = match(truth, found)
    scene = _Scene(truth, found, matches)
    rows = np.flatnonzero(scene.kinds["classification"])
    rows = np.random.default_rng(0).permutation(rows)
    assert len(rows) > 30
    label = scene.label.copy()
    label[rows] = truth.labels[scene.aim[rows]]
    order, starts = scene._into_class(rows)
    assert np.array_equal(order, np.lexsort((-scene.score, label)))
    assert np.array_equal(np.diff(starts), np.bincount(label, minlength=5))
