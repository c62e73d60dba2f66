"""Matching and its numbers against pycocotools, cell by cell, and against answers known by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from support.reference import COUNTS, plain_pycocotools, pycocotools_with_ignore
from support.simulation import coco_documents, detector, population, write_pair

from replication.catalog.protocols import AreaRanges
from replication.errors import ConfigError, ResultError
from replication.evaluation import point
from replication.evaluation.matching import AREAS, Matches, cached_match, match
from replication.evaluation.proposals import proposal_recall
from replication.evaluation.summary import precision_cells, recall_cells, summary
from replication.evaluation.verify import verify
from replication.formats.detections import read_detections
from replication.formats.truth import read_ground_truth

EXACT = 1e-12


def scene(seed: int, ignored: bool = False) -> tuple[dict, list[dict]]:
    """A small data set with what real ones have: equal scores, crowds, empty images and classes, crowded images."""
    rng = np.random.default_rng(seed)
    images, classes = int(rng.choice([1, 2, 5, 12])), int(rng.choice([1, 2, 4]))
    document = {
        "images": [{"id": int(i), "width": 200, "height": 200} for i in rng.permutation(images * 3)[:images] + 1],
        "categories": [{"id": 1 + 7 * c, "name": f"c{c}"} for c in range(classes)],
        "annotations": [],
    }
    records: list[dict] = []
    levels = int(rng.choice([3, 20, 10_000]))

    def score() -> float:
        return float(rng.integers(1, levels + 1) / levels)

    for image in document["images"]:
        for category in document["categories"][: None if rng.random() < 0.7 else 1]:
            for _ in range(rng.poisson(2.5)):
                box = [*rng.integers(0, 120, 2), *rng.integers(1, 100, 2)]
                box = (
                    [float(v) for v in box] if rng.random() < 0.5 else [round(float(v + rng.random()), 2) for v in box]
                )
                document["annotations"].append(
                    {
                        "id": len(document["annotations"]) + 1, "image_id": image["id"], "category_id": category["id"],
                        "bbox": box, "area": float(box[2] * box[3] * rng.choice([0.6, 1])),
                        "iscrowd": int(rng.random() < 0.15), "ignore": int(ignored and rng.random() < 0.2),
                    }
                )  # fmt: skip
                for _ in range(rng.choice([0, 1, 1, 2])):
                    moved = np.array(box) + rng.integers(-8, 9, 4) * rng.random()
                    moved = [*moved[:2], *np.maximum(moved[2:], 1)]
                    records.append(found(image, category, [round(float(v), 2) for v in moved], score()))
            for _ in range(130 if rng.random() < 0.05 else rng.poisson(2)):
                box = [float(v) for v in [*rng.integers(0, 150, 2), *rng.integers(1, 90, 2)]]
                records.append(found(image, category, box, score()))
    if not any(not a["iscrowd"] and not a["ignore"] for a in document["annotations"]):
        first, category = document["images"][0]["id"], document["categories"][0]["id"]
        document["annotations"].append(
            {"id": 10_000, "image_id": first, "category_id": category, "bbox": [5, 5, 50, 50], "area": 2500}
            | {"iscrowd": 0, "ignore": 0}
        )
    order = rng.permutation(len(records))
    return document, [] if rng.random() < 0.04 else [records[i] for i in order]


def found(image: dict, category: dict, box: list[float], score: float) -> dict:
    return {"image_id": image["id"], "category_id": category["id"], "bbox": box, "score": score}


def columns(folder, document, records):
    (folder / "gt.json").write_text(json.dumps(document))
    (folder / "dt.json").write_text(json.dumps(records))
    truth = read_ground_truth(folder / "gt.json")
    return truth, read_detections(folder / "dt.json", truth)


def assert_equal_cells(matches: Matches, expected) -> None:
    for a, area in enumerate(AREAS):
        for m, count in enumerate(COUNTS):
            for cells, theirs in zip((precision_cells, recall_cells), expected, strict=True):
                ours = np.nan_to_num(cells(matches, area, count), nan=-1)
                np.testing.assert_allclose(ours, theirs[:, :, a, m], rtol=0, atol=EXACT)


@pytest.mark.parametrize("block", range(8))
def test_iou_equals_pycocotools_as_it_is(tmp_path, block):
    for seed in range(block * 30, block * 30 + 30):
        document, records = scene(seed)
        assert_equal_cells(match(*columns(tmp_path, document, records)), plain_pycocotools(document, records))


@pytest.mark.parametrize("criterion", ["iou", "giou", "giou_paper"])
def test_criteria_equal_pycocotools_with_another_overlap(tmp_path, criterion):
    for seed in range(1000, 1060):
        document, records = scene(seed, ignored=True)
        matches = match(*columns(tmp_path, document, records), criterion)
        assert_equal_cells(matches, pycocotools_with_ignore(document, records, criterion))


def test_the_means_are_those_of_the_cells(tmp_path):
    truth = population(1, 60, 6)
    detections = detector(truth, 2, per_image=30)
    precision, recall = plain_pycocotools(*coco_documents(truth, detections))
    numbers = summary(match(truth, detections))

    def mean(values):
        return pytest.approx(100 * values[values > -1].mean(), abs=1e-10)

    assert numbers["AP"] == mean(precision[:, :, 0, 2])
    assert numbers["AP50"] == mean(precision[0, :, 0, 2])
    assert numbers["AP75"] == mean(precision[5, :, 0, 2])
    for a, letter in enumerate("sml", start=1):
        assert numbers[f"AP{letter}"] == mean(precision[:, :, a, 2])
        assert numbers[f"AR{letter}"] == mean(recall[:, :, a, 2])
    assert [numbers[f"AR{count}"] for count in COUNTS] == [mean(recall[:, :, 0, m]) for m in range(3)]


def test_recall_of_proposals_equals_pycocotools_without_classes(tmp_path):
    truth = population(3, 20, 5)
    detections = detector(truth, 4, per_image=250)
    document, records = coco_documents(truth, detections)
    # Equal scores in several classes of an image.
    for record in records:
        record["score"] = round(record["score"], 1)
    measured = proposal_recall(*columns(tmp_path, document, records))
    recall = plain_pycocotools(document, records, (100, 300, 1000), classes=False)[1][:, :, 0]
    expected = [100 * recall[..., m].mean() for m in range(3)]
    assert list(measured.values()) == pytest.approx(expected, abs=1e-10)
    assert list(measured) == ["AR100", "AR300", "AR1000"]


@pytest.mark.parametrize("found_of_100", range(101))
def test_recall_equal_to_a_point(found_of_100):
    """100 objects, the first ``found_of_100`` found: AP counts numpy's points that n/100 reaches in floating point."""
    truth = population(0, 1, 1)
    objects = 100
    boxes = np.stack([np.arange(objects) * 50.0, np.zeros(objects)] * 2, axis=1) + np.array([0, 0, 40, 40])
    many = np.zeros(objects, np.int64)
    false = np.zeros(objects, bool)
    area = np.full(objects, 1600.0)
    truth = replace(
        truth, images=many, labels=many, boxes=boxes, box_areas=area, areas=area, crowds=false, ignored=false,
        difficult=false,
    )  # fmt: skip
    detections = detector(truth, 0, per_image=0)
    rows = np.arange(found_of_100)
    detections = type(detections)(many[rows], many[rows], boxes[rows], area[rows], np.linspace(1, 0.5, found_of_100))
    expected = (np.linspace(0, 1, 101) <= found_of_100 / 100).sum() / 101 if found_of_100 else 0
    assert precision_cells(match(truth, detections), "all", 100)[0, 0] == pytest.approx(expected, abs=EXACT)


def truth_of(*boxes, **more):
    return {
        "images": [{"id": 1, "width": 200, "height": 200}],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [
            {"id": n + 1, "image_id": 1, "category_id": 1, "bbox": list(box), "area": box[2] * box[3], "iscrowd": 0}
            | {key: values[n] for key, values in more.items()}
            for n, box in enumerate(boxes)
        ],
    }


def detection(box, score=0.9):
    return {"image_id": 1, "category_id": 1, "bbox": list(box), "score": score}


def ap(folder, document, records, criterion):
    numbers = summary(match(*columns(folder, document, records), criterion))
    return numbers["AP"], numbers["AP50"]


def test_ap_under_giou_by_hand(tmp_path):
    """A square of side 100, and the same square moved; one of ten thresholds reached is AP 10."""
    document = truth_of((0, 0, 100, 100))
    # By 20, 20: intersection 6400, union 13600, hull 14400. IoU 0.4706, GIoU 0.4706 - 800 / 14400 = 0.4150: none.
    assert ap(tmp_path, document, [detection((20, 20, 100, 100))], "giou")[0] == 0
    # By 10, 10: 8100 / 11900 = 0.6807 and 0.6807 - 200 / 12100 = 0.6641: 0.50 to 0.65, four thresholds, by both.
    for criterion in ("iou", "giou"):
        assert ap(tmp_path, document, [detection((10, 10, 100, 100))], criterion)[0] == pytest.approx(40)
    # By 5, 25: 7125 / 12875 = 0.5534, two thresholds; hull 105 * 125 = 13125, GIoU 0.5343, one.
    moved = [detection((5, 25, 100, 100))]
    assert ap(tmp_path, document, moved, "iou")[0] == pytest.approx(20)
    assert ap(tmp_path, document, moved, "giou")[0] == pytest.approx(10)


def test_small_detection_in_a_large_crowd(tmp_path):
    """The clean rule ignores it; the authors' takes its own area as the union and makes it a false positive."""
    document = truth_of((0, 0, 10, 10), (50, 50, 100, 100), iscrowd=[0, 1])
    records = [detection((60, 60, 10, 10), 0.9), detection((0, 0, 10, 10), 0.5)]
    assert ap(tmp_path, document, records, "giou")[0] == pytest.approx(100)
    assert ap(tmp_path, document, records, "giou_paper")[0] == pytest.approx(50)


def test_voc_overlap_must_exceed_the_threshold(tmp_path):
    document = truth_of((0, 0, 10, 10))
    half = [detection((0, 0, 10, 5))]
    assert ap(tmp_path, document, half, "iou")[1] == pytest.approx(100)
    assert ap(tmp_path, document, half, "voc07")[1] == 0
    assert ap(tmp_path, document, [detection((0, 0, 10, 5.01))], "voc07")[1] == pytest.approx(100)


def test_voc_claims_only_the_best_object(tmp_path):
    """The second detection's best object is taken. COCO would give it the other one, VOC counts it as false."""
    document = truth_of((0, 0, 10, 10), (0, 0, 10, 8))
    records = [detection((0, 0, 10, 10), 0.9), detection((0, 0, 10, 9.5), 0.8)]
    assert ap(tmp_path, document, records, "iou")[1] == pytest.approx(100)
    # Recall 1/2 at precision 1: 6 of the 11 points; half of the area.
    assert ap(tmp_path, document, records, "voc07")[1] == pytest.approx(100 * 6 / 11)
    assert ap(tmp_path, document, records, "voc")[1] == pytest.approx(50)


def test_voc_skips_difficult_objects_which_coco_does_not(tmp_path):
    document = truth_of((0, 0, 10, 10), (50, 50, 10, 10), difficult=[0, 1])
    records = [detection((50, 50, 10, 10), 0.9), detection((0, 0, 10, 10), 0.8)]
    assert ap(tmp_path, document, records[1:], "voc")[1] == pytest.approx(100)
    assert ap(tmp_path, document, records, "voc")[1] == pytest.approx(100)
    assert ap(tmp_path, document, records[1:], "iou")[1] == pytest.approx(100 * 51 / 101)


def test_voc_giou_is_stricter(tmp_path):
    """GIoU 0.5344 where IoU is 0.5534: the threshold 0.55 tells them apart (see the test by hand above)."""
    document, records = truth_of((0, 0, 100, 100)), [detection((5, 25, 100, 100))]
    assert ap(tmp_path, document, records, "voc")[0] == pytest.approx(20)
    assert ap(tmp_path, document, records, "voc_giou")[0] == pytest.approx(10)
    assert ap(tmp_path, document, records, "voc07_giou")[0] == pytest.approx(10)


@pytest.mark.parametrize("threads", [2, 8])
def test_matches_do_not_depend_on_threads(threads):
    truth = population(5, 40, 12)
    detections = detector(truth, 6)
    one, many = (match(truth, detections, threads=number) for number in (1, threads))
    for name in ("detection", "image", "rank", "found", "true", "ignored", "starts"):
        assert np.array_equal(getattr(one, name), getattr(many, name))


def test_other_thresholds(tmp_path):
    document = truth_of((0, 0, 10, 10))
    data = columns(tmp_path, document, [detection((0, 0, 10, 8))])
    matches = match(*data, thresholds=np.array([0.5, 0.75, 0.8, 0.9, 1.0]))
    assert precision_cells(matches, "all", 100)[:, 0] == pytest.approx([1, 1, 1, 0, 0])
    assert summary(matches)["AP"] == pytest.approx(60)
    equal = match(*columns(tmp_path, document, [detection((0, 0, 10, 10))]), thresholds=np.array([0.5, 0.75, 1.0]))
    assert summary(equal)["AP"] == pytest.approx(100)
    with pytest.raises(ConfigError, match=r"do not hold 0\.75"):
        summary(match(*data, thresholds=np.array([0.5])))
    with pytest.raises(ConfigError, match="from 1 to 16"):
        match(*data, thresholds=np.linspace(0.5, 0.9, 17))


def test_unknown_criterion_is_refused(tmp_path):
    data = columns(tmp_path, truth_of((0, 0, 10, 10)), [])
    with pytest.raises(ConfigError, match="'diou' is not known; choose one of iou, giou"):
        match(*data, "diou")
    with pytest.raises(ConfigError, match="masks are matched by iou"):
        match(*data, "giou", masks=True)


def test_matches_are_kept_by_content(tmp_path, monkeypatch):
    truth = population(7, 10, 3)
    detections = detector(truth, 8, per_image=10)
    fresh = cached_match(tmp_path, truth, detections, criterion="giou")
    monkeypatch.setattr("replication.evaluation.matching.match", None)  # a second matching would fail
    kept = cached_match(tmp_path, truth, detections, criterion="giou")
    assert point(kept).metric("AP") == point(fresh).metric("AP")
    assert kept.class_names == fresh.class_names
    assert kept.criterion == "giou"
    for other in ({"criterion": "iou"}, {"criterion": "giou", "max_detections": 10}):
        with pytest.raises(TypeError):
            cached_match(tmp_path, truth, detections, **other)
    with pytest.raises(TypeError):
        cached_match(tmp_path, truth, detector(truth, 9, per_image=10), criterion="giou")


def test_only_the_latest_match_is_kept_and_a_broken_one_made_again(tmp_path):
    truth = population(7, 10, 3)
    one, two = (detector(truth, seed, per_image=10) for seed in (8, 9))
    cached_match(tmp_path, truth, one, criterion="iou")
    cached_match(tmp_path, truth, one, criterion="giou")
    expected = cached_match(tmp_path, truth, two, criterion="giou")
    assert sorted(path.name.split("-")[0] for path in tmp_path.iterdir()) == ["giou", "iou"]
    (path,) = tmp_path.glob("giou-*")
    for content in (b"", path.read_bytes()[:1000]):
        path.write_bytes(content)
        assert np.array_equal(cached_match(tmp_path, truth, two, criterion="giou").true, expected.true)


def test_verification_finds_a_wrong_match(tmp_path):
    truth = population(9, 10, 3)
    paths = write_pair(tmp_path, truth, detector(truth, 1, per_image=20))
    truth = read_ground_truth(paths[1])
    matches = match(truth, read_detections(paths[0], truth))
    assert verify(paths, matches, AreaRanges())["difference"] < EXACT
    matches.true[0, np.argmax(matches.true[0] > 0)] = 0
    with pytest.raises(ResultError, match=r"--verify: class class0, overlap 0\.\d\d, area all.*please report"):
        verify(paths, matches, AreaRanges())
    with pytest.raises(ConfigError, match="pycocotools has no VOC rules"):
        verify(paths, match(truth, read_detections(paths[0], truth), "voc"), AreaRanges())
