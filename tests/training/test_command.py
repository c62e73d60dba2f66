"""Variants that are a command of the user's: run, resumed, checked, refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from replication.catalog import CONFIGS, load_catalog, load_protocol
from replication.errors import ConfigError, ResultError, TrainingError
from replication.results.fingerprint import training_fingerprint
from replication.results.run import Run
from replication.results.schemas import Provenance, read
from replication.training.command import detections_of_command, run_command

LEAF = (
    'run: "{python} detector.py --seed {seed} --val {val_annotations} --images {val_images} --folder {folder} '
    '--out {detections}"\ncode: [detector.py]\nbackbone: R-50\n'
)
DETECTOR = """
import argparse, json, pathlib
parser = argparse.ArgumentParser()
for name in ("seed", "val", "images", "folder", "out"):
    parser.add_argument("--" + name)
given = parser.parse_args()
epochs = pathlib.Path(given.folder) / "epochs.txt"
with epochs.open("a") as file:
    file.write("epoch\\n")
print("epochs so far:", len(epochs.read_text().split()))
truth = json.loads(pathlib.Path(given.val).read_text())
assert all((pathlib.Path(given.images) / one["file_name"]).exists() for one in truth["images"])
keys = ("image_id", "category_id", "bbox")
found = [{key: one[key] for key in keys} | {"score": 0.5} for one in truth["annotations"]]
pathlib.Path(given.out).write_text(json.dumps(found))
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of configs with spaces in its name, as users have."""
    folder = tmp_path / "my configs"
    (folder / "variants").mkdir(parents=True)
    (folder / "variants" / "mine.yaml").write_text(LEAF)
    (folder / "detector.py").write_text(DETECTOR)
    (folder / "protocols").mkdir()
    smoke = yaml.safe_load((CONFIGS / "protocols" / "smoke.yaml").read_text())
    # On the CPU no torch is needed to look for GPUs, which takes longer than the rest.
    (folder / "protocols" / "quick.yaml").write_text(yaml.safe_dump(smoke | {"name": "quick", "device": "cpu"}))
    return folder


def the_run(own: Path) -> Run:
    variant = load_catalog(CONFIGS, own).variants["mine"]
    return Run(variant, load_protocol("quick", [CONFIGS, own]), 3, own.parent / "my results")


def spoil(own: Path, old: str, new: str) -> None:
    text = (own / "detector.py").read_text()
    assert old in text
    (own / "detector.py").write_text(text.replace(old, new))


def test_a_command_is_a_run_like_ours(own: Path):
    run = the_run(own)
    assert run_command(run) == run.files.received
    detections_of_command(run)
    assert run.files.trained.exists()
    assert json.loads(run.files.detections.read_text())
    made = read(run.files.provenance, Provenance)
    assert (made.variant, made.seed, made.packages, made.commit) == ("mine", 3, {}, None)
    assert made.command is not None
    assert "detector.py --seed 3" in made.command
    assert list(made.code) == ["detector.py"]
    assert made.training_fingerprint == training_fingerprint(run.variant, run.protocol)
    run_command(run)  # is done, and not done again
    assert (run.files.command / "epochs.txt").read_text().split() == ["epoch"]


def test_a_failed_command_is_told_and_goes_on_in_its_folder(own: Path):
    spoil(own, "truth = ", "if len(epochs.read_text().split()) < 2: raise SystemExit(7)\ntruth = ")
    run = the_run(own)
    with pytest.raises(TrainingError) as caught:
        run_command(run)
    text = str(caught.value)
    assert "mine.yaml: run: the command failed with exit code 7; what it kept is in" in text
    assert text.endswith("its last lines:\n  epochs so far: 1")
    assert "epochs so far: 1" in run.files.command_log.read_text()
    assert not run.files.trained.exists()
    run_command(run, replace=True)  # as the workflow starts it
    assert (run.files.command / "epochs.txt").read_text().split() == ["epoch"] * 2


def test_a_killed_command_is_told(own: Path):
    spoil(own, "truth = ", "import os; os.kill(os.getpid(), 9)\ntruth = ")
    with pytest.raises(TrainingError, match=r"exit code 137|signal 9"):
        run_command(the_run(own))


def test_what_other_code_has_kept_is_not_gone_on_with(own: Path):
    spoil(own, "truth = ", "if 'again' not in globals(): raise SystemExit(1)\ntruth = ")
    with pytest.raises(TrainingError):
        run_command(the_run(own))
    spoil(own, "'again'", "'json'")
    run = the_run(own)
    run_command(run)
    assert (run.files.command / "epochs.txt").read_text().split() == ["epoch"]


def test_a_finished_run_of_other_code_is_refused_or_replaced(own: Path):
    before = the_run(own)
    run_command(before)
    spoil(own, "0.5", "0.6")
    run = the_run(own)
    with pytest.raises(ResultError, match=r"whose training_fingerprint is .* another command, other code or data"):
        run_command(run)
    with pytest.raises(ResultError, match="run the command again with `replication train --restart`"):
        detections_of_command(run)
    run_command(run, replace=True)
    assert read(run.files.provenance, Provenance).training_fingerprint != before.variant.name
    assert (run.files.command / "epochs.txt").read_text().split() == ["epoch"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("pathlib.Path(given.out).write_text(json.dumps(found))", "", r"ended well but wrote no .*detections\.json"),
        ('"score": 0.5', '"score": "high"', r"detections\.json.*score"),
        ("write_text(json.dumps(found))", 'write_text("[{")', r"detections\.json"),
        ("json.dumps(found)", 'json.dumps([found[0] | {"image_id": 99999}])', r"detections\.json.*99999"),
    ],
)
def test_wrong_detections_are_refused_and_the_run_is_not_finished(own: Path, old: str, new: str, message: str):
    spoil(own, old, new)
    run = the_run(own)
    with pytest.raises(ResultError, match=message):
        run_command(run)
    assert not run.files.trained.exists()
    assert not run.files.received.exists()
    assert (run.files.command / "epochs.txt").exists()


def test_a_time_limit_ends_the_command_and_its_children(own: Path):
    spoil(own, "truth = ", "import subprocess; subprocess.run(['sleep', '300'])\ntruth = ")
    begun = time.monotonic()
    with pytest.raises(TrainingError, match="was not done after 2 s and was stopped"):
        run_command(the_run(own), limit=2.0)
    assert time.monotonic() - begun < 30


def test_a_terminated_train_stops_its_command(own: Path):
    spoil(own, "truth = ", "import time; print('waiting', flush=True); time.sleep(300)\ntruth = ")
    run = the_run(own)
    command = [sys.executable, "-m", "replication", "train", "--configs", own, "--protocol", "quick"]
    command += ["--results", run.results, "--variant", "mine", "--seed", "3"]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert any("waiting" in line for line in process.stderr)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    assert not run.files.trained.exists()
    with (run.folder / ".command.lock").open("w") as file:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody holds it any more


def test_the_command_of_a_killed_train_is_not_doubled(own: Path):
    waits = (
        "import os, time; pathlib.Path(given.folder, 'pid').write_text(str(os.getpid())); print('waiting', flush=True)"
    )
    spoil(own, "truth = ", f"{waits}; time.sleep(300)\ntruth = ")
    run = the_run(own)
    command = [sys.executable, "-m", "replication", "train", "--configs", own, "--protocol", "quick"]
    command += ["--results", run.results, "--variant", "mine", "--seed", "3"]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert any("waiting" in line for line in process.stderr)
    process.kill()
    process.wait()
    process.stderr.close()
    with pytest.raises(TrainingError, match="is still running; wait for it to end or stop it"):
        run_command(run, wait=True)
    os.kill(int((run.files.command / "pid").read_text()), signal.SIGKILL)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"run": "train {sed} {detections}"}, r"run: .*\{sed\} is unknown; known: \{seed\}"),
        ({"run": "train --seed {seed}"}, r"run: .*has no \{detections\}"),
        ({"run": "train {detections} {"}, "run: .*write a brace that is no placeholder twice"),
        ({"run": "train {detections}", "code": ["gone.py"]}, r"mine\.yaml: code: 'gone.py': no such file in"),
        ({"run": "train {detections}", "code": ["../a.py"]}, r"mine\.yaml: code: '../a.py': give a path inside"),
        ({"run": "train {detections}", "MODEL": {}}, "MODEL: Extra inputs"),
        ({"run": 3}, "run: Input should be a valid string"),
    ],
)
def test_a_wrong_leaf_is_named(own: Path, changes: dict[str, Any], message: str):
    (own / "variants" / "mine.yaml").write_text(json.dumps({"backbone": "R-50"} | changes))
    with pytest.raises(ConfigError, match=message):
        load_catalog(CONFIGS, own)


def test_data_of_another_form_are_handed_over_in_cocos(own: Path, voc_photographs: Any):
    protocol = the_run(own).protocol
    data = {"kind": "voc", "root": str(voc_photographs.root), "train": [{"split": "train"}], "val": [{"split": "val"}]}
    own_data = protocol.model_validate(protocol.model_dump() | {"name": "photographs", "data": data})
    run = replace(the_run(own), protocol=own_data)
    run_command(run)
    given = json.loads(run.layout.annotations("val").read_text())
    assert len(given["images"]) == voc_photographs.images["val"]
    assert run.layout.annotations("train").exists()
