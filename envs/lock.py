"""Writes the locks in `envs`: requirements, judge, docs and uv `.txt`: exact versions with hashes, no addresses.

    .venv/bin/python envs/lock.py [--upgrade]

Versions that are in the lock already are kept where they still fit; `--upgrade` takes the newest ones.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from environment import LOCK, ROOT, VENV
from index_settings import pip_settings, uv_environment

HEADER = "# Made by `make lock`{source}; Python 3.11 and 3.12.{more}\n"
JUDGE = ROOT / "envs" / "judge.txt"
# What `make docs` builds the site with; no extra of the package, so that `.venv` does not grow by it.
DOCS = ["mkdocs>=1.6,<2", "mkdocs-material>=9.6", "mkdocstrings-python>=2"]
# Locked here and ranged in pyproject.toml: what the GPU machines that this was tried on hold.
PINS = ["torch==2.11.*", "torchvision==0.26.*", "setuptools<81"]
FORM = ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-emit-index-url", "--no-header"]


def compile_lock(sources: list[Path], target: Path, options: list[str], header: str) -> None:
    """Resolve the requirements of `sources` into `target`."""
    environment = {**os.environ, **uv_environment(pip_settings())}
    command = [str(VENV / "bin" / "uv"), "pip", "compile", "--quiet", *map(str, sources), *FORM, "--no-annotate"]
    subprocess.run([*command, *options, "-o", str(target)], check=True, env=environment)
    target.write_text(header + target.read_text())


def main() -> None:
    """Write the locks; that of the image that judges holds the same versions of the few packages it needs."""
    upgrade = sys.argv[1:]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", name]
        subprocess.run([*wheel, str(ROOT / "envs" / "detectron2")], check=True)
        (folder / "pins.txt").write_text("\n".join(PINS) + "\n")
        (folder / "uv.in").write_text("uv\n" if upgrade else f"uv=={version('uv')}\n")
        options = ["--extra", "all", "--find-links", name, "--no-emit-package", "detectron2"]
        options += ["-c", str(folder / "pins.txt"), *upgrade]
        more = " detectron2 comes from envs/detectron2."
        source = " from pyproject.toml"
        (folder / "docs.in").write_text("\n".join(DOCS) + "\n")
        project = ROOT / "pyproject.toml"
        compile_lock([project], LOCK, options, HEADER.format(source=source, more=more))
        compile_lock([project], JUDGE, ["-c", str(LOCK)], HEADER.format(source=source, more=""))
        docs = ["-c", str(LOCK), *upgrade]
        compile_lock([project, folder / "docs.in"], ROOT / "envs" / "docs.txt", docs, HEADER.format(source="", more=""))
        compile_lock([folder / "uv.in"], ROOT / "envs" / "uv.txt", upgrade, HEADER.format(source="", more=""))


if __name__ == "__main__":
    main()
