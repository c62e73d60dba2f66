"""Every known difference from pycocotools, one file each: told as the reason of different numbers.

docs/explanation/pycocotools.md has the list.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pycocotools import mask as mask_utils

from replication.evaluation import Options, evaluate

Content = Any


def ignored(truth: Content, found: Content) -> None:
    for annotation in truth["annotations"][::3]:
        annotation["ignore"] = 1


def zero_id(truth: Content, found: Content) -> None:
    truth["annotations"][0]["id"] = 0
    box = truth["annotations"][0]["bbox"]
    keys = ("image_id", "category_id")
    found.append({key: truth["annotations"][0][key] for key in keys} | {"bbox": box, "score": 0.99})


def flags_as_text(truth: Content, found: Content) -> None:
    for annotation in truth["annotations"]:
        annotation["iscrowd"] = "0"


def boxes_of_masks(truth: Content, found: Content) -> None:
    cut_in_half(truth, found)


def some_boxes(truth: Content, found: Content) -> None:
    cut_in_half(truth, found[1::2])


def cut_in_half(truth: Content, records: Content) -> None:
    """Triangles in place of boxes, of half their area."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    for record in records:
        x, y, w, h = record.pop("bbox")
        code = mask_utils.frPyObjects([[x, y, x + w, y, x, y + h]], *sizes[record["image_id"]])[0]
        record["segmentation"] = {"size": code["size"], "counts": code["counts"].decode()}


CASES: dict[Callable[[Content, Content], None], str] = {
    ignored: "pycocotools overwrites it by 'iscrowd'",
    zero_id: "an annotation has id 0",
    flags_as_text: "pycocotools takes any text for 1",
    boxes_of_masks: "by the masks' areas, not the boxes'",
    some_boxes: "pycocotools goes by the first record",
}


@pytest.fixture
def pair(golden: Path) -> tuple[Content, Content]:
    """Ground truth and detections on which both agree: without ``ignore``."""
    truth = json.loads((golden / "coco" / "truth.json").read_text())
    for annotation in truth["annotations"]:
        annotation.pop("ignore", None)
    return truth, json.loads((golden / "coco" / "boxes.json").read_text())


def verified(folder: Path, truth: Content, found: Content) -> dict[str, Any]:
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "found.json").write_text(json.dumps(found))
    result: dict[str, Any] = evaluate(folder / "found.json", folder / "truth.json", Options(verify=True))["verified"]
    return result["boxes"]


def test_without_them_every_cell_is_equal(pair: tuple[Content, Content], tmp_path: Path) -> None:
    assert verified(tmp_path, *pair)["difference"] <= 1e-12


@pytest.mark.parametrize("change", CASES, ids=lambda change: change.__name__)
def test_every_reason_is_told(
    change: Callable[[Content, Content], None], pair: tuple[Content, Content], tmp_path: Path
) -> None:
    change(*pair)
    answer = verified(tmp_path, *pair)
    assert answer["difference"] is None or answer["difference"] > 1e-12
    assert any(CASES[change] in reason for reason in answer["reasons"])
