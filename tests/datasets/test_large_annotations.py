"""Data as large as COCO 2017: prepared and checked within a minute of processor time and two GiB, with progress."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from support.large_coco import TRAIN2017, VAL2017, write_split

SECONDS, BYTES = 60, 2 * 2**30


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("large")
    for name, (images, objects) in (("train2017", TRAIN2017), ("val2017", VAL2017)):
        write_split(root / "coco", name, images, objects)
    return root


def measured(root: Path, *words: str) -> tuple[subprocess.CompletedProcess[str], float, int]:
    """A verb's outcome, its processor seconds and its peak memory in bytes, of the largest child so far."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "replication", *words, "--protocol", "paper", "--results", str(root / "results")],
        capture_output=True,
        text=True,
        env={**os.environ, "DETECTRON2_DATASETS": str(root)},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done, seconds, after.ru_maxrss * 1024


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_prepare_and_doctor_at_the_size_of_coco(root: Path) -> None:
    done, seconds, memory = measured(root, "prepare")
    assert done.returncode == 0, done.stderr
    assert "reading instances_train2017.json (" in done.stderr
    counts = json.loads((root / "results/paper/data.json").read_text())["splits"]["train"]
    assert (counts["images"], counts["objects"] + counts["crowds"]) == TRAIN2017
    assert counts["masks"] == counts["objects"]
    assert (seconds < SECONDS, memory < BYTES) == (True, True), (seconds, memory)
    done, seconds, memory = measured(root, "doctor")
    assert "checking images: 100%" in done.stderr
    assert "instances_train2017.json: category ids are" in done.stdout  # the generated ones, not COCO's
    assert (seconds < SECONDS, memory < BYTES) == (True, True), (seconds, memory)
