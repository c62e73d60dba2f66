"""Which class is taken for which: pairs, backgrounds and the score that is asked for, all known by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from replication.errors import ResultError
from replication.evaluation.box_share import box_loss_share
from replication.evaluation.confusion import best_score, confusion
from replication.evaluation.inputs import as_detections, as_ground_truth
from replication.evaluation.matching import match
from replication.evaluation.runs import evaluate_run
from replication.results.schemas import Metrics, read, write
from tests.evaluation.test_runs import detected, run_of

CAT, DOG, BACKGROUND = range(3)


def truth_of(*objects: tuple[int, int, list[float], dict]):
    """Objects as image, class, XYWH and further fields."""
    return as_ground_truth(
        {
            "images": [{"id": 1, "width": 200, "height": 200}, {"id": 2, "width": 200, "height": 200}],
            "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
            "annotations": [
                {
                    "id": n,
                    "image_id": image,
                    "category_id": label + 1,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
                | more
                for n, (image, label, box, more) in enumerate(objects, 1)
            ],
        }
    )


def confused(truth, *found: tuple[int, int, list[float], float]):
    records = [
        {"image_id": image, "category_id": label + 1, "bbox": box, "score": score} for image, label, box, score in found
    ]
    detections = as_detections(records, truth)
    return confusion(truth, detections, match(truth, detections))


A, B, FAR = [10.0, 10.0, 20.0, 20.0], [60.0, 10.0, 20.0, 20.0], [150.0, 150.0, 20.0, 20.0]


def test_pairs_whatever_the_classes():
    truth = truth_of((1, CAT, A, {}), (1, DOG, B, {}), (2, CAT, A, {}))
    found = confused(truth, (1, CAT, A, 0.9), (1, CAT, B, 0.8), (2, CAT, A, 0.7), (2, DOG, FAR, 0.95))
    assert found.score == 0.7
    assert found.counts.tolist() == [[2, 0, 0], [1, 0, 0], [0, 1, 0]]


def test_an_object_is_given_once_and_to_the_best_score():
    truth = truth_of((1, CAT, A, {}), (1, CAT, B, {}))
    found = confused(truth, (1, DOG, A, 0.9), (1, CAT, A, 0.8), (1, CAT, B, 0.7))
    assert found.counts.tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 0]]


def test_detections_below_the_score_of_the_best_f1_do_not_count():
    """F1 of one of two objects with no false detection 2/3; with the false ones after it 2/4, and less."""
    truth = truth_of((1, CAT, A, {}), (1, CAT, B, {}))
    found = confused(truth, (1, CAT, A, 0.9), (1, CAT, FAR, 0.5), (2, DOG, FAR, 0.4))
    assert found.score == 0.9
    assert found.counts.tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 0]]


def test_equal_scores_count_together():
    truth = truth_of((1, CAT, A, {}), (1, CAT, B, {}))
    found = confused(truth, (1, CAT, A, 0.5), (1, CAT, FAR, 0.5), (2, CAT, FAR, 0.5))
    assert found.counts.sum() == 4
    assert found.counts.tolist() == [[1, 0, 1], [0, 0, 0], [2, 0, 0]]


@pytest.mark.parametrize(
    ("more", "box", "excused"),
    [
        ({"iscrowd": 1}, [10.0, 10.0, 5.0, 5.0], True),  # inside of a crowd
        ({"iscrowd": 1}, [25.0, 10.0, 20.0, 20.0], False),  # a quarter on it
        ({"ignore": 1}, A, True),
        ({"ignore": 1}, [10.0, 10.0, 5.0, 5.0], False),  # IoU 1/16
    ],
)
def test_what_is_not_to_be_found_excuses(more: dict, box: list[float], excused: bool):
    truth = truth_of((1, CAT, A, more), (2, CAT, B, {}))
    found = confused(truth, (1, DOG, box, 0.9), (2, CAT, B, 0.9))
    assert found.counts.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0 if excused else 1, 0]]


def test_without_detections_all_objects_are_missed():
    truth = truth_of((1, CAT, A, {}), (2, DOG, B, {}))
    found = confused(truth)
    assert found.score == 1.0
    assert found.counts.tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 0]]


def test_every_object_and_detection_is_counted_once():
    random = np.random.default_rng(3)
    objects = [(int(random.integers(1, 3)), int(random.integers(2)), _box(random), {}) for _ in range(40)]
    found = [
        (int(random.integers(1, 3)), int(random.integers(2)), _box(random), float(random.random())) for _ in range(60)
    ]
    truth = truth_of(*objects)
    result = confused(truth, *found)
    assert result.counts[:-1].sum(axis=1).tolist() == truth.per_class.tolist()
    assert result.counts[:, :-1].sum() == sum(score >= result.score for *_, score in found)


def _box(random: np.random.Generator) -> list[float]:
    return [*random.uniform(0, 150, 2).tolist(), *random.uniform(20, 50, 2).tolist()]


def test_a_run_keeps_its_outcomes_and_the_share_of_its_box_loss(tmp_path: Path):
    run = detected(run_of(tmp_path))
    lines = [f'{{"iteration": {n}, "loss_box_reg": {1 if n > 90 else 3}, "total_loss": 4}}\n' for n in range(1, 101)]
    run.files.curves.write_text("".join(lines))
    evaluate_run(run)
    kept = read(run.files.metrics, Metrics)
    assert kept.box_loss_share == 25.0
    assert kept.outcomes is not None
    assert kept.outcomes.precision == ((1.0,) * 101,) * 2
    assert kept.outcomes.confusion == ((1, 0), (0, 0))
    assert kept.outcomes.confusion_score == 0.9
    assert kept.per_class is not None
    assert kept.per_class["thing"].objects == 1


def test_a_broken_curve_is_named(tmp_path: Path):
    run = detected(run_of(tmp_path))
    run.files.curves.write_text("{")
    with pytest.raises(ResultError, match=r"curves\.jsonl: not readable as JSON lines"):
        evaluate_run(run)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("precision", [[1.0] * 101], "expected two curves of 101 points"),
        ("confusion", [[1, 0]], "expected 2 rows and columns"),
    ],
)
def test_outcomes_of_another_length_are_refused(tmp_path: Path, field: str, value: list, message: str):
    right = {"precision": [[1.0] * 101] * 2, "confusion": [[1, 0], [0, 0]], "confusion_score": 0.5}
    content = {
        "protocol": "smoke", "variant": "v", "seed": 0, "metrics": {}, "giou_metrics": {},
        "per_class": {"thing": {"AP": 1.0}}, "outcomes": right,
    }  # fmt: skip
    write(tmp_path / "metrics.json", Metrics, content)
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "metrics.json", Metrics, content | {"outcomes": right | {field: value}})


def test_share_of_the_box_loss():
    lines = [{"loss_box_reg": 9.0, "total_loss": 10.0}] * 18
    assert box_loss_share([*lines, *({"loss_box_reg": 1.0 + k, "total_loss": 6.0} for k in range(2))]) == 25.0
    assert box_loss_share([]) is None
    assert box_loss_share([{"loss_cls": 1.0, "total_loss": 1.0}]) is None


def test_best_score_of_no_detection_with_an_object():
    truth = truth_of((1, CAT, A, {}))
    detections = as_detections([{"image_id": 1, "category_id": 1, "bbox": FAR, "score": 0.6}], truth)
    assert best_score(detections, match(truth, detections)) == 0.6
