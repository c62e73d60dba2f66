"""Makes `.venv`, or brings it up to date: what every `make` target that needs it calls first.

    python3 envs/environment.py

Instant when nothing changed: a digest of all inputs is kept inside the environment. An interrupted
set-up is noticed on the next call and made again from nothing. Only the standard library is used here.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "complete"  # digest of what the environment was made from
UNFINISHED = VENV / "unfinished"  # there while a set-up is under way, left behind when it is killed
# Settings of the caller that would make pip or uv install somewhere else.
ELSEWHERE = ["PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_PYTHON", "PYTHONPATH", "PYTHONHOME"]
ELSEWHERE += ["UV_SYSTEM_PYTHON", "UV_PYTHON"]
LOCK = ROOT / "envs" / "requirements.txt"

sys.path.insert(0, str(ROOT / "envs" / "detectron2"))
from index_settings import pip_settings, uv_environment  # noqa: E402


def version() -> str:
    """Major and minor version of the running Python."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def digest() -> str:
    """SHA-256 of everything that decides what the environment holds, its place on the disk included."""
    inputs = [LOCK, ROOT / "envs" / "uv.txt", ROOT / "pyproject.toml"]
    inputs += sorted(path for path in (ROOT / "envs" / "detectron2").iterdir() if path.suffix in (".py", ".toml"))
    parts = [str(ROOT).encode(), version().encode(), *(path.read_bytes() for path in inputs)]
    return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def is_complete() -> bool:
    """Whether `.venv` was finished from the present inputs."""
    there = all(path.exists() for path in (PYTHON, VENV / "pyvenv.cfg", STAMP))
    return there and not UNFINISHED.exists() and STAMP.read_text() == digest()


def venv_version() -> str | None:
    """Major and minor version of the Python in `.venv`; None unless it runs and really installs into `.venv`.

    A half-deleted environment has a `bin/python` that runs, but is the base Python: without this check
    the packages of the whole machine would be replaced.
    """
    program = "import sys; print('%d.%d' % sys.version_info[:2], sys.prefix != sys.base_prefix, sys.prefix)"
    command = [str(PYTHON), "-I", "-c", program]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    found, is_virtual, prefix = done.stdout.rstrip("\n").split(" ", 2)
    return found if is_virtual == "True" and os.path.realpath(prefix) == os.path.realpath(VENV) else None


def remove() -> None:
    """Delete `.venv`; renamed first, so that an interrupted deletion leaves no half of it in place."""
    for leftover in VENV.parent.glob(f"{VENV.name}.deleted*"):
        shutil.rmtree(leftover)
    if VENV.exists():
        shutil.rmtree(VENV.rename(VENV.with_name(f"{VENV.name}.deleted")))


def create() -> None:
    """Make an empty `.venv` unless a usable one of the same Python is there."""
    usable = VENV.exists() and not UNFINISHED.exists() and venv_version() == version()
    if VENV.exists() and not usable:
        print("environment: .venv is unfinished or of another Python, making it again", flush=True)
    base = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)  # may lie in .venv itself
    if not usable:
        remove()
        VENV.mkdir()
    UNFINISHED.touch()
    STAMP.unlink(missing_ok=True)
    if usable:
        return
    done = subprocess.run([base, "-m", "venv", str(VENV)], capture_output=True, text=True)
    if done.returncode:
        detail = (done.stdout + done.stderr).strip()
        raise SystemExit(
            f"{detail}\nenvironment: `{base} -m venv` failed. On Debian and Ubuntu install its other half: "
            f"apt-get install python{version()}-venv. Or name another Python: make test PYTHON=/path/to/python3.12"
        )


def install() -> None:
    """Install the locked packages, the detectron2 wheel and this package; with pip where uv is not to be had."""
    if venv_version() is None:
        raise SystemExit(f"environment: {VENV} is not a virtual environment; delete it and call again")
    environment = {**os.environ, **uv_environment(pip_settings(str(PYTHON))), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    # Neither tool may touch another Python than .venv's: uv takes only a virtual environment from VIRTUAL_ENV.
    environment |= {"PIP_REQUIRE_VIRTUALENV": "1", "VIRTUAL_ENV": str(VENV)}
    for name in ELSEWHERE:
        environment.pop(name, None)
    pip = [str(PYTHON), "-m", "pip", "install", "--no-deps", "--quiet"]
    uv = [str(VENV / "bin" / "uv"), "pip"]
    ours = ["--no-deps", "--no-build-isolation", str(ROOT / "envs" / "detectron2"), "-e", str(ROOT)]
    sync = ["--require-hashes", "--build-constraints", str(LOCK), "--require-build-hashes"]
    sync += ["--preview-features", "build-dependency-hashes", str(LOCK)]
    with_uv = [
        [*pip, "--require-hashes", "-r", str(ROOT / "envs" / "uv.txt")],
        [*uv, "sync", *sync],
        # As pip does by itself. Where Python may write no bytecode, each process of the workflow would compile torch
        # anew, which takes four seconds.
        [*uv, "install", "--compile-bytecode", "--reinstall-package", "detectron2", *ours],
    ]
    with_pip = [[*pip, "--require-hashes", "-r", str(LOCK)], [*pip, *ours]]
    if not run_all(with_uv, environment):
        print("environment: uv did not manage, trying plain pip (slower)", flush=True)
        if not run_all(with_pip, environment):
            raise SystemExit(
                "environment: the packages could not be installed, see the message above. Check the network and pip's "
                "index settings (`pip config list`); the next call starts again."
            )


def run_all(commands: list[list[str]], environment: dict[str, str]) -> bool:
    """Run the commands in turn until one fails; whether none did."""
    return all(
        subprocess.run(command, env=environment, stdin=subprocess.DEVNULL).returncode == 0 for command in commands
    )


def main() -> None:
    """Make the environment unless it is complete; a second call at the same time waits for the first."""
    if is_complete():
        return
    with open(__file__) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_complete():
            return
        print(f"environment: setting up .venv with Python {version()} (5 GB, once)", flush=True)
        create()
        install()
        STAMP.write_text(digest())
        UNFINISHED.unlink()
        print("environment: ready", flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("environment: interrupted; the next call starts again") from None
