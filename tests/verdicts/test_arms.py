"""Runs from files to numbers: seeds in names, refusals that name both files, warnings, the cache."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.simulation import coco_documents, detector, population

from replication.errors import ConfigError, ResultError
from replication.evaluation.bootstrap import bootstrap, point
from replication.evaluation.inputs import as_detections, as_ground_truth
from replication.evaluation.matching import AREAS, match
from replication.results.metrics import METRICS
from replication.verdicts.arm_cache import Cache
from replication.verdicts.arm_reading import read_arms, seed_numbers
from replication.verdicts.arms import KINDS, Resampling, metric_rows

FEW = Resampling(replicates=50, seed=3)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ground truth of 60 images and three runs of each of two detectors."""
    folder = tmp_path_factory.mktemp("arms")
    truth = population(7, 60, 4, tail=0.8)
    for arm, skill in (("A", 0.8), ("B", 1.3)):
        for seed in range(3):
            found = detector(truth, 10 * seed + ord(arm), skill, per_image=12)
            document, records = coco_documents(truth, found)
            (folder / f"{arm}_seed{seed}.json").write_text(json.dumps(records))
    (folder / "truth.json").write_text(json.dumps(document))
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def files(folder: Path) -> dict[str, list[Path]]:
    return {arm: sorted(folder.glob(f"{arm}_seed*.json")) for arm in "AB"}


def test_numbers_are_those_of_the_evaluator(made):
    arms = read_arms(made / "truth.json", files(made), FEW)
    truth = as_ground_truth(made / "truth.json")
    matches = match(truth, as_detections(made / "B_seed1.json", truth))
    run = arms.arms[1].runs[1]
    estimate, drawn = point(matches), bootstrap(matches, 50, 3, AREAS)
    for place, metric in enumerate(METRICS):
        np.testing.assert_array_equal(run.points[place], estimate.metric(metric)[0])
        np.testing.assert_array_equal(run.replicates[place], drawn.metric(metric))
    np.testing.assert_allclose(np.nanmean(run.class_points), run.points[0])
    assert run.class_replicates.shape == (4, 50)
    assert (arms.images, arms.objects, arms.per_class) == (60, truth.objects, tuple(truth.per_class))
    assert arms.arms[1].seeds == (0, 1, 2)
    values, replicates = metric_rows(arms.arms[1], "AP75")
    assert (values.shape, replicates.shape) == ((3,), (3, 50))


def test_precision_recall_curves_average_to_ap(made):
    """The mean of COCO's 101 precisions is AP at that overlap."""
    for arm in read_arms(made / "truth.json", files(made), FEW).arms:
        for run in arm.runs:
            means = 100 * run.curves.mean(axis=1)
            np.testing.assert_allclose(means, run.points[[METRICS.index("AP50"), METRICS.index("AP75")]], atol=1e-9)
            assert (np.diff(run.curves, axis=1) <= 1e-12).all()


def test_mistakes_follow_their_names(made):
    run = read_arms(made / "truth.json", files(made), FEW).arms[0].runs[0]
    assert len(run.mistake_counts) == len(run.mistake_gains) == len(KINDS) == 6
    assert run.mistake_counts[KINDS.index("background")] == run.mistake_counts.max()


@pytest.mark.parametrize(
    ("names", "seeds"),
    [
        (["A_seed0.json", "A_seed1.json", "A_seed10.json"], [0, 1, 10]),
        (["A_seed10.json", "A_seed11.json"], [10, 11]),
        (["seed1/r50_2x/bbox.json", "seed2/r50_2x/bbox.json"], [1, 2]),
        (["r50-3.json", "r50-7.json"], [3, 7]),
        (["x_seed_4_epoch11.json", "x_seed_5_epoch12.json"], [4, 5]),
        (["one.json", "other.json"], [None, None]),
        (["run_seed7.json"], [7]),
        (["run.json"], [None]),
    ],
)
def test_seeds_are_read_from_names(names, seeds):
    assert seed_numbers(names) == seeds


def test_a_file_in_two_arms_is_refused(folder):
    shutil.copy(folder / "A_seed1.json", folder / "B_seed2.json")
    with pytest.raises(
        ResultError, match=r"B_seed2\.json: the same detections as .*A_seed1\.json, but in arm B and arm A"
    ):
        read_arms(folder / "truth.json", files(folder), FEW)


def test_copies_within_an_arm_are_refused(folder):
    shutil.copy(folder / "A_seed1.json", folder / "A_seed2.json")
    with pytest.raises(ResultError, match=r"A_seed2\.json: the same .*A_seed1\.json, both in arm A; copies of a run"):
        read_arms(folder / "truth.json", files(folder), FEW)


def test_a_copy_in_another_layout_is_refused(folder):
    content = json.loads((folder / "A_seed1.json").read_text())
    (folder / "A_seed2.json").write_text(json.dumps(content, indent=1))
    with pytest.raises(ResultError, match="both in arm A; copies of a run"):
        read_arms(folder / "truth.json", files(folder), FEW)


def test_runs_on_other_images_are_refused(folder):
    kept = [one for one in json.loads((folder / "B_seed0.json").read_text()) if one["image_id"] > 60]
    (folder / "B_seed0.json").write_text(json.dumps(kept))
    with pytest.raises(
        ResultError, match=r"B_seed0\.json: 20 of 60 images have detections in it or in .*A_seed0\.json only"
    ):
        read_arms(folder / "truth.json", files(folder), FEW)


def test_a_few_other_images_are_a_warning(folder):
    kept = [one for one in json.loads((folder / "B_seed0.json").read_text()) if one["image_id"] > 6]
    (folder / "B_seed0.json").write_text(json.dumps(kept))
    warnings = read_arms(folder / "truth.json", files(folder), FEW).warnings
    assert any("B_seed0.json: 2 of 60 images" in text and "such as image 3 in" in text for text in warnings)


def test_a_missing_seed_is_a_warning(folder):
    (folder / "A_seed1.json").unlink()
    warnings = read_arms(folder / "truth.json", files(folder), FEW).warnings
    assert "arm A: seed 1 of 0 to 2 missing; runs left out by choice bias the comparison" in warnings


def test_seeds_far_apart_are_no_gap(folder):
    for seed, other in ((0, 42), (1, 1337)):
        (folder / f"A_seed{seed}.json").rename(folder / f"A_seed{other}.json")
    assert not any("missing" in text for text in read_arms(folder / "truth.json", files(folder), FEW).warnings)


def test_rare_classes_are_named(folder):
    document = json.loads((folder / "truth.json").read_text())
    document["categories"].append({"id": 9, "name": "rare"})
    document["annotations"][0]["category_id"] = 9
    (folder / "truth.json").write_text(json.dumps(document))
    arms = read_arms(folder / "truth.json", files(folder), FEW)
    assert any(text.startswith("1 classes with fewer than 10 objects") and "rare" in text for text in arms.warnings)
    assert arms.supported.tolist() == [True, True, True, True, False]


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ({"A": ["x.json"]}, "at least two arms"),
        ({"A": [], "B": ["x.json"]}, "arm A: no runs"),
        ({"A": "x.json", "B": ["x.json"]}, "arm A: expected a list of runs, not one str"),
    ],
)
def test_what_is_no_comparison_is_refused(made, arms, message):
    with pytest.raises(ConfigError, match=message):
        read_arms(made / "truth.json", arms, FEW)


def test_a_file_that_is_not_there_is_named(made):
    with pytest.raises(ResultError, match=r"nowhere\.json: no such file"):
        read_arms(made / "truth.json", {"A": [made / "A_seed0.json"], "B": [made / "nowhere.json"]}, FEW)


def test_a_broken_file_is_named(folder):
    (folder / "B_seed1.json").write_text('[{"image_id": 3}]')
    with pytest.raises(ResultError, match=r"B_seed1\.json: detections\[0\]: "):
        read_arms(folder / "truth.json", files(folder), FEW)


def same(one, other) -> None:
    for arm, twin in zip(one.arms, other.arms, strict=True):
        for run, again in zip(arm.runs, twin.runs, strict=True):
            for name in ("points", "replicates", "class_replicates", "curves", "mistake_gains", "seen", "supported"):
                np.testing.assert_array_equal(getattr(run, name), getattr(again, name))
            assert (run.columns_hash, run.sha256, run.warnings) == (again.columns_hash, again.sha256, again.warnings)


def test_kept_numbers_are_the_same_and_need_no_reading(made, tmp_path, monkeypatch):
    cache = Cache(tmp_path / "cache")
    computed = read_arms(made / "truth.json", files(made), FEW, cache)
    assert len(list(cache.folder.iterdir())) == 6
    monkeypatch.setattr("replication.verdicts.arm_reading._compute", None)
    same(read_arms(made / "truth.json", files(made), FEW, cache), computed)


@pytest.mark.parametrize("change", [{"seed": 4}, {"replicates": 60}, {"criterion": "giou"}])
def test_other_questions_are_computed_anew(made, tmp_path, change):
    cache = Cache(tmp_path / "cache")
    read_arms(made / "truth.json", files(made), FEW, cache)
    other = replace(FEW, **change)
    same(read_arms(made / "truth.json", files(made), other, cache), read_arms(made / "truth.json", files(made), other))


def test_a_changed_file_is_computed_anew(folder, tmp_path):
    cache = Cache(tmp_path / "cache")
    read_arms(folder / "truth.json", files(folder), FEW, cache)
    content = json.loads((folder / "B_seed1.json").read_text())
    content[0]["score"] /= 2
    (folder / "B_seed1.json").write_text(json.dumps(content))
    same(
        read_arms(folder / "truth.json", files(folder), FEW, cache),
        read_arms(folder / "truth.json", files(folder), FEW),
    )


def test_a_spoilt_cache_is_made_again(made, tmp_path):
    cache = Cache(tmp_path / "cache")
    computed = read_arms(made / "truth.json", files(made), FEW, cache)
    for path in cache.folder.iterdir():
        path.write_bytes(path.read_bytes()[:100])
    same(read_arms(made / "truth.json", files(made), FEW, cache), computed)


def test_a_cache_that_cannot_be_written_is_done_without(made, tmp_path):
    (tmp_path / "file").write_text("")
    same(
        read_arms(made / "truth.json", files(made), FEW, Cache(tmp_path / "file")),
        read_arms(made / "truth.json", files(made), FEW),
    )


def test_progress_counts_to_all_runs(made):
    seen = []
    read_arms(made / "truth.json", files(made), FEW, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 6) for done in range(7)]
