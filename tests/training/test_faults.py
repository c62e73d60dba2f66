"""What machines do to a training: damaged files, kill -9 within a write, SIGTERM, too little memory, locks, pickles.

After each fault there is one message, and the next run ends in the bytes of the undisturbed one.
"""

from __future__ import annotations

import errno
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.utils import comm
from torch import nn
from torch.multiprocessing.spawn import ProcessExitedException

from replication.catalog import Protocol, load_catalog
from replication.datasets import load_split
from replication.errors import ConfigError, ReplicationError, ResultError, TrainingError, WeightsError
from replication.inference import detect as detect_room
from replication.inference.detect import detect
from replication.results.run import Run
from replication.training import devices as device_room
from replication.training import run as run_room
from replication.training.checkpoint import (
    AtomicCheckpointer,
    checkpoints,
    read_checkpoint,
    remove_checkpoints,
    usable_checkpoint,
    write_checkpoint,
)
from replication.training.config import MAX_SEED, run_config
from replication.training.curves import Progress
from replication.training.data import training_records
from replication.training.identity import identity
from replication.training.run import _fit_on_rank, train

IDENTITY = {"data_hash": "d", "training_fingerprint": "t"}

FINAL = "model_final.pth"


def job_with(job: Run, results: Path | None = None, **update: object) -> Run:
    protocol = Protocol.model_validate({**job.protocol.model_dump(), "checkpoint_every": 2, **update})
    return Run(job.variant, protocol, job.seed, results or job.results)


def state(job: Run) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = read_checkpoint(job.folder / FINAL)["model"]
    return weights


def curve(job: Run) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (job.folder / "curves.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "s_per_iter"} for line in lines]


def assert_same(job: Run, whole: Run) -> None:
    one, other = state(job), state(whole)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert curve(job) == curve(whole)
    left = {path.name for path in job.folder.iterdir() if path.name != ".lock"}
    assert left == {FINAL, f"{FINAL}.sha256", "config.yaml", "curves.jsonl", "provenance.json", "trained.done"}


def interrupt(job: Run, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Train until SIGTERM arrives in iteration ``after``."""
    plain = Progress.after_step

    def terminate(self: Progress) -> None:
        plain(self)
        if self.trainer.iter + 1 == after:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "after_step", terminate)
        with pytest.raises(SystemExit) as stopped:
            train(job)
    assert stopped.value.code == 143


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def lose_record(path: Path) -> None:
    path.with_name(f"{path.name}.sha256").unlink()


def empty_record(path: Path) -> None:
    path.with_name(f"{path.name}.sha256").write_text("")


# --- checkpoints -----------------------------------------------------------------------------------------------------


def test_sigterm_leaves_a_checkpoint_and_the_next_run_ends_alike(
    job: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    job, whole = job_with(job), job_with(job, job.results / "whole")
    before = signal.getsignal(signal.SIGTERM)
    interrupt(job, monkeypatch, after=3)
    assert "ended by SIGTERM after iteration 3; run again to go on from there" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before
    assert [path.name for path in checkpoints(job.folder)] == ["checkpoint_0000003.pth", "checkpoint_0000002.pth"]
    train(job)
    assert "resumed at iteration 3" in capfd.readouterr().err
    train(whole)
    assert_same(job, whole)


def test_sigterm_in_the_last_iteration_finishes_the_run(job: Run, monkeypatch: pytest.MonkeyPatch):
    plain = Progress.after_step

    def terminate(self: Progress) -> None:
        plain(self)
        if self.trainer.iter + 1 == self.trainer.max_iter:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Progress, "after_step", terminate)
    train(job)
    assert (job.folder / FINAL).exists()


@pytest.mark.parametrize("damage", [flip, cut, lose_record, empty_record], ids=lambda one: one.__name__)
def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(
    job: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], damage: Callable[[Path], None]
):
    job, whole = job_with(job), job_with(job, job.results / "whole")
    interrupt(job, monkeypatch, after=5)
    assert [path.stem[-1] for path in checkpoints(job.folder)] == ["5", "4"]
    damage(job.folder / "checkpoint_0000005.pth")
    (job.folder / "last_checkpoint").write_bytes(b"\xff\x00")  # such pointers were once written, and decide nothing
    (job.folder / ".curves.jsonl").write_bytes(b'{"iteration": 1, "lr\n\xff{}\n')
    capfd.readouterr()
    train(job)
    error = capfd.readouterr().err
    assert re.search(r"checkpoint_0000005\.pth: (damaged|not verified): .*; it is removed", error)
    assert "resumed at iteration 4" in error
    train(whole)
    (job.folder / "last_checkpoint").unlink()
    assert_same(job, whole)


def test_both_checkpoints_damaged_start_anew(job: Run, monkeypatch: pytest.MonkeyPatch):
    job, whole = job_with(job), job_with(job, job.results / "whole")
    interrupt(job, monkeypatch, after=4)
    for path in checkpoints(job.folder):
        flip(path)
    train(job)
    train(whole)
    assert_same(job, whole)


KILLED = """
import os, runpy, signal
import torch
from pathlib import Path
from replication.training import checkpoint

def die(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)

plain_save, plain_replace, count = torch.save, Path.replace, [0]

def save(data, file):
    count[0] += 1
    if "WHERE" == "half" and count[0] == 2:
        file.write(b"PK half a checkpoint" * 1000)
        file.flush()
        die()
    plain_save(data, file)

def replace(self, target):
    if count[0] == 2 and self.name.startswith(".checkpoint") and "WHERE" == "renaming":
        die()
    result = plain_replace(self, target)
    if count[0] == 2 and self.name.startswith(".checkpoint") and "WHERE" == "renamed":
        die()
    return result

torch.save, Path.replace = save, replace
if "WHERE" == "record":
    plain_write = checkpoint.write_text
    checkpoint.write_text = lambda path, text: die() if count[0] == 2 else plain_write(path, text)
runpy.run_module("replication", run_name="__main__")
"""


@pytest.mark.parametrize("where", ["half", "record", "renaming", "renamed"])
def test_kill_in_the_middle_of_writing_a_checkpoint(job: Run, tmp_path: Path, where: str):
    job, whole = job_with(job, name="own"), job_with(job, job.results / "whole", name="own")
    protocol = tmp_path / "protocol.yaml"
    protocol.write_text(json.dumps(job.protocol.model_dump(mode="json")))
    command = ["train", "--protocol", str(protocol), "--results", str(job.results), "--variant", job.variant.name]
    killed = subprocess.run([sys.executable, "-c", KILLED.replace("WHERE", where), *command], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert (job.folder / "checkpoint_0000002.pth").exists()
    train(job)
    train(whole)
    assert_same(job, whole)


def test_the_newest_two_are_kept_and_nothing_else_counts(tmp_path: Path):
    for number in (2, 4, 10, 6):
        write_checkpoint({"model": {}, "number": number, **IDENTITY}, tmp_path / f"checkpoint_{number:07d}.pth")
    (tmp_path / ".checkpoint_0000012.pth").write_bytes(b"half")
    (tmp_path / "checkpoint_best.pth").write_bytes(b"somebody's")
    assert [int(path.stem[-7:]) for path in checkpoints(tmp_path)] == [10, 6, 4, 2]
    remove_checkpoints(tmp_path, keep=2)
    names = [f"checkpoint_{number}.pth{end}" for number in ("0000006", "0000010") for end in ("", ".sha256")]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    newest = usable_checkpoint(tmp_path, IDENTITY, "x")
    assert newest is not None
    assert read_checkpoint(newest)["number"] == 10
    assert usable_checkpoint(tmp_path, {**IDENTITY, "data_hash": "other"}, "x") is None
    assert not list(tmp_path.iterdir())


def test_the_record_is_that_of_sha256sum(tmp_path: Path):
    write_checkpoint({"model": {}}, tmp_path / FINAL)
    subprocess.run(["sha256sum", "--check", f"{FINAL}.sha256"], cwd=tmp_path, check=True)


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.mark),))


def test_nothing_is_unpickled_even_with_a_fitting_record(tmp_path: Path):
    mark, run = tmp_path / "mark", tmp_path / "run"
    run.mkdir()
    path = run / "checkpoint_0000002.pth"
    write_checkpoint({"model": {"weight": Payload(mark)}}, path)
    with pytest.raises(WeightsError, match=r"checkpoint_0000002\.pth: not readable"):
        read_checkpoint(path)
    elsewhere = tmp_path / "backbone.pth"
    elsewhere.write_bytes(path.read_bytes())
    checkpointer = AtomicCheckpointer(nn.Linear(1, 1), str(run))
    for file in (path, elsewhere):
        with pytest.raises((WeightsError, pickle.UnpicklingError)):
            checkpointer.load(str(file))
    assert not mark.exists()


# --- finished runs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [flip, cut, lose_record], ids=lambda one: one.__name__)
def test_a_damaged_final_model_is_one_message_with_advice_that_works(job: Run, damage: Callable[[Path], None]):
    whole = job_with(job, job.results / "whole")
    train(whole)
    train(job)
    damage(job.folder / FINAL)
    advice = rf"model_final\.pth: (damaged|not verified).*--variant {job.variant.name} --seed 0 --restart"
    for verb in (detect, train):
        with pytest.raises(WeightsError, match=advice):
            verb(job)
    train(job, restart=True)
    detect(job)
    assert all(torch.equal(value, state(whole)[key]) for key, value in state(job).items())


@pytest.mark.parametrize("content", ["", '{"schema": "provenance/1", "vari', None])
def test_a_finished_run_without_its_provenance_says_what_works(job: Run, content: str | None):
    train(job)
    path = job.folder / "provenance.json"
    path.unlink() if content is None else path.write_text(content)
    for verb in (detect, train):
        with pytest.raises(ResultError, match=r"provenance\.json: .* unknown what made .*--restart"):
            verb(job)
    train(job, restart=True)
    detect(job)


# --- memory, devices, settings ---------------------------------------------------------------------------------------

CUDA = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.18 GiB of which 1.00 GiB is "
    "free. Process 5 has 78 GiB memory in use."
)


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError(CUDA),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to"),
        MemoryError(),
    ],
    ids=["gpu", "cpu", "python"],
)
def test_too_little_memory_is_one_message(job: Run, monkeypatch: pytest.MonkeyPatch, error: Exception):
    def forward(self: Any, *arguments: Any) -> None:
        raise error

    train(job)
    other = job_with(job, job.results / "other")
    with monkeypatch.context() as patch:
        patch.setattr("detectron2.modeling.GeneralizedRCNN.forward", forward)
        with pytest.raises(TrainingError, match=r"^out of memory \(.*\): lower `batch` .*SIZE_TRAIN.*--gpus") as told:
            train(other)
        assert "Process 5" not in str(told.value)
        with pytest.raises(TrainingError, match=r"^out of memory \(.*\): lower INPUT.MIN_SIZE_TEST"):
            detect(job)
    assert not (job.folder / "detections.json").exists()


def test_other_errors_of_torch_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes"), device_room.out_of_memory("advice"):
        raise RuntimeError("shapes do not match")


def test_a_gpu_lock_of_another_user_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    class Properties:
        def __init__(self, index: int) -> None:
            self.uuid = f"uuid-{index}"

    class Lock:
        def __init__(self, path: Path, mode: int) -> None:
            self.path = path

        def acquire(self, timeout: float) -> Any:
            if "uuid-0" in self.path.name:
                raise PermissionError(errno.EACCES, "Permission denied", str(self.path))
            return pytest.MonkeyPatch.context()

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", Properties)
    monkeypatch.setattr(device_room, "FileLock", Lock)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    path = tmp_path / "replication-gpu-uuid-0.lock"
    path.write_text("")
    with device_room.devices("cuda") as taken:  # the other GPU will do
        assert [one.index for one in taken] == [1]
    with pytest.raises(TrainingError, match=rf"{path}: the lock of a GPU belongs to user {path.owner()}"):
        device_room.devices("cuda", 2).__enter__()


def test_locks_of_gpus_are_for_all_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: type("P", (), {"uuid": "u"}))
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    with device_room.devices("cuda"):
        assert (tmp_path / "replication-gpu-u.lock").stat().st_mode & 0o777 == 0o666


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1, 2**64, 10**40])
def test_a_seed_that_no_generator_takes(job: Run, seed: int):
    wrong = Run(job.variant, job.protocol, seed, job.results)
    for act in (lambda: train(wrong), lambda: run_config(job.variant, job.protocol, seed, 3, job.folder)):
        with pytest.raises(ConfigError, match=rf"--seed {seed}: expected a whole number from 0 to {MAX_SEED}"):
            act()
    assert not job.results.exists()


def test_the_largest_seed_trains(job: Run):
    assert train(Run(job.variant, job.protocol, MAX_SEED, job.results)).exists()


def test_a_schedule_that_leaves_no_iterations_is_named(job: Run):
    short = Run(load_catalog().variants["faster_rcnn_R50_voc_giou"], job.protocol, 0, job.results)
    with pytest.raises(ConfigError, match=r"protocol smoke: iterations: .*voc_giou has SOLVER.MAX_ITER 1 and .*more"):
        train(short)


def test_an_unwritable_folder_is_noticed_before_detecting(job: Run, monkeypatch: pytest.MonkeyPatch):
    train(job)

    def read_only(**options: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    def work(*arguments: Any) -> None:
        raise AssertionError("worked before it looked")

    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    monkeypatch.setattr(detect_room, "load_split", work)
    with pytest.raises(ReplicationError, match=r"seed0: cannot write: Read-only file system"):
        detect(job)


# --- several processes -----------------------------------------------------------------------------------------------


def _one_of_two(rank: int, meeting: str, job: Run, *what: Any) -> None:
    torch.distributed.init_process_group("gloo", init_method=meeting, world_size=2, rank=rank)
    comm._LOCAL_PROCESS_GROUP = torch.distributed.new_group([0, 1])
    plain = Progress.after_step

    def terminate(self: Progress) -> None:
        """A cluster signals all processes of a job, and that at different moments."""
        plain(self)
        if self.trainer.iter + 1 == 3:
            other = next(int(pid) for pid in Path(f"{job.folder}/other").read_text().split())
            os.kill(other, signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)

    if rank == 1:
        Path(f"{job.folder}/other").write_text(str(os.getpid()))
    torch.distributed.barrier()
    Progress.after_step = terminate  # type: ignore[method-assign]
    _fit_on_rank(job, *what, kind="cpu")


def test_sigterm_ends_a_training_of_two_processes_with_its_code(job: Run, monkeypatch: pytest.MonkeyPatch):
    job = job_with(job, checkpoint_every=100)
    records = training_records(load_split(job.protocol, "train").records)
    cfg = run_config(job.variant, job.protocol, job.seed, 10, job.folder)
    job.folder.mkdir(parents=True)
    arguments = (f"file://{job.folder}/meeting", job, cfg, records, identity(job))
    with pytest.raises(ProcessExitedException) as stopped:
        torch.multiprocessing.spawn(_one_of_two, nprocs=2, args=arguments)
    assert stopped.value.exit_code == 143
    assert [path.name for path in checkpoints(job.folder)] == ["checkpoint_0000003.pth"]

    def launch(*arguments: Any, **options: Any) -> None:
        raise stopped.value

    monkeypatch.setattr(run_room, "launch", launch)
    monkeypatch.setattr(run_room, "visible_names", lambda taken: ["0", "1"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(SystemExit) as ended:
        run_room._launch(job, cfg, records, identity(job), [])
    assert ended.value.code == 143
