"""A run of a variant that is a command: started, resumed and checked like a training of ours. No torch.

The command is run in its folder of configs, by a shell. When it ends well its detections are checked against the
validation data and kept; when it fails, or is interrupted, everything in its folder stays for the next attempt.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from replication.catalog.commands import COMMAND, home
from replication.datasets.splits import coco_paths, data_hash, ground_truth, load_split
from replication.errors import ResultError, TrainingError
from replication.formats.detections import read_detections
from replication.formats.splits import SplitName
from replication.formats.truth import read_ground_truth
from replication.results.files import check_writable, load_json, make_folder, sha256_file, write_bytes, write_text
from replication.results.fingerprint import command_fingerprint
from replication.results.layout import DETECTIONS, RunFiles
from replication.results.lease import lease
from replication.results.run import Run
from replication.results.schemas import Provenance, read, write

LAST_LINES = 15
"""Of a failed command's output, in the message."""
PATIENCE = 10.0
"""Seconds that a command has to end after SIGTERM."""
TERMINATED = 143


def run_command(
    run: Run,
    restart: bool = False,
    gpus: int = 1,
    wait: bool = False,
    replace: bool = False,
    limit: float | None = None,
) -> Path:
    """Run the command of a variant to its end; returns the path of ``received.json``, its checked detections.

    Options as of ``training.run.train``. What the command has kept in its folder is there when it is started again,
    unless it is of another command, other code or data, or ``restart``. Raises TrainingError for a command that fails,
    with its exit code and last lines, or takes longer than ``limit`` seconds, ResultError for wrong detections.
    """
    expected = identity(run)
    with (
        lease(run.files.lock, "this run", wait, lambda message: _say(f"{run.label}: {message}")),
        _devices(run.protocol.device, gpus) as (device, environment),
    ):
        if restart or (replace and _made_by(run.files) not in (None, expected)):
            _discard(run.files)
        if run.files.received.exists():
            check_received(run, "give --restart to discard it and run the command again")
            _say(f"{run.label}: already done")
        else:
            _keep_or_discard(run, expected)
            started, clock = _now(), time.perf_counter()
            command = _filled(run, gpus if device["type"] == "cuda" else 0)
            _execute(run, command, environment, limit)
            found = _checked(run)
            write(
                run.files.provenance,
                Provenance,
                {
                    **{"protocol": run.protocol.name, "variant": run.variant.name, "seed": run.seed},
                    **expected,
                    **{"config_hash": expected["training_fingerprint"], "fingerprint": COMMAND, "command": command},
                    "code": _code(run),
                    **{"device": device, "threads": run.protocol.threads, "started": started, "finished": _now()},
                    "seconds": round(time.perf_counter() - clock, 1),
                },
            )
            found.replace(run.files.received)  # last: it says that the run is finished
        if not run.files.trained.exists():
            write_text(run.files.trained, "")
    return run.files.received


def detections_of_command(run: Run) -> Path:
    """Write ``detections.json`` from what a finished command has left; ResultError where it is not finished."""
    if not run.files.received.exists():
        raise ResultError(
            f"{run.files.received}: no such file; run the command first: `replication train --variant "
            f"{run.variant.name} --seed {run.seed}`"
        )
    check_received(run, "run the command again with `replication train --restart`")
    read_detections(run.files.received, read_ground_truth(coco_files(run, "val")[0]))
    write_bytes(run.files.detections, run.files.received.read_bytes())
    return run.files.detections


def identity(run: Run) -> dict[str, str]:
    """What a command's result depends on, as far as it is known here."""
    return {"training_fingerprint": command_fingerprint(run.variant), "data_hash": data_hash(run.protocol)}


def check_received(run: Run, what_to_do: str) -> None:
    """Raise ResultError when the finished run in the folder is of another command, other code or data."""
    made = read(run.files.provenance, Provenance)
    for key, value in identity(run).items():
        if getattr(made, key) != value:
            raise ResultError(
                f"{run.folder}: holds a finished run whose {key} is {getattr(made, key)}, now it is {value}: another "
                f"command, other code or data; {what_to_do}, or choose another --results folder"
            )


def coco_files(run: Run, split: SplitName) -> tuple[Path, Path]:
    """COCO's file of a split and the folder of its images; written where the data have none such."""
    data = run.protocol.data
    if data.kind in ("coco", "embedded"):
        paths = coco_paths(data, split)
        if len(paths) == 1:
            return paths[0][0].absolute(), paths[0][1].absolute()
    content = load_split(run.protocol, split)
    path = run.layout.annotations(split).absolute()
    text = json.dumps(ground_truth(content), allow_nan=False) + "\n"
    if not path.exists() or path.read_text() != text:
        write_text(path, text)
    return path, content.root.absolute()


def _code(run: Run) -> dict[str, str]:
    """SHA-256 of the files of the command's code, by name."""
    folder = home(run.variant.path)
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in run.variant.code}


def _filled(run: Run, gpus: int) -> str:
    """The command with its placeholders."""
    (train, train_images), (val, val_images) = coco_files(run, "train"), coco_files(run, "val")
    folder = run.files.command.absolute()
    values: dict[str, Any] = {
        **{"seed": run.seed, "detections": folder / DETECTIONS, "folder": folder},
        **{"train_annotations": train, "train_images": train_images},
        **{"val_annotations": val, "val_images": val_images},
        **{"threads": run.protocol.threads, "gpus": gpus, "python": sys.executable},
    }
    return run.variant.command.format_map({name: shlex.quote(str(value)) for name, value in values.items()})


def _keep_or_discard(run: Run, expected: dict[str, str]) -> None:
    """Leave what an unfinished attempt has kept if it is of the same command, code and data."""
    if (made := _made_by(run.files)) not in (None, expected):
        _say(f"{run.label}: what is in {run.files.command} is of another command, other code or data: discarded")
        _discard(run.files)
    elif made is not None:
        _say(f"{run.label}: goes on in {run.files.command}")
    make_folder(run.files.command)
    check_writable(run.files.command)
    write_text(run.files.attempt, json.dumps(expected) + "\n")
    (run.files.command / DETECTIONS).unlink(missing_ok=True)  # of an attempt that failed afterwards


def _made_by(files: RunFiles) -> dict[str, str] | None:
    """The identity of what is in the run's folder; None for an empty one."""
    if not files.attempt.exists():
        return None
    with contextlib.suppress(ResultError):
        made = load_json(files.attempt)
        if isinstance(made, dict):
            return made
    return {}


def _discard(files: RunFiles) -> None:
    """Delete everything, what says that it is finished first."""
    for path in sorted(files.leftovers, key=lambda path: path not in (files.trained, files.received)):
        path.unlink()
    if files.command.exists():
        shutil.rmtree(files.command)


def _execute(run: Run, command: str, environment: dict[str, str], limit: float | None) -> None:
    """Run the command, its output passed on and kept in ``command.log``."""
    last: deque[str] = deque(maxlen=LAST_LINES)
    settings = {"OMP_NUM_THREADS": str(run.protocol.threads), "PYTHONUNBUFFERED": "1"}
    with _alone(run.files) as lock, open(run.files.command_log, "a", encoding="utf-8") as log:
        log.write(f"$ {command}\n")
        process = subprocess.Popen(
            command,
            shell=True,
            cwd=home(run.variant.path),
            env=os.environ | settings | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
            pass_fds=(lock,),
        )
        expired = threading.Event()
        with _ended_with_us(process, limit, expired):
            assert process.stdout is not None
            for line in process.stdout:
                _say(f"{run.label}: {line.rstrip()}")
                log.write(line)
                last.append(line.rstrip())
            code = process.wait()
    if expired.is_set():
        raise TrainingError(f"{run.variant.path}: run: was not done after {limit:.0f} s and was stopped")
    if code:
        reason = f"was killed by signal {-code}" if code < 0 else f"failed with exit code {code}"
        said = "\n  ".join(["its last lines:", *last]) if last else "it wrote nothing"
        raise TrainingError(
            f"{run.variant.path}: run: the command {reason}; what it kept is in {run.files.command}, its whole output "
            f"in {run.files.command_log}: correct it and run again. The command: {command}\n{said}"
        )


@contextlib.contextmanager
def _alone(files: RunFiles) -> Iterator[int]:
    """A lock that the command and its children hold too: they may outlive a process that was killed."""
    with open(files.folder / ".command.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainingError(
                f"{files.folder}: the command of an earlier attempt, whose `replication train` was killed, is still "
                "running; wait for it to end or stop it, then run again"
            ) from None
        yield file.fileno()


@contextlib.contextmanager
def _ended_with_us(process: subprocess.Popen[str], limit: float | None, expired: threading.Event) -> Iterator[None]:
    """Stop the command and its children when this process is interrupted or terminated, or after ``limit`` seconds."""

    def late() -> None:
        expired.set()
        _stop(process)

    def terminated(number: int, frame: Any) -> None:
        raise SystemExit(TERMINATED)

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, terminated) if main else None
    timer = threading.Timer(limit, late) if limit is not None else None
    if timer is not None:
        timer.start()
    try:
        yield
    except BaseException:
        _stop(process)
        raise
    finally:
        if timer is not None:
            timer.cancel()
        if main:
            signal.signal(signal.SIGTERM, before)


def _stop(process: subprocess.Popen[str]) -> None:
    """End the command's whole group: politely, then not."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        os.killpg(process.pid, signal.SIGKILL)


def _checked(run: Run) -> Path:
    """The detections that a command has written, in its folder."""
    path = run.files.command / DETECTIONS
    if not path.exists():
        raise ResultError(
            f"{run.variant.path}: run: the command ended well but wrote no {path}; it must write to what "
            "{detections} stands for"
        )
    read_detections(path, read_ground_truth(coco_files(run, "val")[0]))
    return path


@contextlib.contextmanager
def _devices(wanted: str, gpus: int) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """What the command runs on, with the locks of its GPUs held, and the environment that shows it them.

    Without torch, or on the CPU, no GPU is locked, and the command sees those that this process does.
    """
    if wanted == "cpu":
        yield {"type": "cpu", "name": "cpu"}, {"CUDA_VISIBLE_DEVICES": ""}
        return
    try:
        from replication.training.devices import devices, visible_names
    except ModuleNotFoundError:
        yield {"type": "unknown", "name": "unknown"}, {}
        return
    with devices(wanted, gpus) as taken:
        if taken[0].type == "cpu":
            yield {"type": "cpu", "name": "cpu"}, {}
        else:
            names = ",".join(visible_names(taken))
            yield {"type": "cuda", "name": "cuda", "count": len(taken)}, {"CUDA_VISIBLE_DEVICES": names}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _say(line: str) -> None:
    """One whole line on stderr."""
    with contextlib.suppress(BrokenPipeError):
        os.write(2, f"{line}\n".encode(errors="replace"))
