"""Trained detectors on images of a test server: image info without annotations."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from replication import cli
from replication.catalog import Protocol, load_catalog, load_protocol
from replication.datasets import load_split, prepare
from replication.datasets.splits import coco_paths
from replication.errors import ConfigError, DataError, ResultError
from replication.evaluation import Options, evaluate
from replication.evaluation.runs import evaluate_run
from replication.formats.coco import read_image_info
from replication.inference.detect import detect
from replication.inference.foreign import detect_images
from replication.results.run import Run
from replication.training.run import train


@pytest.fixture
def trained(job: Run) -> Run:
    prepare(job.protocol, job.results)
    train(job)
    return job


def image_info(job: Run, folder: Path, **change: Any) -> tuple[Path, Path]:
    """The validation images as a test server's, in reverse order; and where they lie."""
    (annotations, images), *_ = coco_paths(job.protocol.data, "val")
    document = json.loads(annotations.read_text())
    kept = {"info": {}, "images": document["images"][::-1], "categories": document["categories"]}
    path = folder / "image_info_test-dev2017.json"
    path.write_text(json.dumps(kept | change))
    return path, images


def submission(job: Run, protocol: Path, images: Path, folder: Path) -> int:
    where = ["--protocol", str(protocol), "--results", str(job.results), "--variant", job.variant.name]
    return cli.main(["submission", *where, "--images", str(images), "--image-folder", str(folder)])


def finding_all(name: str, results: Path, path: Path) -> Run:
    """A run whose scores need not be good to be detections; its protocol is written to ``path``."""
    smoke = load_protocol("smoke").model_dump(mode="json")
    lowered = {"MODEL.RETINANET.SCORE_THRESH_TEST": 0.0, "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0}
    overrides = smoke["overrides"] | {"all": smoke["overrides"]["all"] | lowered}
    path.write_text(json.dumps(smoke | {"name": "own", "overrides": overrides}))
    return Run(load_catalog().variants[name], load_protocol(str(path)), 0, results)


def content(path: Path) -> list[dict[str, Any]]:
    with zipfile.ZipFile(path) as archive:
        records: list[dict[str, Any]] = json.loads(archive.read(archive.namelist()[0]))
    return records


@pytest.mark.parametrize("name", ["mask_rcnn_R50_giou", "fsaf_R50"])
def test_on_the_same_images_it_finds_the_same(tmp_path: Path, name: str, capfd):
    """It needs no annotations, not even for the levels that FSAF's objects select."""
    protocol = tmp_path / "own.yaml"
    job = finding_all(name, tmp_path / "results", protocol)
    prepare(job.protocol, job.results)
    train(job)
    found = json.loads(detect(job).read_text())
    assert found
    (job.folder / "levels.json").unlink(missing_ok=True)
    capfd.readouterr()
    assert submission(job, protocol, *image_info(job, tmp_path)) == 0
    paths = [Path(line) for line in capfd.readouterr().out.splitlines() if line.endswith(".zip")]
    suffixes = {"": "bbox", "-segm": "segmentation"} if job.variant.masks else {"": "bbox"}
    folder = job.results / "own" / "submission"
    assert paths == [folder / f"detections_test-dev2017_{name}-seed0{end}_results.zip" for end in suffixes]
    for path, field in zip(paths, suffixes.values(), strict=True):
        records = content(path)
        assert records[0]["image_id"] == max(one["image_id"] for one in records)
        expected = [{key: one[key] for key in ("image_id", "category_id", field, "score")} for one in found]
        assert sorted(records, key=lambda one: one["image_id"]) == expected
    assert not (job.folder / "levels.json").exists()


def test_a_detector_without_a_limit_sends_its_best_hundred(tmp_path: Path):
    """YOLOv3, untrained, finds thousands of boxes an image."""
    job = finding_all("yolov3_D53_giou", tmp_path / "results", tmp_path / "own.yaml")
    prepare(job.protocol, job.results)
    train(job)
    found = json.loads(detect(job).read_text())
    sent = detect_images(job, *image_info(job, tmp_path))
    for image in {one["image_id"] for one in found}:
        every = sorted((one["score"] for one in found if one["image_id"] == image), reverse=True)
        assert len(every) > 100
        assert [one["score"] for one in sent if one["image_id"] == image] == every[:100]


def test_table_3_of_giou_is_submitted_with_the_server_s_image_ids(tmp_path: Path, capfd):
    """YOLOv3 on images whose ids and names are test-dev's, which no run has seen, by the command."""
    protocol = tmp_path / "own.yaml"
    job = finding_all("yolov3_D53_mse", tmp_path / "results", protocol)
    prepare(job.protocol, job.results)
    train(job)
    path, images = image_info(job, tmp_path)
    info, served = json.loads(path.read_text()), tmp_path / "test2017"
    served.mkdir()
    for number, image in enumerate(info["images"]):
        name = f"{581_000 + number:012d}.jpg"
        (served / name).write_bytes((images / image["file_name"]).read_bytes())
        image |= {"id": 581_000 + number, "file_name": name}
    path.write_text(json.dumps(info))
    capfd.readouterr()
    assert submission(job, protocol, path, served) == 0
    (archive,) = [Path(line) for line in capfd.readouterr().out.splitlines() if line.endswith(".zip")]
    assert archive.name == "detections_test-dev2017_yolov3_D53_mse-seed0_results.zip"
    records = content(archive)
    counts = Counter(one["image_id"] for one in records)
    assert counts == {image["id"]: 100 for image in info["images"]}
    sizes = {image["id"]: (image["width"], image["height"]) for image in info["images"]}
    for one in records:
        x, y, width, height = one["bbox"]
        assert set(one) == {"image_id", "category_id", "bbox", "score"}
        assert 0 <= x < x + width <= sizes[one["image_id"]][0] + 1e-3
        assert 0 <= y < y + height <= sizes[one["image_id"]][1] + 1e-3


def test_its_detections_evaluate_to_the_run_s_numbers(tmp_path: Path):
    job = finding_all("fsaf_R50", tmp_path, tmp_path / "own.yaml")
    truth = prepare(job.protocol, job.results).with_name("ground_truth.json")
    train(job)
    detect(job)
    measured = evaluate_run(job)
    assert measured["metrics"]["AR100"] > 0
    (tmp_path / "again.json").write_text(json.dumps(detect_images(job, *image_info(job, tmp_path))))
    again = evaluate(tmp_path / "again.json", truth, Options(area_ranges=job.protocol.area_ranges))
    assert again["metrics"] == measured["metrics"]


def test_what_it_refuses(trained: Run, tmp_path: Path):
    path, images = image_info(trained, tmp_path)
    classes = json.loads(path.read_text())["categories"]
    for change, message in (
        ({"categories": classes[:-1]}, rf"image_info_test-dev2017\.json: categories: not .* {classes[-1]['id']} "),
        ({"categories": [classes[0] | {"name": "other"}, *classes[1:]]}, "'other'"),
        ({"categories": []}, "categories: the list is empty"),
        ({"images": [{"id": 1, "file_name": "a.png", "height": 0, "width": 3}]}, "1 of 1 image files"),
        ({"images": [{"id": 1, "height": 2, "width": 3}]}, r"images\[0\] \(1\): file_name is missing"),
        (
            {"images": [{"id": 1, "file_name": "no.png", "height": 2, "width": 3}] * 2},
            r"\[1\]: id 1 occurs twice",
        ),
        (
            {"images": [{"id": 1, "file_name": "no.png", "height": 2, "width": 3}]},
            r"1 of 1 .*first 'no\.png'",
        ),
    ):
        with pytest.raises(DataError, match=message):
            detect_images(trained, *image_info(trained, tmp_path, **change))
    with pytest.raises(DataError, match=r"absent\.json: no such file"):
        detect_images(trained, tmp_path / "absent.json", images)
    with pytest.raises(ResultError, match="train the run first"):
        detect_images(Run(trained.variant, trained.protocol, 1, trained.results), path, images)


def test_variants_and_data_that_cannot_be_run_elsewhere(job: Run, tmp_path: Path):
    variants = load_catalog().variants
    fixed = Run(variants["fast_rcnn_R50"], job.protocol, 0, job.results)
    with pytest.raises(ConfigError, match="fast_rcnn_R50: is tested on the proposals of rpn_R50"):
        detect_images(fixed, tmp_path, tmp_path)
    voc = Run(variants["faster_rcnn_R50_voc_giou"], load_protocol("paper_voc"), 0, job.results)
    with pytest.raises(ConfigError, match="--images: protocol paper_voc has data in VOC's form"):
        detect_images(voc, tmp_path, tmp_path)


def test_on_coco_photographs(coco_photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Classes whose ids have gaps; images of the training set stand for a test server's."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(coco_photographs))
    smoke = load_protocol("smoke").model_dump()
    parts = {
        split: {"annotations": f"annotations/instances_{split}2017_ccby.json", "images": f"{split}2017"}
        for split in ("train", "val")
    }
    more = {"name": "own", "data": {"kind": "coco", **parts}, "area_ranges": {}}
    protocol = Protocol.model_validate(smoke | more)
    job = Run(load_catalog().variants["faster_rcnn_R50_giou"], protocol, 0, tmp_path)
    prepare(protocol, tmp_path)
    train(job)
    document = json.loads((coco_photographs / "annotations" / "instances_train2017_ccby.json").read_text())
    document["images"], document["annotations"] = document["images"][:6], "not read"
    path = tmp_path / "image_info_test2017.json"
    path.write_text(json.dumps(document))
    images = coco_photographs / "train2017"
    ids = tuple(category.id for category in read_image_info(path).categories)
    assert ids == load_split(protocol, "val").category_ids
    found = detect_images(job, path, images)
    assert {one["image_id"] for one in found} <= {one["id"] for one in document["images"]}
    assert {one["category_id"] for one in found} <= {one["id"] for one in document["categories"]}
    sizes = {one["id"]: (one["width"], one["height"]) for one in document["images"]}
    for one in found:
        x, y, width, height = one["bbox"]
        assert x >= 0
        assert y >= 0
        assert x + width <= sizes[one["image_id"]][0] + 1e-3
        assert y + height <= sizes[one["image_id"]][1] + 1e-3
