"""A run that was made elsewhere is neither trained over nor detected."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.elsewhere_runs import detections, prepare

from replication.catalog import load_catalog
from replication.errors import ResultError
from replication.evaluation.elsewhere import import_run
from replication.inference.detect import detect
from replication.results.run import Run
from replication.training.run import train


@pytest.fixture
def imported(job: Run, tmp_path: Path) -> Run:
    """The job's run, made elsewhere."""
    run = Run(job.variant, job.protocol, 0, tmp_path / "results")
    prepare(run.results, protocol=job.protocol.name)
    file = detections(tmp_path, "faster_rcnn_R50_giou", 0)
    import_run(load_catalog(), job.protocol, run.results, job.variant.name, 0, file, "another tool")
    return run


@pytest.mark.parametrize("options", [{}, {"restart": True}, {"replace": True, "wait": True}])
def test_it_is_not_trained_over(imported: Run, options: dict[str, bool]):
    before = {path: path.read_bytes() for path in imported.folder.rglob("*") if path.is_file()}
    with pytest.raises(ResultError, match=r"seed0: the run was made elsewhere \(another tool\) and has no weights"):
        train(imported, **options)
    after = {path: path.read_bytes() for path in imported.folder.rglob("*") if path.is_file()}
    assert {path: after[path] for path in before} == before


def test_it_is_not_detected(imported: Run):
    before = imported.files.detections.read_bytes()
    with pytest.raises(ResultError, match="has no weights; choose another --seed"):
        detect(imported)
    assert imported.files.detections.read_bytes() == before
