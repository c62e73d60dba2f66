"""Runs made elsewhere: imported, marked, never trained over."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from support.elsewhere_runs import detections, prepare, records

from replication.catalog import load_catalog, load_protocol
from replication.errors import ConfigError, DataError, ResultError
from replication.evaluation import Options, evaluate
from replication.evaluation.elsewhere import import_run
from replication.planning.plan import make_plan
from replication.planning.rule_values import elsewhere, forget_deleted, made, made_here
from replication.planning.steps import steps
from replication.results.layout import Layout
from replication.results.schemas import Metrics, Provenance, read

VARIANT = "faster_rcnn_R50_giou"
CATALOG = load_catalog()
SMOKE = load_protocol("smoke")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return prepare(tmp_path / "results")


def imported(layout: Layout, file: Path, seed: int = 0, variant: str = VARIANT, **more):
    return import_run(CATALOG, SMOKE, layout.results, variant, seed, file, **more)


def numbers(file: Path, layout: Layout):
    return evaluate(file, layout.ground_truth, Options(area_ranges=SMOKE.area_ranges))["metrics"]


def test_a_run_has_the_numbers_of_its_file_and_says_what_is_unknown(layout, tmp_path):
    file = detections(tmp_path, VARIANT, 0)
    done = imported(layout, file, made_by="mmdetection 3.3")
    files = layout.run(VARIANT, 0)
    assert files.detections.read_bytes() == file.read_bytes()
    assert done.metrics == numbers(file, layout)
    assert read(files.metrics, Metrics).metrics == done.metrics
    made_by = read(files.provenance, Provenance)
    assert made_by.elsewhere is not None
    assert made_by.elsewhere.label == "made elsewhere (mmdetection 3.3)"
    assert {getattr(made_by, name) or None for name in made_by.elsewhere.unknown} == {None}
    assert made_by.data_hash == "d"
    assert sorted(path.name for path in files.folder.parent.iterdir()) == ["seed0"]


def test_arrays_become_records_of_the_same_numbers(layout, tmp_path):
    found = records(VARIANT, 0)
    boxes = np.array([one["bbox"] for one in found])
    boxes[:, 2:] += boxes[:, :2]
    columns = {"image_ids": "image_id", "class_ids": "category_id", "scores": "score"}
    np.savez(tmp_path / "run.npz", boxes=boxes, **{name: [one[key] for one in found] for name, key in columns.items()})
    done = imported(layout, tmp_path / "run.npz")
    assert done.metrics == numbers(tmp_path / "run.npz", layout)
    assert numbers(layout.run(VARIANT, 0).detections, layout) == done.metrics


def test_the_same_detections_again_change_nothing_and_others_are_refused(layout, tmp_path):
    first = detections(tmp_path, VARIANT, 0)
    imported(layout, first)
    before = {path: path.stat().st_mtime_ns for path in layout.folder.rglob("*")}
    assert imported(layout, first).already
    with pytest.raises(ResultError, match=r"seed0: holds a run made elsewhere, of other detections, which is not"):
        imported(layout, detections(tmp_path, VARIANT, 1))
    assert {path: path.stat().st_mtime_ns for path in layout.folder.rglob("*")} == before


def test_a_run_that_was_trained_here_is_not_overwritten(layout, tmp_path):
    model = layout.run(VARIANT, 0).model
    model.parent.mkdir(parents=True)
    model.write_bytes(b"weights")
    with pytest.raises(ResultError, match="seed0: holds a run, which is not overwritten"):
        imported(layout, detections(tmp_path, VARIANT, 0))
    assert [path.name for path in model.parent.iterdir()] == [model.name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 99_999}, r"odd.json: detections\[0\]: image_id 99999 is not in the ground truth"),
        ({"category_id": 77}, r"odd.json: classes that the protocol does not have: category_id 77 \(1 detections\)"),
        ({"score": "high"}, r"odd.json: detections\[0\]: score is 'high'"),
    ],
)
def test_nothing_is_written_of_wrong_detections(layout, tmp_path, change, message):
    found = records(VARIANT, 0)
    found[0] |= change
    (tmp_path / "odd.json").write_text(json.dumps(found))
    with pytest.raises(ResultError, match=message):
        imported(layout, tmp_path / "odd.json")
    assert not layout.runs.exists()


def test_other_refusals(layout, tmp_path):
    file = detections(tmp_path, VARIANT, 0)
    with pytest.raises(ConfigError, match="--variant faster_rcnn_R50_gio: no table has a row of that variant; did you"):
        imported(layout, file, variant="faster_rcnn_R50_gio")
    for name in ("../../x", "/etc/passwd", "x/../faster_rcnn_R50"):
        with pytest.raises(ConfigError, match="no table has a row of that variant"):
            imported(layout, file, variant=name)
    (tmp_path / "curve.jsonl").write_text('{"loss": 1}\n')
    with pytest.raises(ResultError, match=r"curve.jsonl: a line has no 'iteration'; give a JSON object"):
        imported(layout, file, curves=tmp_path / "curve.jsonl")
    with pytest.raises(DataError, match=r"data.json: no such file, by which .* `replication prepare --protocol smoke`"):
        import_run(CATALOG, SMOKE, tmp_path / "empty", VARIANT, 0, file)
    assert not layout.runs.exists()


def test_many_images_without_detections_are_odd(layout, tmp_path):
    first = sorted({one["image_id"] for one in records(VARIANT, 0)})[:20]
    (tmp_path / "half.json").write_text(json.dumps([one for one in records(VARIANT, 0) if one["image_id"] in first]))
    assert any(
        "images with objects have no detection" in text for text in imported(layout, tmp_path / "half.json").warnings
    )


def test_the_plan_and_the_workflow_leave_it_alone(layout, tmp_path):
    imported(layout, detections(tmp_path, VARIANT, 0), made_by="a tool")
    plan = make_plan(CATALOG, SMOKE, layout.results, ["giou-T5"])
    states = {step.run.variant.name: (step.state, step.reason, step.seconds) for step in steps(plan)}
    assert states[VARIANT] == ("made elsewhere", "a tool; code and settings are unknown", 0.0)
    assert states["faster_rcnn_R50_iou"][0] == "to do"
    assert VARIANT not in {run.variant.name for run in plan.trainings}
    run = plan.elsewhere[0]
    assert made(run) == run.files.provenance
    forget_deleted(plan)
    pattern = re.compile(rf"runs/(?P<variant>{made_here(plan, '[A-Za-z0-9_]+')})/seed(?P<seed>[0-9]+)/trained.done")
    assert not pattern.fullmatch(f"runs/{VARIANT}/seed0/trained.done")
    assert pattern.fullmatch(f"runs/{VARIANT}/seed01/trained.done")
    assert pattern.fullmatch(f"runs/{VARIANT}_x/seed0/trained.done")
    assert pattern.fullmatch(f"runs/{VARIANT}/seed1/trained.done")
    before = elsewhere(plan)
    imported(layout, detections(tmp_path, VARIANT, 1), seed=1)
    assert elsewhere(plan) != before
