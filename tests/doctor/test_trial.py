"""`replication doctor --variant`: a variant tried on two images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from replication import cli
from replication.catalog import CONFIGS, load_catalog, load_protocol
from replication.doctor.findings import Finding
from replication.doctor.trial import try_variant

DETECTOR = """
import json, pathlib, sys
seen, out = map(pathlib.Path, sys.argv[1:])
content = json.loads(seen.read_text())
assert len(content["images"]) == 2
keys = ("image_id", "category_id", "bbox")
out.write_text(json.dumps([{key: one[key] for key in keys} | {"score": 0.5} for one in content["annotations"]]))
"""


@pytest.fixture(autouse=True)
def _own_datasets(datasets_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(datasets_root))


def write(folder: Path, **leaf: str) -> Path:
    """A folder of configs with the command `mine` and a protocol on the CPU."""
    smoke = yaml.safe_load((CONFIGS / "protocols" / "smoke.yaml").read_text())
    files = {"variants/mine.yaml": {"backbone": "R-50"} | leaf, "protocols/quick.yaml": smoke | {"name": "quick"}}
    files["protocols/quick.yaml"]["device"] = "cpu"
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(yaml.safe_dump(content))
    (folder / "detector.py").write_text(DETECTOR)
    return folder


def tried(folder: Path, name: str = "mine", limit: float = 60.0) -> Finding:
    folders = (CONFIGS, folder)
    (finding,) = try_variant(load_catalog(*folders), load_protocol("quick", folders), name, limit)
    return finding


def test_a_command_is_tried_on_two_images_of_each_split(tmp_path: Path):
    detect = "{python} detector.py {SPLIT_annotations} {detections}"
    own = write(tmp_path, run=" && ".join(detect.replace("SPLIT", split) for split in ("train", "val")))
    finding = tried(own)
    assert finding.level == "ok", finding
    assert "on 2 images" in finding.message


def test_its_trial_is_run_in_place_of_the_whole_command(tmp_path: Path):
    run = "sleep 300 && {python} detector.py {val_annotations} {detections}"
    own = write(tmp_path, run=run, trial="{python} detector.py {val_annotations} {detections}")
    assert tried(own).level == "ok"


def test_a_command_that_takes_too_long_is_stopped_and_told(tmp_path: Path):
    finding = tried(write(tmp_path, run="sleep 300; echo {detections}"), limit=1.0)
    assert finding.level == "error"
    assert "was not done after 1 s and was stopped" in finding.message


def test_a_command_that_fails_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    own = write(tmp_path, run="echo no such module; exit 3; {detections}")
    monkeypatch.chdir(tmp_path)
    where = ["--configs", str(own), "--protocol", "quick", "--format", "json"]
    assert cli.main(["doctor", *where, "--variant", "mine"]) == 2
    captured = capsys.readouterr()
    (finding,) = json.loads(captured.out)["findings"]
    assert "failed with exit code 3" in finding["message"]
    assert "no such module" in finding["message"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["detector.py", "protocols", "variants"], (
        "nothing is kept"
    )
    assert cli.main(["doctor", *where, "--variant", "mien"]) == 2
    assert "did you mean mine?" in capsys.readouterr().err


def test_a_variant_of_ours_is_tried(tmp_path: Path):
    finding = tried(write(tmp_path, run="echo {detections}"), "retinanet_R50")
    assert finding.level == "ok", finding


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "name", ["fast_rcnn_R50", "mask_rcnn_R50_giou", "fsaf_X101_joint_jitter_tta", "yolov3_D53_giou", "rpn_R50"]
)
def test_every_kind_of_ours_is_tried(tmp_path: Path, name: str):
    finding = tried(write(tmp_path, run="echo {detections}"), name)
    assert finding.level == "ok", finding
