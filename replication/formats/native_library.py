"""The compiled library of the kernels: built from ``native/*.c`` with the package, or by the machine's own compiler.

Its name carries a hash of its sources, so that none is ever run that was made from others. The standard library alone
is used here: ``setup.py`` runs this file before anything is installed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[1] / "native"
# No fused multiply and add: every compiler and processor gives the same bits, and those of numba.
FLAGS = ("-std=c11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")
LONGEST = 120  # seconds that a compiler may take; it needs one or two


def library() -> Path | None:
    """The library of these sources, built now where it is missing; None without a compiler or a folder for it."""
    folders = (SOURCES, _cache())
    for folder in folders:
        if (folder / name()).is_file():
            return folder / name()
    return next((built for folder in folders if (built := build(folder)) is not None), None)


def name() -> str:
    """The library's file name: a hash of sources and flags, and the platform."""
    digest = hashlib.sha256(" ".join(FLAGS).encode())
    for path in sorted(SOURCES.glob("*.[ch]")):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"kernels-{digest.hexdigest()[:16]}-{sysconfig.get_platform()}.so"


def build(folder: Path) -> Path | None:
    """Compile the library into ``folder``, in place of older ones; None where that is not possible."""
    compiler = next((found for one in (os.environ.get("CC"), "cc", "gcc", "clang") if (found := _found(one))), None)
    if compiler is None:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = Path(scratch) / name()
            command = [compiler, *FLAGS, "-o", str(made), *map(str, sorted(SOURCES.glob("*.c"))), "-lm"]
            subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=LONGEST)
            os.replace(made, folder / name())
    except (OSError, subprocess.SubprocessError):
        return None
    for other in folder.glob(f"kernels-*-{sysconfig.get_platform()}.so"):
        if other.name != name():
            with contextlib.suppress(OSError):
                other.unlink()
    return folder / name()


def _found(compiler: str | None) -> str | None:
    return shutil.which(compiler) if compiler else None


def _cache() -> Path:
    """The user's folder, for packages that are installed where they may not write."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "detection-replication"
