"""What made a result: code, config, data, packages, machine."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode

from replication.datasets.weights import weights_path
from replication.results.files import sha256_file
from replication.results.fingerprint import PACKAGE, TRAINING, fingerprint

PACKAGES = (
    "detection-replication",
    "torch",
    "torchvision",
    "detectron2",
    "pycocotools",
    "numpy",
    "pillow",
    "fvcore",
    "efficientnet-lite-pytorch",
    "snakemake",
)


def now() -> str:
    """UTC time, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def weights(cfg: CfgNode) -> dict[str, str]:
    """Name and SHA-256 of the backbone weights that a run starts from."""
    if cfg.MODEL.WEIGHTS:
        return {"weights": cfg.MODEL.WEIGHTS, "weights_sha256": sha256_file(weights_path(cfg.MODEL.WEIGHTS))}
    lite = cfg.MODEL.EFFICIENTNET_LITE
    return {"weights": lite.NAME, "weights_sha256": sha256_file(Path(lite.WEIGHTS))}


def environment(device: torch.device) -> dict[str, Any]:
    """The part of ``provenance.json`` that does not depend on the run."""
    return {
        **_commit(PACKAGE.parent),
        "fingerprint": fingerprint(TRAINING),
        "packages": _versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "device": _device(device),
        "threads": torch.get_num_threads(),
    }


def _commit(checkout: Path) -> dict[str, Any]:
    """Commit and whether tracked files differ from it; both null outside a git checkout."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=checkout, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    changes = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": bool(changes) if commit else None}


def _versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.machine()} ({os.cpu_count()} cores)"


def _device(device: torch.device) -> dict[str, Any]:
    if device.type == "cpu":
        return {"type": "cpu", "name": "cpu"}
    properties = torch.cuda.get_device_properties(device)
    return {
        "type": "cuda",
        "name": properties.name,
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "cuda": torch.version.cuda,
    }
