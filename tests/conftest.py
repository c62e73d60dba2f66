"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("REPLICATION_CONFIGS", None)  # whoever runs the tests may have folders of their own

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real images, detections and parity arrays beside the checkout; skips where it is absent."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("no shared/ folder beside the checkout")
    return folder


@pytest.fixture(scope="session")
def datasets_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for data that tests make; what one room has made, another finds."""
    return tmp_path_factory.mktemp("datasets")


@pytest.fixture(scope="session")
def voc2007_test(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """VOC2007's own annotations: the list of test images."""
    folder = tmp_path_factory.mktemp("voc")
    with tarfile.open(shared / "data" / "voc2007_eval" / "VOC2007_annotations.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return next(folder.glob("**/ImageSets/Main/test.txt"))
