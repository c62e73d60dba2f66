"""The drop-in against pycocotools: all of precision, recall and scores, under changed parameters, boxes and masks."""

from __future__ import annotations

import contextlib
import copy
import io
from dataclasses import dataclass

import numpy as np
import pytest
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval as Reference
from support.simulation import coco_documents, detector, population

from replication.errors import ConfigError, DataError
from replication.evaluation.cocoeval import COCOeval

EXACT = {"rtol": 0, "atol": 1e-12}
CHANGES = {
    "as it is": {},
    "some images": {"imgIds": [3, 9, 30, 12, 60, 9]},
    "some categories, unordered": {"catIds": [4, 2, 7]},
    "one threshold": {"iouThrs": [0.5]},
    "twenty thresholds": {"iouThrs": np.linspace(0.05, 1.0, 20)},
    "other limits": {"maxDets": [20, 3, 7]},
    "limits of proposals": {"maxDets": [100, 300, 1000]},
    "one category": {"useCats": 0},
    "one of some categories, unordered": {"useCats": 0, "catIds": [5, 1, 3]},
    "five area ranges": {
        "areaRng": [[0, 1e10], [0, 400], [400, 900], [900, 5000], [5000, 1e5]],
        "areaRngLbl": ["all", "tiny", "small", "medium", "large"],
    },
    "eleven recalls": {"recThrs": np.linspace(0, 1, 11)},
}


@dataclass
class Pair:
    """One data set as pycocotools holds it, and as documents."""

    truth: COCO
    found: COCO
    documents: tuple[dict, list]


@pytest.fixture(scope="module")
def boxes() -> Pair:
    """60 images with crowds, ties of scores, a category without objects and one without detections."""
    truth = population(4, 60, 8)
    found = detector(truth, 4, per_image=30)
    document, records = coco_documents(truth, found)
    for record in records:
        record["score"] = round(record["score"], 1)
    document["categories"] += [{"id": 20, "name": "absent"}, {"id": 21, "name": "silent"}]
    document["annotations"][0] |= {"category_id": 21}
    return loaded(document, records)


@pytest.fixture(scope="module")
def masks() -> Pair:
    """20 images of 40 x 60 pixels: polygons, crowds as run-length codes, and detections that are shifted objects."""
    rng = np.random.default_rng(3)
    images = [{"id": i, "height": 40, "width": 60} for i in range(1, 21)]
    annotations, records = [], []
    for number in range(1, 120):
        x, y = rng.integers(0, 40), rng.integers(0, 24)
        w, h = rng.integers(4, 18), rng.integers(4, 14)
        image, category, crowd = int(rng.integers(1, 21)), int(rng.integers(1, 4)), int(number % 9 == 0)
        polygon = [[float(v) for v in (x, y, x + w, y, x + w, y + h, x, y + h)]]
        code = mask_utils.merge(mask_utils.frPyObjects(polygon, 40, 60))
        common = {"image_id": image, "category_id": category, "bbox": [float(v) for v in (x, y, w, h)]}
        area = float(mask_utils.area(code))
        text = {"size": code["size"], "counts": code["counts"].decode()}
        segmentation = text if crowd else polygon
        annotations.append(common | {"id": number, "area": area, "iscrowd": crowd, "segmentation": segmentation})
        for _ in range(rng.integers(0, 4)):
            dx, dy = rng.integers(-2, 3, 2)
            moved = [[float(v) for v in np.array(polygon[0]) + np.tile([dx, dy], 4)]]
            code = mask_utils.merge(mask_utils.frPyObjects(moved, 40, 60))
            text = {"size": code["size"], "counts": code["counts"].decode()}
            records.append(
                {"image_id": image, "category_id": category, "segmentation": text, "score": round(rng.random(), 2)}
            )
    names = [{"id": i, "name": f"c{i}"} for i in (1, 2, 3)]
    return loaded({"images": images, "categories": names, "annotations": annotations}, records)


def loaded(document, records) -> Pair:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(document)
        truth.createIndex()
        found = truth.loadRes(copy.deepcopy(records))
    return Pair(truth, found, (document, records))


def both(pair: Pair, kind: str, changes: dict, ours=None, accumulated: dict | None = None):
    evaluations = []
    for evaluation in (ours or COCOeval(pair.truth, pair.found, kind), Reference(pair.truth, pair.found, kind)):
        for name, value in changes.items():
            setattr(evaluation.params, name, copy.deepcopy(value))
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation.evaluate()
            params = copy.deepcopy(evaluation.params)
            for name, value in (accumulated or {}).items():
                setattr(params, name, value)
            evaluation.accumulate(params)
        evaluations.append(evaluation)
    return evaluations


def same(ours, reference) -> None:
    assert ours.eval["counts"] == reference.eval["counts"]
    for name in ("precision", "recall", "scores"):
        assert ours.eval[name].shape == reference.eval[name].shape
        np.testing.assert_allclose(ours.eval[name], reference.eval[name], **EXACT)


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_boxes_equal_pycocotools(boxes, changes):
    ours, reference = both(boxes, "bbox", changes)
    same(ours, reference)
    for name in ("imgIds", "maxDets", *(["catIds"] if reference.params.useCats else [])):
        assert list(getattr(ours.params, name)) == list(getattr(reference.params, name))


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_masks_equal_pycocotools(masks, changes):
    changes = changes | ({"imgIds": [2, 1, 7]} if "imgIds" in changes else {})
    changes = changes | ({"catIds": [3, 1]} if "catIds" in changes else {})
    ours, reference = both(masks, "segm", changes)
    same(ours, reference)
    assert (ours.eval["precision"] > 0).any()


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_documents_are_taken_as_well(boxes, masks, kind):
    pair = boxes if kind == "bbox" else masks
    same(*both(pair, kind, {}, COCOeval(*pair.documents, kind)))


def test_ours_may_be_restricted_too(masks):
    changes = {"imgIds": [2, 1, 7, 8, 9, 10], "catIds": [3, 1], "useCats": 0}
    same(*both(masks, "segm", changes, COCOeval(*masks.documents, "segm")))


def test_accumulate_takes_the_first_of_what_was_evaluated_as_pycocotools_does(boxes):
    part = {"catIds": [1, 2, 3], "imgIds": [3, 6, 9, 12], "areaRng": [[0, 1e5**2]], "maxDets": [1, 10]}
    part["recThrs"] = np.array([0.1, 0.55])
    same(*both(boxes, "bbox", {}, accumulated=part))


def test_accumulate_takes_any_part_where_pycocotools_takes_the_first_ones(boxes):
    part = {"catIds": [2, 5], "imgIds": [6, 12, 30, 33, 60], "areaRng": [[32**2, 96**2]]}
    ours, wrong = both(boxes, "bbox", {}, accumulated=part)
    _, right = both(boxes, "bbox", part | {"areaRngLbl": ["medium"]})
    same(ours, right)
    assert not np.allclose(wrong.eval["precision"], right.eval["precision"])


def test_no_detection_at_all(boxes):
    with contextlib.redirect_stdout(io.StringIO()):
        found = COCO()
        found.dataset = {**boxes.truth.dataset, "annotations": []}
        found.createIndex()
    same(*both(Pair(boxes.truth, found, boxes.documents), "bbox", {}))


@pytest.mark.parametrize("changes", ["as it is", "limits of proposals", "other limits"])
def test_the_summary_is_the_same_text_and_numbers(boxes, changes):
    texts, stats = [], []
    for evaluation in both(boxes, "bbox", CHANGES[changes]):
        with contextlib.redirect_stdout(io.StringIO()) as text:
            evaluation.summarize()
        texts.append(text.getvalue())
        stats.append(evaluation.stats)
    np.testing.assert_allclose(*stats, **EXACT)
    assert texts[0] == texts[1]
    assert len(stats[0]) == 12


@pytest.mark.parametrize("verb", ["accumulate", "summarize"])
def test_steps_out_of_order_are_refused(boxes, verb):
    with pytest.raises(ConfigError, match=f"COCOeval.{verb}: run"):
        getattr(COCOeval(boxes.truth, boxes.found, "bbox"), verb)()


def test_key_points_are_refused(boxes):
    with pytest.raises(ConfigError, match="'keypoints' is not evaluated"):
        COCOeval(boxes.truth, boxes.found, "keypoints")


def test_masks_of_files_without_masks_are_refused(boxes):
    with pytest.raises(DataError, match="'segm', but objects or detections have no segmentation"):
        COCOeval(*boxes.documents, "segm")
