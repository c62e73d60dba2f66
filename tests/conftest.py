"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.photographs import VocFolder

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when numpy and torch are loaded, so neither is imported above
os.environ.pop("REPLICATION_CONFIGS", None)  # whoever runs the tests may have folders of their own

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
LONGEST = ("test_pipeline.py",)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest files first, so that two processes end together.

    Without real data beside the checkout, deselect their tests: each repeats one on golden or generated data.
    """
    items.sort(key=lambda item: item.path.name not in LONGEST)
    if (SHARED / "data").is_dir():
        return
    absent = [item for item in items if needs_real_data(item)]
    items[:] = [item for item in items if not needs_real_data(item)]
    config.hook.pytest_deselected(items=absent)


def needs_real_data(item: pytest.Item) -> bool:
    return "shared" in getattr(item, "fixturenames", ()) or item.get_closest_marker("real") is not None


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real images and detections beside the checkout; the tests that ask for it run only where it is."""
    return SHARED


@pytest.fixture(scope="session")
def golden() -> Path:
    """Published numbers, detections with their AP, and recorded arrays: README.md there."""
    return Path(__file__).parent / "golden"


GENERATED_OR_REAL = ["generated", pytest.param("real", marks=pytest.mark.real)]


@pytest.fixture(scope="session")
def generated_coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated photographs in COCO's layout."""
    from support.photographs import write_coco

    return write_coco(tmp_path_factory.mktemp("generated") / "coco")


@pytest.fixture(scope="session")
def generated_voc(tmp_path_factory: pytest.TempPathFactory) -> VocFolder:
    """Generated photographs in VOC's layout, of three classes."""
    from support.photographs import write_voc

    return write_voc(tmp_path_factory.mktemp("generated") / "voc", {"train": 30, "val": 12, "test": 10})


@pytest.fixture(scope="session")
def generated_devkit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from support.photographs import write_devkit

    return write_devkit(tmp_path_factory.mktemp("generated") / "VOCdevkit")


@pytest.fixture(params=GENERATED_OR_REAL)
def coco_photographs(request: pytest.FixtureRequest, generated_coco: Path) -> Path:
    """A folder in COCO's layout; the images of `instances_{train,val}2017_ccby.json` are there."""
    return generated_coco if request.param == "generated" else SHARED / "data" / "coco_mini"


@pytest.fixture(params=GENERATED_OR_REAL)
def voc_photographs(request: pytest.FixtureRequest, generated_voc: VocFolder) -> VocFolder:
    """A folder in VOC's layout: generated, or blood cells (BCCD)."""
    if request.param == "generated":
        return generated_voc
    from support.photographs import VocFolder

    images, objects = {"train": 205, "val": 87, "test": 72}, {"train": 2805, "val": 1138, "test": 945}
    return VocFolder(SHARED / "data" / "bccd", ("Platelets", "RBC", "WBC"), images, objects)


@pytest.fixture(params=GENERATED_OR_REAL)
def voc_devkit(request: pytest.FixtureRequest, generated_devkit: Path) -> Path:
    """VOC2012 and VOC2007 with the lists `mini_train` and `trainval`."""
    return generated_devkit if request.param == "generated" else SHARED / "data" / "voc_mini" / "VOCdevkit"


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
