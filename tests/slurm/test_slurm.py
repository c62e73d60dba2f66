"""The workflow on a real Slurm of one node: the same bytes as a local run, whatever happens to its jobs."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from slurm.one_node import jobs, missing, one_node

from replication.catalog import CONFIGS
from replication.results.layout import Layout, RunFiles

ROOT = Path(__file__).resolve().parents[2]
SNAKEMAKE = Path(sys.executable).with_name("snakemake")
# Polling of seconds, and no waits for another machine's files.
CLUSTER = ["--profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "5", "--latency-wait", "5"]
LOCAL = ["--cores", "2"]
VARIANT = "faster_rcnn_R50_giou"
STARTED: list[subprocess.Popen[str]] = []
LONGEST = 1800.0  # seconds, on a machine with other work

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * LONGEST)]


@pytest.fixture(scope="module")
def slurm() -> Iterator[None]:
    if why := missing():
        pytest.skip(why)
    with one_node():
        yield


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The protocol `smoke`, but long enough to be interrupted, and without checkpoints."""
    protocol = yaml.safe_load((CONFIGS / "protocols" / "smoke.yaml").read_text())
    protocol |= {"name": "long", "iterations": {**protocol["iterations"], "GeneralizedRCNN": 60}}
    protocol |= {"checkpoint_every": 1000, "tables": ["giou-T5"]}
    path = tmp_path_factory.mktemp("protocols") / "long.yaml"
    path.write_text(yaml.safe_dump(protocol))
    return path


@pytest.fixture(scope="module")
def uninterrupted(long: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFiles:
    """A training under that protocol without Slurm, beside the data."""
    results = tmp_path_factory.mktemp("uninterrupted")
    where = ["--protocol", str(long), "--results", str(results)]
    for words in (["prepare"], ["train", "--variant", VARIANT]):
        subprocess.run([sys.executable, "-m", "replication", *words, *where], check=True, cwd=ROOT)
    return Layout(results, "long").run(VARIANT, 0)


def with_data(uninterrupted: RunFiles, results: Path) -> RunFiles:
    """The same run in other results, where only the data are there so far."""
    made, here = Layout(uninterrupted.folder.parents[3], "long"), Layout(results, "long")
    here.folder.mkdir()
    for source, target in ((made.data, here.data), (made.ground_truth, here.ground_truth)):
        shutil.copy2(source, target)
    return here.run(VARIANT, 0)


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """No workflow outlives its test."""
    yield
    for workflow in STARTED:
        if workflow.poll() is None:
            os.killpg(workflow.pid, signal.SIGKILL)
            workflow.wait()
    STARTED.clear()


def start(where: list[str], protocol: Path | str, results: Path, *targets: Path) -> subprocess.Popen[str]:
    """The workflow, under way; its words go to a file beside the results."""
    config = ["--config", f"protocol={protocol}", f"results={results}", "tables=giou-T5", "seeds=1"]
    with (results / "words.log").open("a") as words:
        workflow = subprocess.Popen(
            [str(SNAKEMAKE), *where, *config, "--", *map(str, targets)],
            cwd=ROOT, stdout=words, stderr=words, text=True, start_new_session=True,
        )  # fmt: skip
    STARTED.append(workflow)
    return workflow


def finish(workflow: subprocess.Popen[str]) -> None:
    assert workflow.wait(LONGEST) == 0, workflow.args


def until(happened: Callable[[], bool], workflow: subprocess.Popen[str] | None = None) -> None:
    """Wait for something while a workflow runs."""
    end = time.monotonic() + LONGEST
    while not happened():
        assert time.monotonic() < end, "waited in vain"
        assert workflow is None or workflow.poll() is None, "the workflow has ended"
        time.sleep(0.5)


def trainings(results: Path) -> dict[str, str]:
    """Variant -> $CUDA_VISIBLE_DEVICES of every training process under way in these results."""
    return {variant: visible for variant, visible, _ in _trainings(results)}


def _trainings(results: Path) -> Iterator[tuple[str, str, int]]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode().split("\0")
            environment = (process / "environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # has ended
            continue
        if "replication" in words and "train" in words and f"--results={results}" in words:
            visible = [line.partition("=")[2] for line in environment if line.startswith("CUDA_VISIBLE_DEVICES=")]
            yield words[words.index("--variant") + 1], ",".join(visible), int(process.name)


def log_of(results: Path) -> str:
    path = Layout(results, "long").log(f"train/{VARIANT}-seed0")
    return path.read_text() if path.exists() else ""


def jobs_of(results: Path) -> list[str]:
    """Ids of the jobs that the last workflow of these results has in the queue."""
    found = re.findall(r"SLURM run ID: (\S+)", (results / "words.log").read_text())
    return jobs(("PD", "R"), f"--name={found[-1]}") if found else []


def same_bytes(one: RunFiles, other: RunFiles) -> None:
    assert one.model.read_bytes() == other.model.read_bytes()
    losses = [[json.loads(line) for line in run.curves.read_text().splitlines()] for run in (one, other)]
    for line in (*losses[0], *losses[1]):
        line.pop("s_per_iter", None)
    assert losses[0] == losses[1]


def test_the_smoke_workflow_gives_the_bytes_of_a_local_run(slurm: None, tmp_path: Path):
    """And two trainings, side by side, get a GPU each."""
    local, remote = tmp_path / "local", tmp_path / "remote"
    for folder in (local, remote):
        folder.mkdir()
    finish(start(LOCAL, "smoke", local))
    workflow = start(CLUSTER, "smoke", remote)
    until(lambda: len(trainings(remote)) == 2, workflow)
    assert set(trainings(remote).values()) <= {"0", "1"}
    assert len(set(trainings(remote).values())) == len(trainings(remote))
    finish(workflow)
    compared = [path.relative_to(local) for name in ("runs", "tables") for path in (local / "smoke" / name).rglob("*")]
    compared = [path for path in compared if path.name in ("detections.json", "metrics.json") or "tables" in path.parts]
    compared = [path for path in compared if (local / path).is_file()]
    assert len(compared) == 3 * 2 + 3
    for path in (*compared, Path("smoke/verdicts.json"), Path("smoke/ground_truth.json")):
        assert (local / path).read_bytes() == (remote / path).read_bytes(), path


def test_a_cancelled_training_goes_on_where_it_was(slurm: None, long: Path, uninterrupted: RunFiles, tmp_path: Path):
    run = with_data(uninterrupted, tmp_path)
    workflow = start([*CLUSTER, "--retries", "0"], long, tmp_path, run.trained)
    until(lambda: "/60 loss" in log_of(tmp_path), workflow)
    subprocess.run(["scancel", *jobs_of(tmp_path)], check=True)
    assert workflow.wait(LONGEST) != 0
    assert not jobs_of(tmp_path)
    assert [path.stem for path in run.checkpoints] != []
    assert "ended by SIGTERM after iteration" in log_of(tmp_path)
    assert not run.model.exists()
    finish(start(CLUSTER, long, tmp_path, run.trained))
    assert "resumed at iteration" in log_of(tmp_path)
    same_bytes(run, uninterrupted)


def test_a_failing_step_is_submitted_once_an_attempt(slurm: None, long: Path, uninterrupted: RunFiles, tmp_path: Path):
    """Three executions with two retries; nine where the job counts them again."""
    run = with_data(uninterrupted, tmp_path)
    broken = tmp_path / "broken.yaml"
    broken.write_text(yaml.safe_dump(yaml.safe_load(long.read_text()) | {"device": "cuda"}))  # the GPUs are none
    workflow = start([*CLUSTER, "--retries", "2"], broken, tmp_path, run.trained)
    assert workflow.wait(LONGEST) != 0
    logs = re.findall(r"submitted with SLURM jobid \d+ \(log: (.+)\)", (tmp_path / "words.log").read_text())
    assert [Path(log).read_text().count("torch sees no GPU") for log in logs] == [1, 1, 1]
    assert not jobs_of(tmp_path)


def test_a_second_workflow_waits_for_the_job_of_a_killed_one(
    slurm: None, long: Path, uninterrupted: RunFiles, tmp_path: Path
):
    run = with_data(uninterrupted, tmp_path)
    first = start(CLUSTER, long, tmp_path, run.trained)
    until(lambda: "/60 loss" in log_of(tmp_path), first)
    ((_, _, training),) = _trainings(tmp_path)
    os.kill(training, signal.SIGSTOP)  # until the second one waits
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    (job,) = jobs_of(tmp_path)
    second = start(CLUSTER, long, tmp_path, run.trained)
    until(lambda: "waiting for it to end" in log_of(tmp_path), second)
    assert f"job {job}, since" in log_of(tmp_path)
    os.kill(training, signal.SIGCONT)
    finish(second)
    until(lambda: not jobs_of(tmp_path))
    assert json.loads(run.provenance.read_text())["resumed_at"] == []
    assert log_of(tmp_path).count("already trained") == 1
    same_bytes(run, uninterrupted)
