"""The public functions: every form of input gives the same numbers, and nothing is imported before it is needed."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import io
import json
import subprocess
import sys
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from pycocotools.coco import COCO
from support.simulation import coco_documents, detector, population

import replication
from replication.errors import ConfigError, DataError, ResultError

DOCTESTS = (
    "replication.api",
    "replication.evaluation.cocoeval",
    "replication.verdicts.arm_reading",
    "replication.verdicts.sequential",
)


class Tensor:
    """What is needed of a tensor of torch on another device."""

    def __init__(self, values) -> None:
        self.values = np.asarray(values)

    def detach(self):
        return self

    def cpu(self):
        return self.values

    def tolist(self):
        return self.values.tolist()

    def __array__(self, *_, **__):
        raise TypeError("can't convert a tensor on a device to numpy")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Ground truth and detections in every form."""
    folder = tmp_path_factory.mktemp("api")
    truth = population(5, 40, 4, tail=0.7)
    found = detector(truth, 5, per_image=12)
    document, records = coco_documents(truth, found)
    for name, content in (("truth", document), ("found", records)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(folder / "truth.json"))
        loaded = coco.loadRes(str(folder / "found.json"))
    arrays = {
        "image_ids": truth.image_ids[found.images],
        "class_ids": truth.class_ids[found.labels],
        "boxes": found.boxes,
        "scores": found.scores,
    }
    return {
        "truth": {"path": folder / "truth.json", "text": str(folder / "truth.json"), "dict": document, "COCO": coco},
        "found": {
            "path": folder / "found.json",
            "records": records,
            "arrays": arrays,
            "tensors": {key: Tensor(value) for key, value in arrays.items()},
            "lists": {key: value.tolist() for key, value in arrays.items()},
            "COCO": loaded,
        },
    }


def numbers(result) -> list[float]:
    return [result[name] for name in ("AP", "AP50", "APs", "AR100")]


@pytest.mark.parametrize("form", ["path", "text", "dict", "COCO"])
def test_forms_of_ground_truth(made, form):
    expected = numbers(replication.evaluate(made["truth"]["path"], made["found"]["path"]))
    assert numbers(replication.evaluate(made["truth"][form], made["found"]["path"])) == expected


@pytest.mark.parametrize("form", ["records", "arrays", "tensors", "lists", "COCO"])
def test_forms_of_detections(made, form):
    expected = numbers(replication.evaluate(made["truth"]["path"], made["found"]["path"]))
    # Corners hold an extent to their own last bit only.
    assert numbers(replication.evaluate(made["truth"]["dict"], made["found"][form])) == pytest.approx(
        expected, abs=1e-9
    )


def test_torch_tensors_are_taken(made):
    torch = pytest.importorskip("torch")
    tensors = {key: torch.as_tensor(value, dtype=None) for key, value in made["found"]["arrays"].items()}
    tensors["boxes"].requires_grad_()
    expected = numbers(replication.evaluate(made["truth"]["dict"], made["found"]["arrays"]))
    assert numbers(replication.evaluate(made["truth"]["dict"], tensors)) == expected


def test_masks_of_pycocotools_are_taken_as_bytes():
    from pycocotools import mask as mask_utils

    code = mask_utils.encode(np.asfortranarray(np.pad(np.ones((10, 20), np.uint8), 5)))
    text = {"size": code["size"], "counts": code["counts"].decode()}
    truth = {
        "images": [{"id": 1, "height": 20, "width": 30}],
        "categories": [{"id": 1, "name": "box"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 20, 10], "area": 200, "segmentation": text}
        ],
    }
    found = [{"image_id": 1, "category_id": 1, "score": np.float32(0.5), "segmentation": code}]
    result = replication.evaluate(truth, found, masks=True)
    assert result.mask_metrics["AP"] == pytest.approx(100)
    with pytest.raises(ResultError, match="masks: objects or detections have no segmentation"):
        replication.evaluate(
            truth, [{"image_id": 1, "category_id": 1, "score": 0.5, "bbox": [5, 5, 20, 10]}], masks=True
        )


def test_an_evaluation_is_a_frozen_record(made):
    result = replication.evaluate(made["truth"]["path"], made["found"]["path"], "giou", bootstrap=100, seed=3)
    assert result.criterion == "giou"
    assert result.intervals["AP"]["low"] < result["AP"] < result.intervals["AP"]["high"]
    assert json.loads(json.dumps(result.to_dict()))["metrics"]["AP"] == result["AP"]
    with pytest.raises(FrozenInstanceError):
        result.images = 3  # type: ignore[misc]
    assert replication.evaluate(made["truth"]["path"], made["found"]["path"]).intervals is None


def test_an_evaluation_as_a_data_frame(made):
    pytest.importorskip("pandas")
    result = replication.evaluate(made["truth"]["path"], made["found"]["path"])
    frame = result.to_dataframe()
    assert frame.loc["class1", "AP"] == result.per_class["class1"]["AP"]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"boxes": []}, "detections: key 'image_ids' is missing; arrays of detections are image_ids, class_ids"),
        (3, "detections: a int cannot be read as detections"),
        ([{"image_id": 3}], r"detections: detections\[0\]: "),
        (
            [{"image_id": 4, "category_id": 1, "score": 1.0, "bbox": [0, 0, 1, 1]}],
            r"image_id 4 is not in the ground truth",
        ),
        ([{"image_id": object()}], "detections: cannot be written as JSON"),
        (
            {"image_ids": [3], "class_ids": [1], "boxes": [[0, 0, 5, 5]], "scores": [1.0, 2.0]},
            "detections: scores: has 2",
        ),
    ],
)
def test_wrong_detections_are_named_without_a_path(made, found, message):
    with pytest.raises(ResultError, match=message) as error:
        replication.evaluate(made["truth"]["dict"], found)
    assert "/tmp" not in str(error.value)
    assert "memory" not in str(error.value)


@pytest.mark.parametrize(("truth", "message"), [([], "truth: a list is not ground truth"), ({}, "truth: ")])
def test_wrong_ground_truth_is_named(truth, message):
    with pytest.raises(DataError, match=message):
        replication.evaluate(truth, [])


def test_compare_takes_what_evaluate_takes(made, tmp_path):
    truth = population(5, 40, 4, tail=0.7)
    arms, files = {"A": [], "B": []}, {"A": [], "B": []}
    for name, skill in (("A", 0.8), ("B", 1.4)):
        for seed in range(2):
            _, records = coco_documents(truth, detector(truth, 10 * seed + ord(name), skill, per_image=10))
            path = tmp_path / f"{name}_{seed}.json"
            path.write_text(json.dumps(records))
            arms[name].append(records)
            files[name].append(path)
    one = replication.compare(made["truth"]["dict"], arms, bootstrap=100)
    other = replication.compare(made["truth"]["path"], files, bootstrap=100)
    assert one.sentence == other.sentence
    assert one.contrasts == other.contrasts
    assert one.arms[0].files == ("A[0]", "A[1]")
    assert isinstance(one, replication.ArmComparison)
    with pytest.raises(FrozenInstanceError):
        one.images = 3  # type: ignore[misc]
    with pytest.raises(ResultError, match=r"B\[0\]: the same detections as A\[0\], but in arm B and arm A"):
        replication.compare(made["truth"]["dict"], {"A": arms["A"], "B": arms["A"]}, bootstrap=100)


def test_the_evaluator_collects_batches(made):
    arrays = made["found"]["arrays"]
    evaluator = replication.Evaluator(made["truth"]["path"])
    for image in np.unique(arrays["image_ids"])[::-1]:
        own = arrays["image_ids"] == image
        evaluator.update(
            int(image), Tensor(arrays["boxes"][own]), arrays["scores"][own], Tensor(arrays["class_ids"][own])
        )
    assert numbers(evaluator.compute()) == pytest.approx(
        numbers(replication.evaluate(made["truth"]["path"], arrays)), abs=1e-9
    )
    assert evaluator.compute(bootstrap=50).intervals is not None
    evaluator.reset()
    evaluator.update(3, [], [], [])
    assert evaluator.compute()["AP"] == 0


def test_the_evaluator_copies_what_it_is_given(made):
    boxes = made["found"]["arrays"]["boxes"][:1].copy()
    evaluator = replication.Evaluator(made["truth"]["path"])
    evaluator.update(3, boxes, [0.5], [1])
    boxes[:] = 0
    assert evaluator.detections()["boxes"].any()


def test_the_evaluator_refuses_lengths_that_differ(made):
    evaluator = replication.Evaluator(made["truth"]["path"])
    with pytest.raises(ConfigError, match="update: image 3: 2 boxes, 1 scores and 2 class_ids"):
        evaluator.update(3, np.zeros((2, 4)), [0.5], [1, 2])


def test_importing_the_package_imports_nothing_else():
    code = "import sys; before = set(sys.modules); import replication; dir(replication); print({*sys.modules} - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = [
        name for name in eval(done.stdout) if name.split(".")[0] in ("numpy", "scipy", "numba", "pydantic", "torch")
    ]
    assert loaded == []


def test_torch_and_pandas_are_never_imported(made, tmp_path):
    code = (
        "import sys, replication; "
        f"replication.evaluate({str(made['truth']['path'])!r}, {str(made['found']['path'])!r}); "
        "print([name for name in ('torch', 'pandas', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "[]\n"


def test_all_public_names_are_there():
    assert all(hasattr(replication, name) for name in replication.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'COCOEval'"):
        _ = replication.COCOEval  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", DOCTESTS)
def test_examples_in_docstrings(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
