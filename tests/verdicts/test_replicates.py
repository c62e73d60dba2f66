"""From detections on disk to verdicts: the image bootstrap of finished runs, and the verb, without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.simulation import coco_documents, detector, population

from replication.catalog import load_catalog, load_protocol
from replication.cli import main
from replication.errors import ResultError
from replication.evaluation import Options, bootstrap, evaluate, point
from replication.evaluation.matching import match
from replication.formats.detections import read_detections
from replication.formats.truth import read_ground_truth
from replication.results.files import read_json, write_json
from replication.results.finished import finished_runs
from replication.verdicts.replicates import image_replicates

ROOT = Path(__file__).resolve().parents[2]
IMAGES, CLASSES = 260, 5
SKILLS = {"smooth_l1": 1.0, "iou": 1.0, "giou": 20.0}
"""Of the rows of GIoU's table 5: the IoU loss is no better than its baseline here, the GIoU loss much."""

WITHOUT_TORCH = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "detectron2"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
from replication.cli import main
sys.exit(main(sys.argv[1:]))
"""

OWN_DATA = """
name: own
title: made-up detections
data:
  kind: coco
  train: {annotations: a.json, images: a}
  val: {annotations: b.json, images: b}
backbones: {R-50: efficientnet_lite0}
run_backbones: [R-50]
batch: 4
iterations: {GeneralizedRCNN: 10, ReplicationRetinaNet: 10}
seeds: 3
checkpoint_every: 10
tables: [giou-T5]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A results folder as the pipeline leaves it, JSON files only, and the protocol beside it."""
    root = tmp_path_factory.mktemp("finished")
    (root / "own.yaml").write_text(OWN_DATA)
    here = root / "results" / "own"
    truth = population(3, IMAGES, CLASSES, tail=3.2)
    for place, (name, skill) in enumerate(SKILLS.items()):
        for seed in range(3):
            document, found = coco_documents(truth, detector(truth, 100 * place + seed, skill, per_image=20))
            if not (here / "ground_truth.json").exists():
                here.mkdir(parents=True)
                (here / "ground_truth.json").write_text(json.dumps(document))
                write_json(here / "data.json", "data/1", {"data_hash": "d"})
            add(here, f"faster_rcnn_R50_{name}", seed, found)
    return root


def add(here, variant, seed, found):
    run = here / "runs" / variant / f"seed{seed}"
    run.mkdir(parents=True)
    (run / "detections.json").write_text(json.dumps(found))
    whose = {"variant": variant, "protocol": "own", "seed": seed}
    made = {"config_hash": f"c-{variant}", "data_hash": "d", "fingerprint": "f"}
    write_json(run / "provenance.json", "provenance/1", whose | made)
    numbers, by_giou = (
        evaluate(run / "detections.json", here / "ground_truth.json", Options(criterion=criterion))
        for criterion in ("iou", "giou")
    )
    body = {key: numbers[key] for key in ("metrics", "mask_metrics", "per_class", "images", "objects", "area_ranges")}
    write_json(run / "metrics.json", "metrics/1", whose | body | {"giou_metrics": by_giou["metrics"]})


def without_torch(folder, *arguments):
    """The command line, in a process in which torch cannot be imported."""
    where = ["--protocol", str(folder / "own.yaml"), "--results", str(folder / "results")]
    command = [sys.executable, "-c", WITHOUT_TORCH, "verdicts", *where, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)


@pytest.fixture
def own(folder, judging):
    protocol = load_protocol(str(folder / "own.yaml"))
    few = judging.model_copy(update={"replicates": 200})
    runs = finished_runs(protocol, folder / "results", [f"faster_rcnn_R50_{name}" for name in SKILLS])
    return protocol, folder / "results", few, runs


def column(name):
    return load_catalog().table("giou-T5").column(name)


def test_replicates_are_those_of_the_evaluation_for_every_run(own):
    """With one seed for all: so the same images are drawn for each, and differences are paired."""
    protocol, results, few, runs = own
    truth = read_ground_truth(results / "own" / "ground_truth.json")
    source = image_replicates(protocol, results, few)
    for run in (runs["faster_rcnn_R50_iou"][0], runs["faster_rcnn_R50_smooth_l1"][2]):
        matches = match(truth, read_detections(run.files.detections, truth))
        ours, theirs = source(run, column("AP75_iou")), bootstrap(matches, 200, few.bootstrap_seed)
        assert np.array_equal(ours.replicates, theirs.metric("AP75"))
        supported = np.bincount(truth.labels[~truth.ignored], minlength=CLASSES) >= 10
        assert ours.classes == (supported.sum(), CLASSES) == (CLASSES - 1, CLASSES)
        assert np.array_equal(ours.supported_replicates, theirs.metric("AP75", supported))
        assert ours.supported == point(matches).metric("AP75", supported)[0]
        by_iou, by_giou = (source(run, column(name)).replicates for name in ("AP_iou", "AP_giou"))
        assert (by_giou <= by_iou + 1e-9).all(), "GIoU is never above IoU"
        assert (by_giou < by_iou - 1e-3).any()


def test_without_their_files_there_are_none(own):
    protocol, results, few, runs = own
    run = runs["faster_rcnn_R50_iou"][0]
    source = image_replicates(protocol, results, few)
    assert source(run, load_catalog().table("fsaf-T2").column("runtime_ms_per_image")) is None
    moved = results / "own" / "ground_truth.json"
    moved.rename(moved.with_suffix(".away"))
    try:
        assert source(run, column("AP_iou")) is None
    finally:
        moved.with_suffix(".away").rename(moved)


def test_other_data_are_refused(own, tmp_path):
    protocol, results, few, runs = own
    manifest = results / "own" / "data.json"
    before = manifest.read_text()
    write_json(manifest, "data/1", {"data_hash": "other"})
    try:
        with pytest.raises(ResultError, match="data have changed"):
            image_replicates(protocol, results, few)(runs["faster_rcnn_R50_giou"][0], column("AP_iou"))
    finally:
        manifest.write_text(before)


def test_detections_of_another_evaluation_are_refused(own):
    protocol, results, few, runs = own
    run = runs["faster_rcnn_R50_giou"][1]
    detections = run.files.detections
    before = detections.read_text()
    detections.write_text(json.dumps(json.loads(before)[::2]))
    try:
        with pytest.raises(ResultError, match=r"seed1/detections.json: gives AP75 .*evaluate the run again"):
            image_replicates(protocol, results, few)(run, column("AP75_iou"))
    finally:
        detections.write_text(before)


@pytest.mark.parametrize("name", ["detections.json", "ground_truth.json"])
@pytest.mark.parametrize("damage", [b"", b"[{", b"\xff\xfe"], ids=["empty", "cut", "garbled"])
def test_a_damaged_file_that_is_resampled_is_one_message(own, folder, capsys, name, damage):
    _, results, _, runs = own
    run = runs["faster_rcnn_R50_giou"][1]
    path = results / "own" / name if name == "ground_truth.json" else run.files.detections
    before = path.read_bytes()
    path.write_bytes(damage)
    try:
        options = ["--protocol", str(folder / "own.yaml"), "--results", str(results)]
        assert main(["verdicts", *options]) == 2
    finally:
        path.write_bytes(before)
    error = capsys.readouterr().err
    assert error.count("error: ") == 1
    assert name in error


def test_finished_runs_are_judged_without_torch(folder):
    done = without_torch(folder, "--format", "json")
    assert done.returncode == 0, done.stderr
    document = read_json(folder / "results" / "own" / "verdicts.json", "verdicts/4")
    assert json.loads(done.stdout) == document
    found = {one["id"]: one for one in document["verdicts"]}
    better = found["giou-T5-giou-over-smooth_l1-AP_iou"]
    assert (better["verdict"], better["estimand"]) == ("gain", "new images")
    same = found["giou-T5-iou-over-smooth_l1-AP75_iou"]
    assert same["verdict"] != "gain"
    assert same["estimates"]["new images"]["interval"]["low"] < 0 < same["estimates"]["new images"]["interval"]["high"]
    assert same["terms"]["image"] > 0
    widths = {
        name: estimate["interval"]["high"] - estimate["interval"]["low"]
        for name, estimate in better["estimates"].items()
    }
    assert widths["new images"] >= widths["this benchmark"]


def test_the_terminal_shows_a_line_a_claim(folder, capsys):
    assert main(["verdicts", "--protocol", str(folder / "own.yaml"), "--results", str(folder / "results")]) == 0
    text = capsys.readouterr().out
    assert text.count("giou-T5: ") == 6  # AP and AP75 of three comparisons
    assert "new images" in text


def test_a_user_error_is_one_message(folder, capsys):
    assert main(["verdicts", "--protocol", str(folder / "own.yaml"), "--tables", "giou-T55"]) == 2
    assert capsys.readouterr().err.startswith("error: table 'giou-T55' is unknown")
