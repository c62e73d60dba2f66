"""Verbs run in processes of their own, to which something happens: killed, out of disk, read-only, interrupted."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from replication.cli.main import main
from replication.results import files

# The server loads torch once; every process is forked from it.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["replication.training.run", "replication.inference.propose", "replication.report", "replication.export"]
)
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate", "os.utime", "os.chmod")
VOLATILE = ("started", "finished", "seconds", "s_per_iter", "resumed_at")
LEFT = re.compile(r"\.lock(\.json)?|\..+\.[a-z0-9_]{8}")
"""Locks, and what a process that is killed was writing: removed by a later one."""


@dataclass(frozen=True)
class Fault:
    """What happens to a process: at its file operation number ``at`` (0 is never), or to all of them.

    ``kind`` is none, kill (SIGKILL, in the middle where it is a write), read-only, or full, where no file may grow
    beyond ``limit`` bytes.
    """

    kind: str = "none"
    at: int = 0
    limit: int = 0


@dataclass(frozen=True)
class Ending:
    """Exit code (negative is a signal), what it wrote on standard error, and how many file operations it made."""

    code: int
    error: str
    operations: int
    seconds: float


@dataclass
class Campaign:
    """Counts what was tried."""

    tried: dict[str, int] = field(default_factory=dict)

    def count(self, what: str) -> None:
        self.tried[what] = self.tried.get(what, 0) + 1

    def __str__(self) -> str:
        return f"{sum(self.tried.values())} faults: " + ", ".join(f"{n} {what}" for what, n in self.tried.items())


def run(
    command: Sequence[str], results: Path, fault: Fault | None = None, number: int = 0, after: float | None = None
) -> Ending:
    """Run a verb; send signal ``number`` after so many seconds of it."""
    started = start(command, results, fault or Fault())
    process, report, _ = started
    begun = time.monotonic()
    if after is not None:
        deadline = begun + 60
        while not report.with_suffix(".begun").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        process.join(after)
        if process.is_alive() and process.pid:
            os.kill(process.pid, number)
    return end(started, begun)


def start(command: Sequence[str], results: Path, fault: Fault) -> tuple[Any, Path, Any]:
    """The process, what its reports are named after, and its standard error: a pipe, which no disk limits."""
    report = results.parent / f"report-{time.monotonic_ns()}"
    reader, writer = SERVER.Pipe(duplex=False)
    process = SERVER.Process(target=_verb, args=([*command, "--results", str(results)], results, fault, report, writer))
    process.start()
    writer.close()
    return process, report, reader


def end(started: tuple[Any, Path, Any], begun: float) -> Ending:
    process, report, reader = started
    process.join(120)
    assert process.exitcode is not None, "hangs"
    pieces = []
    while piece := os.read(reader.fileno(), 1 << 16):
        pieces.append(piece)
    reader.close()
    error = b"".join(pieces).decode(errors="replace")
    counted = report.with_suffix(".count")
    operations = int(counted.read_text()) if counted.exists() else 0
    for path in report.parent.glob(f"{report.name}.*"):
        path.unlink()
    return Ending(process.exitcode, error, operations, time.monotonic() - begun)


def _verb(command: list[str], results: Path, fault: Fault, report: Path, writer: Any) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(writer.fileno(), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    report.with_suffix(".begun").touch()
    count = _meet(fault, results)
    try:
        code = main(command)
    except KeyboardInterrupt:
        code = 130
    if fault.kind == "none":
        report.with_suffix(".count").write_text(str(count[0]))
    sys.stderr.flush()
    os._exit(code)


def _meet(fault: Fault, results: Path) -> list[int]:
    """Arrange for the fault; returns the count of file operations under ``results``."""
    count, under = [0], str(results)
    if fault.kind == "full":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.limit, resource.RLIM_INFINITY))

    def operation() -> bool:
        count[0] += 1
        return fault.kind == "kill" and count[0] == fault.at

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event in CHANGES or (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if not writes or not str(arguments[0]).startswith(under):
            return
        if fault.kind == "read-only":
            raise OSError(errno.EROFS, "Read-only file system", str(arguments[0]))
        if operation():
            os.kill(os.getpid(), signal.SIGKILL)

    plain = os.fdopen

    def fdopen(handle: int, mode: str = "r", *more: Any, **options: Any) -> Any:
        file = plain(handle, mode, *more, **options)
        if "w" not in mode:
            return file
        write = file.write

        class Written:
            """The file, of which a write may be the last thing that the process does, and be half done."""

            def write(self, data: bytes) -> int:
                if operation():
                    write(bytes(data)[: len(data) // 2])
                    file.flush()
                    os.kill(os.getpid(), signal.SIGKILL)
                written: int = write(data)
                return written

            def __enter__(self) -> Written:
                return self

            def __exit__(self, *error: object) -> None:
                file.close()

            def __getattr__(self, name: str) -> Any:
                return getattr(file, name)

        return Written()

    files.os = type("os", (), {**vars(os), "fdopen": staticmethod(fdopen)})  # type: ignore[assignment]
    sys.addaudithook(watch)
    return count


def content(results: Path) -> dict[str, Any]:
    """What a results folder holds: bytes by path, of provenance and curves all but the times."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in results.rglob("*") if path.is_file() and not LEFT.fullmatch(path.name)):
        name = str(path.relative_to(results))
        if path.name == "provenance.json":
            found[name] = {key: value for key, value in json.loads(path.read_text()).items() if key not in VOLATILE}
        elif path.name == "curves.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [{key: value for key, value in line.items() if key not in VOLATILE} for line in lines]
        elif path.name != "config.yaml":  # names its own folder
            found[name] = path.read_bytes()
    return found


def copied(source: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target
