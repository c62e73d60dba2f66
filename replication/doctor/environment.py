"""The doctor's look at the machine: Python, packages, device, the kind of detectron2, disks."""

from __future__ import annotations

import os
import platform
import tempfile
from importlib import import_module, metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from replication.datasets.fetch import free_bytes
from replication.datasets.roots import data_root
from replication.doctor.findings import Finding, Level

PROJECT = "detection-replication"
EXTRAS = {"": "judge and render", "train": "train", "pipeline": "run the pipeline"}  # extra -> what it is needed to do
LITTLE = 5e9  # bytes; less deserves a warning: a few checkpoints of a ResNet detector (0.3 GB each) fill it


def environment(results: Path, training: bool) -> list[Finding]:
    """Findings about the machine; with ``training`` what training lacks is an error, else a warning."""
    return [
        _python(),
        *_packages(training),
        _device(),
        _detectron2(training),
        _folder(results, "results"),
        _folder(data_root(), "data"),
    ]


def _python() -> Finding:
    wanted = metadata.metadata(PROJECT)["Requires-Python"]
    found = platform.python_version()
    if SpecifierSet(wanted).contains(found, prereleases=True):
        return Finding("ok", "environment", "python", found)
    return Finding("error", "environment", "python", f"{found} is not {wanted}", f"install Python {wanted}")


def _packages(training: bool) -> list[Finding]:
    """One finding a requirement of this project, as its installed metadata states the ranges."""
    findings = []
    for text in metadata.requires(PROJECT) or []:
        requirement = Requirement(text)
        for extra, purpose in EXTRAS.items():
            plain = requirement.marker is None
            if plain == (extra == "") and (plain or requirement.marker.evaluate({"extra": extra})):  # type: ignore[union-attr]
                missing: Level = "error" if extra == "" or (training and extra == "train") else "warning"
                findings.append(_package(requirement, missing, purpose))
    return findings


def _package(requirement: Requirement, missing: Level, purpose: str) -> Finding:
    name, wanted = requirement.name, str(requirement.specifier)
    install = f"install {name}{wanted} (see docs/running.md)"
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(missing, "environment", name, f"not installed; needed to {purpose}", install)
    if requirement.specifier.contains(found, prereleases=True):
        return Finding("ok", "environment", name, found)
    return Finding(missing, "environment", name, f"{found} is outside {wanted}", install)


def _device() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        import torch
    except ImportError as error:
        return Finding("warning", "environment", "device", f"torch cannot be imported: {error}", "install torch")
    if not torch.cuda.is_available():
        return Finding("ok", "environment", "device", f"CPU, {cores} cores, no GPU for torch {torch.__version__}")
    cards = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    names = ", ".join(f"{card.name} ({card.total_memory / 2**30:.0f} GiB)" for card in cards)
    return Finding("ok", "environment", "device", f"{names}; {cores} CPU cores; CUDA {torch.version.cuda}")


def _detectron2(training: bool) -> Finding:
    level: Level = "error" if training else "warning"
    try:
        extension = import_module("detectron2._C")
        import_module("detectron2.modeling")
    except ImportError as error:
        action = "install it again: pip install ./envs/detectron2, or build it from its upstream repository"
        return Finding(level, "environment", "detectron2 kind", f"cannot be imported: {error}", action)
    if str(extension.__file__).endswith(".py"):
        kind = "this project's build, Python parts only: no deformable or rotated operators, which no table needs"
    else:
        kind = f"compiled from upstream, compiler {extension.get_compiler_version()}"
    return Finding("ok", "environment", "detectron2 kind", kind)


def _folder(folder: Path, use: str) -> Finding:
    absolute = folder.absolute()
    existing = next(path for path in (absolute, *absolute.parents) if path.exists())
    subject = f"{use} folder {folder}"
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"x")
    except OSError as error:
        action = "change its permissions, free disk space, or choose another folder"
        return Finding("error", "environment", subject, f"cannot write in {existing}: {error.strerror}", action)
    free = free_bytes(existing)
    text = f"writable, {free / 1e9:.1f} GB free"
    if free < LITTLE:
        return Finding(
            "warning", "environment", subject, text, f"free disk space: less than {LITTLE / 1e9:.0f} GB left"
        )
    return Finding("ok", "environment", subject, text)
