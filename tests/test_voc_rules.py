"""The embedded scenes as a VOC folder: GIoU's table 1 under VOC's rules, from data to table and submission."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
import yaml

from replication import cli
from replication.catalog import CONFIGS, EmbeddedData, load_protocol
from replication.datasets.embedded import make_embedded
from replication.evaluation.matching import match
from replication.evaluation.summary import summary
from replication.formats.detections import read_detections
from replication.formats.truth import read_ground_truth
from replication.results.files import read_json

VARIANT = "yolov3_D53_voc_giou"


@pytest.fixture
def protocol(datasets_root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """`mini_voc` with smoke's scenes and length."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(datasets_root))
    smoke = load_protocol("smoke")
    assert isinstance(smoke.data, EmbeddedData)
    content = yaml.safe_load((CONFIGS / "protocols" / "mini_voc.yaml").read_text())
    content["data"] |= {"root": str(make_embedded(smoke.data) / "voc"), "download": []}
    overrides = {name: smoke.overrides[name] for name in ("all", "YOLOv3")}
    content |= {"name": "own_voc", "batch": 2, "iterations": {"YOLOv3": 6}, "overrides": overrides}
    path = tmp_path / "own_voc.yaml"
    path.write_text(json.dumps(content))
    return path


def test_table_1_under_voc_s_rules(protocol: Path, tmp_path: Path):
    where = ["--protocol", str(protocol), "--results", str(tmp_path / "results")]
    here = tmp_path / "results" / "own_voc"
    assert cli.main(["prepare", *where]) == 0
    for verb in ("train", "detect", "evaluate", "submission"):
        assert cli.main([verb, *where, "--variant", VARIANT]) == 0, verb
    run = here / "runs" / VARIANT / "seed0"
    assert json.loads((run / "detections.json").read_text())
    measured = read_json(run / "metrics.json", "metrics/1")

    # Its comp4 files against VOC's own annotations, by VOC's rules.
    (archive,) = (here / "submission").glob("comp4_det_val_*.tar")
    with tarfile.open(archive) as file:
        file.extractall(tmp_path, filter="data")
    root = Path(yaml.safe_load(protocol.read_text())["data"]["root"])
    truth = read_ground_truth(root / "ImageSets" / "Main" / "val.txt").under("voc07")
    found = read_detections(tmp_path / "results" / "own_voc" / "Main", truth)
    areas = load_protocol(str(protocol)).area_ranges
    for criterion, key in (("voc07", "metrics"), ("voc07_giou", "giou_metrics")):
        assert summary(match(truth, found, criterion, areas)) == pytest.approx(measured[key], abs=1e-9)

    assert cli.main(["tables", *where]) == 0
    text = (here / "tables" / "giou-T1.md").read_text()
    assert "GIoU loss" in text
    assert "NOT comparable" in text


def test_the_scenes_are_made_by_their_name(
    datasets_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Of another size here, since mini's take half a minute."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(datasets_root))
    smoke = load_protocol("smoke")
    monkeypatch.setattr("replication.catalog.load_protocol", lambda name: smoke if name == "mini" else None)
    assert cli.main(["data", "mini"]) == 0
    folder = Path(capsys.readouterr().out.strip())
    assert (folder / "voc" / "ImageSets" / "Main" / "train.txt").is_file()
    assert cli.main(["data", "mini", "--root", "elsewhere"]) == 2
    assert "data mini: is generated under $DETECTRON2_DATASETS" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"MODEL.YOLOV3.ANCHORS": [[10, 13]] * 8}, "MODEL.YOLOV3.ANCHORS: 8 anchors for 3 levels; give 9"),
        ({"INPUT.MIN_SIZE_TEST": 100}, "INPUT.MIN_SIZE_TEST: 100 is not a multiple of 32"),
        ({"INPUT.DARKNET.SIDES": [64, 100]}, "100"),
    ],
)
def test_settings_that_do_not_fit_are_one_message(
    settings: dict[str, object], message: str, protocol: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    content = json.loads(protocol.read_text())
    content["overrides"]["YOLOv3"] |= settings
    protocol.write_text(json.dumps(content))
    where = ["--protocol", str(protocol), "--results", str(tmp_path / "results")]
    assert cli.main(["prepare", *where]) == 0
    capsys.readouterr()
    assert cli.main(["train", *where, "--variant", VARIANT]) == 2
    error = capsys.readouterr().err
    (line,) = [line for line in error.splitlines() if "error" in line]
    assert message in line
