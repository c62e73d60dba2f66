"""Submissions read back: they hold what the run found, in the servers' form, and give the run's own numbers."""

from __future__ import annotations

import gzip
import json
import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from support.voc_folder import write_voc_folder, zero_based

from replication import cli
from replication.catalog import Protocol, load_catalog, load_protocol
from replication.errors import ConfigError, ResultError
from replication.evaluation import Options, evaluate
from replication.evaluation.matching import match
from replication.evaluation.runs import evaluate_run
from replication.evaluation.summary import summary
from replication.export import submit_run, write_coco
from replication.formats.detections import read_detections
from replication.formats.truth import read_ground_truth
from replication.results.files import write_json
from replication.results.run import Run


def finished(protocol: Protocol, variant: str, results: Path, truth: Any, found: Any) -> Run:
    """A run's folder with everything that is evaluated and submitted."""
    run = Run(load_catalog().variants[variant], protocol, 1, results)
    made = {"data_hash": "d", "config_hash": "c", "fingerprint": "f"}
    write_json(run.files.provenance, "provenance/1", made)
    write_json(results / protocol.name / "data.json", "data/1", {"data_hash": "d"})
    (results / protocol.name / "ground_truth.json").write_text(json.dumps(truth))
    run.files.detections.write_text(json.dumps(found))
    return run


def unzipped(path: Path, folder: Path) -> Path:
    """The one file of a zip, named as the server asks."""
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [f"{path.stem}.json"]
        return Path(archive.extract(archive.namelist()[0], folder))


def at_most_a_hundred(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The best of each image, in file order: the server takes no more."""
    kept: Counter[int] = Counter()
    best: set[int] = set()
    for index in sorted(range(len(found)), key=lambda index: -found[index]["score"]):
        image = found[index]["image_id"]
        if kept[image] < 100:
            kept[image] += 1
            best.add(index)
    return [one for index, one in enumerate(found) if index in best]


def test_coco_boxes(golden: Path, tmp_path: Path):
    truth, found = (json.loads((golden / "coco" / f"{name}.json").read_text()) for name in ("truth", "boxes"))
    boxes_come_back(truth, at_most_a_hundred(found), tmp_path)


def test_coco_boxes_of_a_published_detector(shared: Path, tmp_path: Path):
    truth = json.loads((shared / "data/coco_mini/annotations/instances_val2017.json").read_text())
    boxes_come_back(truth, json.loads((shared / "data/coco_eval/yolo-fastest_val2017_bbox.json").read_text()), tmp_path)


def boxes_come_back(truth: Any, found: list[dict[str, Any]], tmp_path: Path) -> None:
    protocol = load_protocol("paper")
    run = finished(protocol, "retinanet_R50", tmp_path, truth, found)
    measured = evaluate_run(run)
    (path,) = submit_run(run, tmp_path / "out")
    assert path == tmp_path / "out" / "detections_val2017_retinanet_R50-seed1_results.zip"
    file = unzipped(path, tmp_path)
    assert json.loads(file.read_text()) == found
    again = evaluate(file, tmp_path / "paper" / "ground_truth.json", Options(area_ranges=protocol.area_ranges))
    assert again["metrics"] == measured["metrics"]
    assert again["per_class"] == measured["per_class"]


def test_coco_masks_are_submitted_apart(coco_photographs: Path, tmp_path: Path):
    annotations = coco_photographs / "annotations" / "instances_val2017_ccby.json"
    coco, draw = COCO(str(annotations)), np.random.default_rng(0)
    found = []
    for entry in coco.dataset["annotations"]:
        mask = coco.annToRLE(entry)
        if entry["iscrowd"] or draw.random() < 0.2:
            continue
        box = [float(value) for value in np.array(entry["bbox"]) + draw.normal(0, 2, 4).clip(-5, 5)]
        found.append(
            {"image_id": entry["image_id"], "category_id": entry["category_id"], "bbox": [*box[:2], *np.abs(box[2:])],
             "score": draw.random(),
             "segmentation": {"size": mask["size"], "counts": mask["counts"].decode()}}
        )  # fmt: skip
    protocol = load_protocol("paper")
    run = finished(protocol, "mask_rcnn_R50_giou", tmp_path, coco.dataset, found)
    measured = evaluate_run(run)
    assert 0 < measured["mask_metrics"]["AP"] < 100
    boxes, segm = submit_run(run, tmp_path)
    assert boxes.name == "detections_val2017_mask_rcnn_R50_giou-seed1_results.zip"
    assert segm.name == "detections_val2017_mask_rcnn_R50_giou-seed1-segm_results.zip"
    for path, field, name in ((boxes, "bbox", "metrics"), (segm, "segmentation", "mask_metrics")):
        file = unzipped(path, tmp_path)
        assert all(set(one) == {"image_id", "category_id", field, "score"} for one in json.loads(file.read_text()))
        again = evaluate(file, tmp_path / "paper" / "ground_truth.json")
        assert again[name] == measured[name]


def test_voc_files(golden: Path, tmp_path: Path):
    """Through detections.json, and back under VOC's own annotations."""
    document = json.loads((golden / "voc" / "truth.json").read_text())
    official = write_voc_folder(tmp_path / "voc", document, "test")
    voc_files_come_back(zero_based(document), golden / "voc" / "detections", official, tmp_path)


def test_voc_files_of_a_published_detector_on_all_test_images(shared: Path, voc2007_test: Path, tmp_path: Path):
    """4,952 images."""
    real = shared / "data" / "voc2007_eval"
    document = json.loads(gzip.decompress((real / "voc2007_test_gt.json.gz").read_bytes()))
    measured = voc_files_come_back(document, real / "dets" / "tiny-yolo-voc", voc2007_test, tmp_path)
    assert 40 < measured < 60


def voc_files_come_back(document: Any, detections: Path, official_list: Path, tmp_path: Path) -> float:
    """Returns AP50."""
    (tmp_path / "truth.json").write_text(json.dumps(document))
    truth = read_ground_truth(tmp_path / "truth.json")
    columns = read_detections(detections, truth)
    kept = columns.scores > 0.05
    xywh = columns.boxes[kept] - np.pad(columns.boxes[kept, :2], ((0, 0), (2, 0)))
    ids = truth.image_ids[columns.images[kept]].tolist(), truth.class_ids[columns.labels[kept]].tolist()
    rows = zip(*ids, xywh.tolist(), columns.scores[kept].tolist(), strict=True)
    found = [dict(zip(("image_id", "category_id", "bbox", "score"), row, strict=True)) for row in rows]
    protocol = load_protocol("paper_voc")
    run = finished(protocol, "faster_rcnn_R50_voc_giou", tmp_path, document, found)
    measured = evaluate_run(run)
    (path,) = submit_run(run, tmp_path / "out")
    assert path.name == "comp4_det_test_faster_rcnn_R50_voc_giou-seed1.tar"
    with tarfile.open(path) as archive:
        names = [f"results/VOC2007/Main/comp4_det_test_{name}.txt" for name in sorted(truth.class_names)]
        assert archive.getnames() == names
        archive.extractall(tmp_path, filter="data")
    official = read_ground_truth(official_list).under("voc07")
    again = read_detections(tmp_path / "results" / "VOC2007" / "Main", official)
    assert len(again) == kept.sum()
    for criterion, key in (("voc07", "metrics"), ("voc07_giou", "giou_metrics")):
        numbers = summary(match(official, again, criterion, protocol.area_ranges))
        assert numbers == pytest.approx(measured[key], abs=1e-9)
    return float(measured["metrics"]["AP50"])


CATS: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "VOC2007/JPEGImages/000007.jpg", "width": 100, "height": 80},
        {"id": 9, "file_name": "VOC2007/JPEGImages/000009.jpg", "width": 100, "height": 80},
    ],
    "categories": [{"id": 2, "name": "cat"}, {"id": 1, "name": "dining table"}],
    "annotations": [{"id": 1, "image_id": 7, "category_id": 2, "bbox": [0, 0, 10, 10], "area": 100, "iscrowd": 0}],
}
CAT = {"image_id": 7, "category_id": 2, "bbox": [0.0, 4.5, 10.0, 20.25], "score": 0.875}


def voc_protocol(*lists: tuple[str, str]) -> Protocol:
    content = load_protocol("paper_voc").model_dump()
    parts = [{"folder": folder, "split": split} for folder, split in lists]
    return Protocol.model_validate(content | {"name": "own", "data": content["data"] | {"val": parts}})


@pytest.mark.parametrize(("folder", "inside"), [("VOC2012", "VOC2012"), (".", "own")])
def test_voc_lines_by_hand(tmp_path: Path, folder: str, inside: str):
    protocol = voc_protocol((folder, "val"))
    run = finished(protocol, "faster_rcnn_R50_voc_iou", tmp_path, CATS, [CAT])
    (path,) = submit_run(run, tmp_path)
    with tarfile.open(path) as archive:
        assert archive.getnames() == [
            f"results/{inside}/Main/comp4_det_val_cat.txt",
            f"results/{inside}/Main/comp4_det_val_dining table.txt",
        ]
        texts = [archive.extractfile(name).read().decode() for name in archive.getnames()]  # type: ignore[union-attr]
        assert {(one.mtime, one.uid, one.uname, one.mode) for one in archive} == {(0, 0, "", 0o644)}
    # Columns 1 to 10 are ten pixels wide.
    assert texts == ["000007 0.875 1.0 5.5 10.0 24.75\n", ""]


def test_what_voc_s_form_cannot_say(tmp_path: Path):
    two = voc_protocol(("VOC2007", "test"), ("VOC2012", "val"))
    run = finished(two, "faster_rcnn_R50_voc_iou", tmp_path, CATS, [CAT])
    with pytest.raises(ConfigError, match=r"protocol own: data\.val: 2 lists; a server takes one"):
        submit_run(run, tmp_path)
    images = [dict(one, file_name=f"{one['id']}/same.jpg") for one in CATS["images"]]
    one = voc_protocol(("VOC2007", "test"))
    run = finished(one, "faster_rcnn_R50_voc_iou", tmp_path, CATS | {"images": images}, [CAT])
    with pytest.raises(ResultError, match="two images are named same"):
        submit_run(run, tmp_path)


def test_of_more_than_the_server_counts_the_best_are_sent(golden: Path, tmp_path: Path):
    """YOLOv3 keeps all that it finds; the server counts a hundred per image, across all categories."""
    truth, found = (json.loads((golden / "coco" / f"{name}.json").read_text()) for name in ("truth", "boxes"))
    many = Counter(one["image_id"] for one in found).most_common(1)[0][0]
    noise = [CAT | {"image_id": many, "category_id": found[0]["category_id"], "score": 1e-6 * k} for k in range(150)]
    run = finished(load_protocol("paper"), "yolov3_D53_giou", tmp_path, truth, [*noise, *found])
    (path,) = submit_run(run, tmp_path / "out")
    sent = json.loads(unzipped(path, tmp_path).read_text())
    assert sent == at_most_a_hundred([*noise, *found])
    assert len([one for one in sent if one["image_id"] == many]) == 100


def test_of_equal_scores_the_first_are_sent(tmp_path: Path):
    boxes = [CAT | {"bbox": [float(k), 0.0, 1.0, 1.0]} for k in range(101)]
    (path,) = write_coco([*boxes, CAT | {"image_id": 9}], "val2017", "x", tmp_path)
    sent = json.loads(unzipped(path, tmp_path).read_text())
    assert sent == [*boxes[:100], CAT | {"image_id": 9}]


def test_no_detections_are_an_empty_list(tmp_path: Path):
    (path,) = write_coco([], "val2017", "x", tmp_path)
    assert json.loads(unzipped(path, tmp_path).read_text()) == []


def test_the_same_bytes_whenever_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    protocol = voc_protocol(("VOC2007", "test"))
    run = finished(protocol, "faster_rcnn_R50_voc_iou", tmp_path, CATS, [CAT])
    written = []
    for now, folder in ((1e9, "a"), (1.7e9, "b")):
        monkeypatch.setattr("time.time", lambda now=now: now)
        paths = [
            *write_coco([CAT], "val", "x", tmp_path / folder),
            *submit_run(run, tmp_path / folder),
        ]
        written.append([path.read_bytes() for path in paths])
    assert written[0] == written[1]


def test_detections_of_other_data_are_refused(tmp_path: Path):
    protocol = load_protocol("paper")
    run = finished(protocol, "retinanet_R50", tmp_path, CATS, [CAT])
    write_json(tmp_path / "paper" / "data.json", "data/1", {"data_hash": "other"})
    with pytest.raises(ResultError, match="the data have changed since this run"):
        submit_run(run, tmp_path)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    finished(load_protocol("paper"), "retinanet_R50", tmp_path, CATS, [CAT])
    where = ["submission", "--protocol", "paper", "--results", str(tmp_path), "--variant"]
    assert cli.main([*where, "retinanet_R50", "--seed", "1"]) == 0
    path = tmp_path / "paper/submission/detections_val2017_retinanet_R50-seed1_results.zip"
    assert capsys.readouterr().out == f"{path}\n"
    assert path.exists()
    for arguments, message in (
        (["retinanet_R50", "--seed", "2"], "seed2/provenance.json: no such file"),
        (["retinanet_R500"], "variant 'retinanet_R500' is not built"),
        (["rpn_R50"], "--variant rpn_R50: is an RPN alone"),
        (["retinanet_R50", "--images", "x.json"], "--images and --image-folder belong together"),
    ):
        assert cli.main([*where, *arguments]) == 2
        assert message in capsys.readouterr().err
