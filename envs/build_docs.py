"""Builds the documentation site into `build/site`; a broken link, anchor or reference fails the build.

    python3 envs/build_docs.py [--serve]

Its packages are locked in `envs/docs.txt` and live in `build/docs-venv`, which is made when that lock changes. They
hold what the package itself needs, without torch: `.venv` is neither needed nor touched.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys

from environment import ELSEWHERE, ROOT, run_all
from index_settings import pip_settings, uv_environment

LOCK = ROOT / "envs" / "docs.txt"
VENV = ROOT / "build" / "docs-venv"
PYTHON = str(VENV / "bin" / "python")
SITE = ROOT / "build" / "site"


def install() -> None:
    """Make the environment unless it was finished from this lock by this Python; with pip where uv does not manage."""
    stamp = VENV / "complete"
    wanted = hashlib.sha256(f"{VENV} {sys.version}".encode() + LOCK.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    print(f"docs: setting up {VENV.relative_to(ROOT)} (0.5 GB, once)", flush=True)
    shutil.rmtree(VENV, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    environment = {**os.environ, **uv_environment(pip_settings(PYTHON)), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment |= {"PIP_REQUIRE_VIRTUALENV": "1", "VIRTUAL_ENV": str(VENV)}
    for name in ELSEWHERE:
        environment.pop(name, None)
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "-r"]
    uv = [str(VENV / "bin" / "uv"), "pip", "install", "--quiet", "--no-deps", "--require-hashes", "-r", str(LOCK)]
    fast = run_all([[*pip, str(ROOT / "envs" / "uv.txt")], uv], environment)
    if not fast and not run_all([[*pip, str(LOCK)]], environment):
        raise SystemExit("docs: the packages could not be installed; check the network and pip's index settings")
    stamp.write_text(wanted)


def main() -> int:
    """Build the site, or show it while pages are edited; returns mkdocs' exit code."""
    install()
    verb = ["serve"] if "--serve" in sys.argv[1:] else ["build", "--strict", "--site-dir", str(SITE)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run([PYTHON, "-m", "mkdocs", *verb], cwd=ROOT, env=environment)
    if done.returncode == 0:
        print(f"docs: {SITE.relative_to(ROOT)}/index.html")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
