"""Precision-recall, classes, sizes and confusions of a table, and the images on which the rows of a claim differ."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from replication.export.archive import archive
from replication.report import claim_images as module
from replication.report.cells import compare, compare_all
from replication.report.claim_images import claim_images
from replication.report.outcomes import outcome_drawings
from replication.report.page import write_report
from replication.results.files import write_json

CLASSES = {
    "salt & <pepper>": {"AP": 40.0, "objects": 12},
    "dog": {"AP": 20.0, "objects": 7},
    "none there": {"AP": None},
}


def outcomes(hits: int) -> dict:
    curve = [round(1 - n / 100, 4) for n in range(101)]
    return {
        "precision": [curve, [0.0] * 101], "confusion_score": 0.25,
        "confusion": [[hits, 1, 0, 19 - hits], [0, 5, 0, 5], [0, 0, 0, 0], [3, 1, 0, 0]],
    }  # fmt: skip


@pytest.fixture
def detailed(add_run):
    for variant in ("base", "giou"):
        for seed in range(2):
            add_run(variant, seed, 30 + seed, per_class=CLASSES, outcomes=outcomes(10 + 4 * seed))


def test_drawings_of_a_table(detailed, catalog, protocol, results):
    drawings = {one.name: one for one in outcome_drawings(compare(catalog, "giou-T5", protocol, results))}
    assert list(drawings) == [f"giou-T5_{kind}" for kind in ("precision", "classes", "sizes", "confusion")]
    for one in drawings.values():
        assert "<title>giou-T5: " in one.svg
        assert "lowest to the highest" in one.caption or "between seeds" in one.caption
    assert "salt &amp; &lt;pepper&gt; (12)" in drawings["giou-T5_classes"].svg
    assert "none there" not in drawings["giou-T5_classes"].svg
    assert "0.25 to 0.25" in drawings["giou-T5_confusion"].caption
    # (10 + 5) and (14 + 5) of 30 objects.
    assert "at most 13.3 points between seeds" in drawings["giou-T5_confusion"].caption
    numbers = re.findall(r">\s*(\d+)\s*</text>", drawings["giou-T5_confusion"].svg)
    # A row's mean of 10 and 14 of 20 objects is 60 percent, a single confusion of 20 is 5.
    assert numbers.count("60") == numbers.count("5") == 2
    again = outcome_drawings(compare(catalog, "giou-T5", protocol, results))
    assert [one.svg for one in again] == [one.svg for one in drawings.values()]


def test_runs_of_an_older_version_have_no_curves_and_the_page_says_so(catalog, protocol, results, add_run):
    add_run("base", per_class=CLASSES, outcomes=outcomes(10))
    add_run("base", 1)
    assert [one.name for one in outcome_drawings(compare(catalog, "giou-T5", protocol, results))] == [
        "giou-T5_classes",
        "giou-T5_sizes",
    ]
    page = write_report(catalog, protocol, results, ["giou-T5"]).read_text()
    assert "evaluated by a version that did not keep them" in page
    assert "they need detections, ground truth and image files" in page


def test_proposals_have_no_classes(catalog, protocol, results, add_run):
    add_run("base", metrics={"AR1000": 60.0})
    assert outcome_drawings(compare(catalog, "giou-T5", protocol, results)) == []


def test_many_classes_are_a_matrix_without_names(catalog, protocol, results, add_run):
    names = {f"class {n}": {"AP": 1.0} for n in range(30)}
    confusion = [[10 * (row == column) for column in range(31)] for row in range(31)]
    add_run("base", per_class=names, outcomes=outcomes(1) | {"confusion": confusion})
    drawings = {one.name: one for one in outcome_drawings(compare(catalog, "giou-T5", protocol, results))}
    assert "class 7" in drawings["giou-T5_classes"].svg
    assert "class 7" not in drawings["giou-T5_confusion"].svg
    assert "between seeds" not in drawings["giou-T5_confusion"].caption


def test_the_page_of_an_archive_is_the_page_of_the_runs(detailed, catalog, protocol, results, tmp_path):
    """Curves are thinned, but what is drawn and computed of them is not another for that."""
    for variant in ("base", "giou"):
        for seed in range(2):
            lines = [
                {"iteration": n, "loss_cls": 1 / n, "loss_box_reg": n % 7, "total_loss": 9.0} for n in range(1, 204)
            ]
            path = results / "mini" / "runs" / variant / f"seed{seed}" / "curves.jsonl"
            path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
            document = json.loads((path.parent / "metrics.json").read_text()) | {"box_loss_share": 33.0}
            (path.parent / "metrics.json").write_text(json.dumps(document))
    page = write_report(catalog, protocol, results, ["giou-T5"])
    kept = archive(protocol, results, tmp_path / "archive")
    lines = (kept / "runs" / "base" / "seed0" / "curves.jsonl").read_text().splitlines()
    assert len(lines) < 60
    (kept / "archive.json").unlink()
    again = write_report(catalog, protocol, tmp_path / "archive", ["giou-T5"])
    assert again.read_text() == page.read_text()
    assert "33.0" in page.read_text()


@pytest.fixture
def scene(add_run, results, tmp_path, monkeypatch) -> Path:
    """Four images of one object each: the baseline finds those of the first two, GIoU those of the last three."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    folder, box = tmp_path / "data" / "digits", [10.0, 10.0, 20.0, 20.0]
    folder.mkdir(parents=True)
    for image in range(1, 5):
        Image.new("RGB", (64, 48), (90, 120, 150)).save(folder / f"{image}.png")
    here = results / "mini"
    truth = {
        "images": [{"id": n, "width": 64, "height": 48, "file_name": f"{n}.png"} for n in range(1, 5)],
        "categories": [{"id": 1, "name": "dog & <cat>"}],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1, "bbox": box, "area": 400.0, "iscrowd": 0} for n in range(1, 5)
        ],
    }
    for variant, images in (("base", (1, 2)), ("giou", (2, 3, 4))):
        run = add_run(variant)
        found = [{"image_id": n, "category_id": 1, "bbox": box, "score": 0.9} for n in images]
        (run / "detections.json").write_text(json.dumps(found))
    (here / "ground_truth.json").write_text(json.dumps(truth))
    splits = {"val": {"folder": "digits", "images": 4, "objects": 4}}
    write_json(here / "data.json", "data/1", {"data_hash": "d", "splits": splits})
    return folder


def test_images_on_which_the_rows_of_a_claim_differ(scene, catalog, protocol, results):
    comparisons = compare_all(catalog, ["giou-T5", "libra-T1"], protocol, results)
    (one,) = claim_images(comparisons, results)
    assert (one.id, one.row, one.baseline) == ("giou-T5/giou", "GIoU", "smooth L1")
    assert [image.name for image in one.shown] == ["3.png", "4.png", "1.png", "2.png"]
    # Without image 1 the baseline loses one of two, without image 2 both rows lose one.
    assert one.shown[2].influence == min(image.influence for image in one.shown) < 0 < one.shown[0].influence
    first = dict(one.shown[0].panels)
    assert {name: len(boxes) for name, boxes in first.items()} == {"objects": 1, "smooth L1": 0, "GIoU": 1}
    page = write_report(catalog, protocol, results, ["giou-T5"]).read_text()
    section = page[page.index('id="differing"') : page.index('id="deviations"')]
    assert 'href="#differing-1-1-large"' in section
    assert 'id="differing-1-1-large"' in section
    assert "dog &amp; &lt;cat&gt; 0.90" in section
    assert "<script" not in section


def test_images_stay_within_their_bytes(scene, catalog, protocol, results, monkeypatch):
    comparisons = compare_all(catalog, ["giou-T5"], protocol, results)
    monkeypatch.setattr(module, "BYTES", 100)
    assert claim_images(comparisons, results) == []


@pytest.mark.parametrize("missing", ["images", "ground_truth.json", "data.json", "detections"])
def test_without_files_there_are_none(scene, catalog, protocol, results, missing):
    if missing == "images":
        shutil.rmtree(scene)
    elif missing == "detections":
        (results / "mini" / "runs" / "giou" / "seed0" / "detections.json").unlink()
    else:
        (results / "mini" / missing).unlink()
    assert claim_images(compare_all(catalog, ["giou-T5"], protocol, results), results) == []
