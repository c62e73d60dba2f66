"""Who holds a folder: one at a time, named in messages, taken over when dead, on this machine and on another."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from replication.errors import LockedError, ReplicationError
from replication.results import lease as module
from replication.results.lease import Holder, lease
from replication.results.schemas import write

HOLD = """
import sys, time
from pathlib import Path
from replication.results.lease import lease
with lease(Path(sys.argv[1]), "this run"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "run" / ".lock"


def holding(lock: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def elsewhere(lock: Path, age: float, **other: object) -> Path:
    """A record of a holder on another machine that gave its last sign of life ``age`` seconds ago."""
    record = lock.with_name(".lock.json")
    content = {"host": "node7", "boot": "another", "pid": 7, "started": "2026-01-01T00:00:00+00:00", "token": "t"}
    write(record, Holder, content | other)
    then = time.time() - age
    os.utime(record, (then, then))
    return record


def names(lock: Path) -> set[str]:
    return {path.name for path in lock.parent.iterdir()}


def test_the_holder_is_named_while_it_holds_and_forgotten_after(lock: Path):
    with lease(lock, "this run"):
        assert json.loads((lock.parent / ".lock.json").read_text())["pid"] == os.getpid()
    assert names(lock) == {".lock"}


def test_a_second_one_is_told_who_holds_it(lock: Path):
    process = holding(lock)
    try:
        with pytest.raises(
            LockedError, match=rf"run: another process is working on this run \(process {process.pid} on"
        ):
            lease(lock, "this run").__enter__()
    finally:
        process.kill()
        process.wait()


def test_the_job_of_a_cluster_is_named(lock: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    process = holding(lock)
    with pytest.raises(LockedError, match="job 4711, since"):
        lease(lock, "this run").__enter__()
    process.kill()
    process.wait()


def test_a_dead_holder_of_this_machine_is_succeeded_at_once(lock: Path):
    process = holding(lock)
    process.kill()
    process.wait()
    assert (lock.parent / ".lock.json").exists()
    (lock.parent / ".lock.json.left").write_text("by a process that was killed as it entered itself")
    begun = time.monotonic()
    with lease(lock, "this run"):
        assert json.loads((lock.parent / ".lock.json").read_text())["pid"] == os.getpid()
    assert time.monotonic() - begun < 1
    assert names(lock) == {".lock"}


def test_waiting_goes_on_when_the_other_ends(lock: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "POLL", 0.05)
    process = holding(lock)
    threading.Timer(0.5, process.kill).start()
    told: list[str] = []
    with lease(lock, "this run", wait=True, tell=told.append):
        assert process.wait() == -signal.SIGKILL
    assert len(told) == 1, "not every time it looks"
    assert f"(process {process.pid} on" in told[0]
    assert told[0].endswith("waiting for it to end")


def test_a_killed_process_whose_children_still_hold_the_lock(lock: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "POLL", 0.05)
    lock.parent.mkdir()
    dead = subprocess.Popen(["true"])
    dead.wait()
    elsewhere(lock, 0, boot=module._boot(), pid=dead.pid)
    child = FileLock(lock, thread_local=False)
    child.acquire()
    threading.Timer(0.3, child.release).start()
    with lease(lock, "this run"):
        pass


def test_a_living_holder_of_another_machine_is_respected(lock: Path):
    record = elsewhere(lock, age=module.STALE - 60)
    before = record.read_bytes()
    with pytest.raises(LockedError, match="process 7 on node7, since 2026-01-01"):
        lease(lock, "this run").__enter__()
    assert record.read_bytes() == before


def test_a_silent_holder_of_another_machine_is_succeeded(lock: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "BEAT", 0.2)
    elsewhere(lock, age=module.STALE + 60)
    with lease(lock, "this run"):
        assert json.loads((lock.parent / ".lock.json").read_text())["host"] != "node7"
    assert names(lock) == {".lock"}


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
def test_a_jump_of_the_clock_makes_nobody_dead(lock: Path, monkeypatch: pytest.MonkeyPatch, jump: float):
    monkeypatch.setattr(module, "BEAT", 0.4)
    record = elsewhere(lock, age=jump)
    threading.Timer(0.2, os.utime, (record,)).start()  # its next sign of life
    with pytest.raises(LockedError, match="node7"):
        lease(lock, "this run").__enter__()


def test_a_garbled_record_counts_as_that_of_another_machine(lock: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "BEAT", 0.1)
    lock.parent.mkdir()
    record = lock.with_name(".lock.json")
    record.write_bytes(b"{\xff")
    with pytest.raises(LockedError, match="another process is working on this run; wait"):
        lease(lock, "this run").__enter__()
    os.utime(record, (1, 1))
    with lease(lock, "this run"):
        pass


def test_who_was_taken_over_stops(lock: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    monkeypatch.setattr(module, "BEAT", 0.05)
    stopped = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    try:
        with lease(lock, "this run"):
            modified = lock.with_name(".lock.json").stat().st_mtime_ns
            time.sleep(0.2)
            assert lock.with_name(".lock.json").stat().st_mtime_ns > modified
            record = elsewhere(lock, age=0)
            assert stopped.wait(5)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "taken over by process 7 on node7" in capfd.readouterr().err
    assert record.exists(), "the record is the other's"


def test_a_folder_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ReplicationError, match="file/run: cannot write"):
        lease(tmp_path / "file" / "run" / ".lock", "this run").__enter__()
