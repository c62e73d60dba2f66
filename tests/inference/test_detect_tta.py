"""A test-time variant: another's weights, its own detections, metrics and provenance; on the smoke data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from replication.catalog import Protocol, load_catalog, load_protocol
from replication.datasets import prepare
from replication.errors import ConfigError, ResultError
from replication.evaluation.runs import evaluate_run
from replication.inference.detect import detect
from replication.inference.model import trained_model
from replication.results.files import read_json, write_json
from replication.results.fingerprint import settings_fingerprint
from replication.results.finished import check_together, finished_runs
from replication.results.run import Run
from replication.training.config import run_config
from replication.training.devices import on_device
from replication.training.run import train

SOURCE, ANEW = "fsaf_X101_joint_jitter", "fsaf_X101_joint_jitter_tta"
OWN = {"weights_from", "settings_fingerprint"}
CATALOG = load_catalog()


def job_of(name: str, results: Path, seed: int = 0) -> Run:
    smoke = load_protocol("smoke")
    groups = {group: dict(keys) for group, keys in smoke.overrides.items()}
    groups["FSAF"]["MODEL.RETINANET.SCORE_THRESH_TEST"] = 0.0  # else nothing is found after so few iterations
    return Run(
        CATALOG.variants[name], Protocol.model_validate({**smoke.model_dump(), "overrides": groups}), seed, results
    )


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory, datasets_root: Path) -> Path:
    """Results of the source, trained and tested, and of the variant that is only tested."""
    results = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(datasets_root))
        jobs = [job_of(name, results) for name in (SOURCE, ANEW)]
        prepare(jobs[0].protocol, results)
        train(jobs[0])
        for job in jobs:
            detect(job)
            evaluate_run(job)
    return results


def found(results: Path, name: str) -> list[dict[str, Any]]:
    detections: list[dict[str, Any]] = json.loads((job_of(name, results).folder / "detections.json").read_text())
    return detections


def test_it_finds_other_objects_with_the_same_weights(tested: Path) -> None:
    plain, anew = found(tested, SOURCE), found(tested, ANEW)
    assert plain
    assert anew
    assert plain != anew
    job = job_of(ANEW, tested)
    cfg = on_device(run_config(job.variant, job.protocol, 0, 10, job.folder), torch.device("cpu"))
    trained = torch.load(job_of(SOURCE, tested).files.model, weights_only=True)["model"]
    own = trained_model(job, cfg).state_dict()
    assert own.keys() == trained.keys()
    assert all(torch.equal(own[key], trained[key]) for key in own if isinstance(own[key], torch.Tensor))


def test_its_folder_holds_what_a_test_leaves(tested: Path) -> None:
    """No model, no curves, and no levels: the same weights select the same ones."""
    job = job_of(ANEW, tested)
    names = {path.name for path in job.folder.iterdir() if path.is_file()}
    assert names == {"detections.json", "metrics.json", "provenance.json"}
    assert (job_of(SOURCE, tested).folder / "levels.json").exists()


def test_its_provenance_is_that_of_the_weights_under_its_own_name(tested: Path) -> None:
    source, anew = (
        read_json(job_of(name, tested).folder / "provenance.json", "provenance/1") for name in (SOURCE, ANEW)
    )
    assert {key for key in anew if anew[key] != source.get(key)} == {"variant", "config_hash", *OWN}
    assert (anew["variant"], anew["weights_from"]) == (ANEW, SOURCE)
    assert anew["settings_fingerprint"] == settings_fingerprint(CATALOG.variants[ANEW])
    assert source.keys() == anew.keys() - OWN


def test_both_stand_in_one_table(tested: Path) -> None:
    runs = finished_runs(load_protocol("smoke"), tested, [SOURCE, ANEW])
    check_together([run for group in runs.values() for run in group])
    assert [(name, group[0].weights_of) for name, group in runs.items()] == [(SOURCE, SOURCE), (ANEW, SOURCE)]
    assert runs[SOURCE][0].metrics != runs[ANEW][0].metrics


def test_it_is_not_trained(tmp_path: Path) -> None:
    message = f"--variant {ANEW}: is tested with the weights of {SOURCE} .* train that: --variant {SOURCE}, then detect"
    with pytest.raises(ConfigError, match=message):
        train(job_of(ANEW, tmp_path))
    assert not list(tmp_path.iterdir())


def test_each_seed_needs_its_own_weights(tested: Path) -> None:
    with pytest.raises(
        ResultError, match=rf"{SOURCE}/seed1/model_final\.pth: no such file; .* --variant {SOURCE} --seed"
    ):
        detect(job_of(ANEW, tested, seed=1))


def test_weights_of_other_code_are_refused(tested: Path, tmp_path: Path) -> None:
    job = job_of(ANEW, tmp_path)
    made = read_json(job_of(SOURCE, tested).folder / "provenance.json", "provenance/1")
    write_json(job.trained.folder / "provenance.json", "provenance/1", {**made, "training_fingerprint": "old"})
    (job.trained.files.model).write_text("")
    with pytest.raises(ResultError, match=f"{SOURCE}/seed0: holds a finished run whose training_fingerprint is old"):
        detect(job)
