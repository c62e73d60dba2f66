"""PEP 517 backend: builds the wheel ``detectron2 0.6`` from the source archive ``pb1-detectron2 0.6``.

Detectron2 is not on the package index under its own name. The archive is: its Python files equal
upstream's tag v0.6 byte for byte, but its own setup.py cannot build because the C++ sources are
missing. This backend downloads the archive with ``unearth`` from where pip is told to find packages,
checks its SHA-256, applies the edits listed in ``EDITS``, adds a stub for the compiled module and
writes the wheel. Set ``DETECTRON2_SDIST`` to an already downloaded archive to build off-line.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

from index_settings import pip_settings, unearth_attempts, uv_environment
from wheel.wheelfile import WheelFile

SDIST = "pb1-detectron2==0.6"
SHA256 = "5d2e9e51e523ec72f6a31cca04b0a515492e9514b773a3d134cedc0677170b29"
HERE = Path(__file__).parent
EPOCH = "315532800"  # 1980-01-01, the first date a zip archive knows: the same wheel on every machine

# file -> (old, new): what Pillow >= 10 needs. The old text must be there, or the build stops.
EDITS = {
    "detectron2/data/transforms/transform.py": [("Image.LINEAR", "Image.BILINEAR")],
}

STUB = '''"""Stands in for Detectron2's compiled extension, which this build leaves out.

Only deformable convolution, rotated boxes and the C++ COCO evaluator live there.
"""


def __getattr__(name: str):
    if name.startswith("__"):
        raise AttributeError(name)
    raise ImportError(
        f"detectron2._C.{name} needs Detectron2's compiled extension, which this build leaves out. "
        "Install Detectron2 from its upstream repository to use deformable or rotated operators."
    )


def get_cuda_version() -> str:
    return "not compiled"


def get_compiler_version() -> str:
    return "not compiled"


def has_cuda() -> bool:
    return False
'''


def _download(folder: Path) -> Path:
    settings = pip_settings()
    problem = "pip is told to use no index"
    for options in unearth_attempts(settings):
        command = [sys.executable, "-m", "unearth", SDIST, "--no-binary", "--download", str(folder), *options]
        environment = {**os.environ, **uv_environment(settings)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode == 0:
            return next(folder.glob("*.tar.gz"))
        problem = (done.stderr.strip().splitlines() or ["no message"])[-1]
    raise SystemExit(
        f"could not download {SDIST} from the package index: {problem}\n"
        "Check the network, or set DETECTRON2_SDIST to a downloaded archive."
    )


def _archive(folder: Path) -> Path:
    given = os.environ.get("DETECTRON2_SDIST")
    path = Path(given) if given else _download(folder)
    if not path.is_file():
        raise SystemExit(f"DETECTRON2_SDIST: {path} is not a file")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SHA256:
        raise SystemExit(f"{path.name}: SHA-256 is {digest}, expected {SHA256}; refusing to build")
    return path


def _sources(archive: Path) -> dict[str, bytes]:
    """Name in the wheel -> bytes, edits applied."""
    files: dict[str, bytes] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            name = member.name.partition("/")[2]
            if member.isfile() and name.startswith("detectron2/"):
                content = tar.extractfile(member)
                assert content is not None
                files[name] = content.read()
    _edit(files)
    files["detectron2/_C.py"] = STUB.encode()
    return files


def _edit(files: dict[str, bytes]) -> None:
    """Apply ``EDITS`` in place."""
    for name, edits in EDITS.items():
        text = files.get(name, b"").decode()
        for old, new in edits:
            if old not in text:
                raise SystemExit(f"{name}: the text to edit is not there: {old!r}")
            text = text.replace(old, new)
        files[name] = text.encode()


def _metadata() -> str:
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {project['name']}",
        f"Version: {project['version']}",
        f"Summary: {project['description']}",
        f"License: {project['license']['text']}",
        f"Requires-Python: {project['requires-python']}",
        *(f"Requires-Dist: {requirement}" for requirement in project["dependencies"]),
    ]
    return "\n".join(lines) + "\n"


def build_wheel(
    wheel_directory: str,
    config_settings: dict[str, str] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """Write the wheel and return its file name (PEP 517); the same bytes on every machine."""
    name = "detectron2-0.6-py3-none-any.whl"
    os.environ.setdefault("SOURCE_DATE_EPOCH", EPOCH)
    with tempfile.TemporaryDirectory() as folder:
        files = _sources(_archive(Path(folder)))
    info = "detectron2-0.6.dist-info"
    files[f"{info}/METADATA"] = _metadata().encode()
    files[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: envs/detectron2\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    with WheelFile(Path(wheel_directory) / name, "w") as wheel:
        for path in sorted(files):
            wheel.writestr(path, files[path])
    return name


def build_sdist(sdist_directory: str, config_settings: dict[str, str] | None = None) -> str:
    """Refuse: there is no source archive of our own to make."""
    raise NotImplementedError("build the wheel: pip wheel --no-deps envs/detectron2")
