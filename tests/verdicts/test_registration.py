"""Claims registered before the runs: what is fixed, what is refused, and when "before" may be said."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from support.simulation import coco_documents, detector, population

from replication.errors import ConfigError, ResultError
from replication.verdicts.arm_reading import read_arms
from replication.verdicts.registration import (
    AFTER,
    BEFORE,
    check_files,
    check_terms,
    judge_claim,
    present_runs,
    read_claim,
    register,
)
from replication.verdicts.sequential import look_levels

TERMS = {
    "title": "B beats A",
    "ground_truth": "truth.json",
    "arms": {"A": "runs/A_seed{seed}.json", "B": "runs/B_seed{seed}.json"},
    "seeds": [0, 1, 2, 3, 4],
    "looks": [3, 5],
    "claimed": 2.0,
    "bootstrap": 100,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ground truth, and six runs of each of two detectors apart from the folder of the runs."""
    folder = tmp_path_factory.mktemp("registration")
    truth = population(7, 50, 3, tail=0.8)
    (folder / "made").mkdir()
    for arm, skill in (("A", 0.8), ("B", 1.3)):
        for seed in range(6):
            document, records = coco_documents(truth, detector(truth, 10 * seed + ord(arm), skill, per_image=10))
            (folder / "made" / f"{arm}_seed{seed}.json").write_text(json.dumps(records))
    (folder / "truth.json").write_text(json.dumps(document))
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    (tmp_path / "runs").mkdir()
    return tmp_path


def claim(folder: Path, **terms) -> Path:
    (folder / "claim.yaml").write_text(yaml.safe_dump({**TERMS, **terms}))
    return folder / "claim.yaml"


def train(folder: Path, seeds, arms: str = "AB") -> None:
    """Make runs appear, dated now."""
    for arm in arms:
        for seed in seeds:
            shutil.copyfile(folder / "made" / f"{arm}_seed{seed}.json", folder / "runs" / f"{arm}_seed{seed}.json")


def judged(folder: Path):
    registered = read_claim(folder / "claim.json")
    look, arms = present_runs(registered)
    return judge_claim(registered, look, arms, read_arms(registered.truth, arms, registered.resampling))


def test_a_claim_holds_its_terms_time_levels_and_planned_runs(folder):
    path = register(claim(folder), datetime(2030, 5, 1, 12, tzinfo=UTC))
    document = json.loads(path.read_text())
    assert path == folder / "claim.json"
    assert document["schema"] == "claim/1"
    assert document["registered"] == "2030-05-01T12:00:00+00:00"
    assert document["planned"]["B"][4] == "runs/B_seed4.json"
    assert [one["level"] for one in document["looks"]] == list(look_levels([3, 5], 0.05))
    assert document["terms"]["metric"] == "AP"
    assert document["existing"] == {}
    assert len(document["hash"]) == 64


def test_a_claim_is_registered_once(folder):
    register(claim(folder))
    with pytest.raises(ConfigError, match=r"claim\.json: registered already"):
        register(claim(folder, claimed=1.0))


def test_runs_that_come_later_are_registered_before(folder):
    register(claim(folder))
    train(folder, range(5))
    comparison = judged(folder)
    note = comparison.registration
    assert (note["when"], note["reason"]) == (BEFORE, None)
    assert (note["look"], note["next_look"]) == (5, None)
    assert comparison.options.alpha == note["level"] < 0.05
    assert comparison.contrasts[0].claim.claimed == 2.0
    assert comparison.contrasts[0].runs == (5, 5)


def test_the_first_look_takes_its_own_level(folder):
    register(claim(folder))
    train(folder, range(3))
    comparison = judged(folder)
    assert comparison.registration["next_look"] == 5
    assert comparison.options.alpha == look_levels([3, 5], 0.05)[0]
    assert comparison.contrasts[0].runs == (3, 3)


def test_runs_that_were_there_are_after(folder):
    train(folder, [0])
    register(claim(folder))
    train(folder, range(1, 5))
    note = judged(folder).registration
    assert note["when"] == AFTER
    assert note["reason"].endswith("A_seed0.json was there at registration")


def test_a_file_that_was_there_under_another_name_is_after(folder):
    shutil.copyfile(folder / "made" / "B_seed2.json", folder / "runs" / "best.json")
    register(claim(folder))
    train(folder, range(5))
    note = judged(folder).registration
    assert note["when"] == AFTER
    assert "B_seed2.json has the content of a file that was there at registration" in note["reason"]


def test_older_dates_are_after(folder):
    register(claim(folder))
    train(folder, range(5))
    path = folder / "runs" / "B_seed3.json"
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 3600))
    note = judged(folder).registration
    assert note["when"] == AFTER
    assert "B_seed3.json has an older date than the claim" in note["reason"]


def test_a_copied_claim_shows_nothing(folder):
    path = register(claim(folder), datetime(2020, 5, 1, tzinfo=UTC))
    train(folder, range(5))
    note = judged(folder).registration
    assert note["when"] == AFTER
    assert f"{path} was copied or written again" in note["reason"]


def test_edited_terms_are_refused(folder):
    path = register(claim(folder))
    document = json.loads(path.read_text())
    document["terms"]["claimed"] = 0.5
    path.write_text(json.dumps(document))
    with pytest.raises(ResultError, match=r"claim\.json: hash: does not fit the terms"):
        read_claim(path)


def test_an_edited_time_is_refused(folder):
    path = register(claim(folder))
    path.write_text(path.read_text().replace('"registered": "20', '"registered": "19'))
    with pytest.raises(ResultError, match="hash"):
        read_claim(path)


def test_another_ground_truth_is_refused(folder):
    register(claim(folder))
    train(folder, range(5))
    document = json.loads((folder / "truth.json").read_text())
    del document["annotations"][0]
    (folder / "truth.json").write_text(json.dumps(document))
    with pytest.raises(ResultError, match=r"truth\.json: ground_truth: its objects are not those"):
        judged(folder)


def test_extra_runs_are_refused(folder):
    register(claim(folder))
    train(folder, range(6))
    with pytest.raises(
        ResultError, match=r"A_seed5\.json: not a planned run of arm A; planned are the seeds 0, 1, 2, 3, 4"
    ):
        judged(folder)


def test_dropped_runs_are_refused(folder):
    register(claim(folder))
    train(folder, [0, 1, 3, 4])
    with pytest.raises(ResultError, match=r"A_seed2\.json: a planned run of arm A is missing"):
        judged(folder)


def test_renamed_runs_are_refused(folder):
    register(claim(folder))
    train(folder, range(5))
    (folder / "runs" / "B_seed1.json").rename(folder / "runs" / "B_best.json")
    with pytest.raises(ResultError, match=r"B_seed1\.json: a planned run of arm B is missing"):
        judged(folder)


def test_a_look_that_is_not_planned_is_refused(folder):
    register(claim(folder))
    train(folder, range(4))
    with pytest.raises(
        ResultError, match=r"A_seed3\.json: looks are registered at 3 and 5 runs per arm; .* arm A has 4"
    ):
        judged(folder)


def test_arms_at_different_looks_are_refused(folder):
    register(claim(folder))
    train(folder, range(5), "A")
    train(folder, range(3), "B")
    with pytest.raises(ResultError, match=r"B_seed3\.json: a planned run of arm B is missing"):
        judged(folder)


def test_no_runs_at_all_names_the_first(folder):
    register(claim(folder))
    with pytest.raises(ResultError, match=r"A_seed0\.json: a planned run of arm A is missing"):
        judged(folder)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"metric": "AP75"}, "metric: registered is AP, asked for AP75"),
        ({"alpha": 0.1}, "alpha: registered is 0.05, asked for 0.1"),
        ({"claimed": 1.0}, "claimed: registered is 2.0, asked for 1.0"),
    ],
)
def test_changed_terms_are_refused(folder, given, message):
    registered = read_claim(register(claim(folder)))
    check_terms(registered, {"metric": "AP", "claimed": 2.0})
    with pytest.raises(ConfigError, match=message):
        check_terms(registered, given)


def test_given_files_must_be_the_registered_ones(folder):
    registered = read_claim(register(claim(folder)))
    train(folder, range(5))
    _, arms = present_runs(registered)
    check_files(registered, arms, {})
    check_files(registered, arms, arms)
    with pytest.raises(ConfigError, match="arm C is not registered; arms: A, B"):
        check_files(registered, arms, {**arms, "C": []})
    with pytest.raises(ConfigError, match=r"A_seed0\.json is not a registered run of arm B"):
        check_files(registered, arms, {"A": arms["A"], "B": [arms["A"][0], *arms["B"][1:]]})
    with pytest.raises(ConfigError, match="arm B: 5 runs are registered, 4 given"):
        check_files(registered, arms, {"A": arms["A"], "B": arms["B"][1:]})
    with pytest.raises(ConfigError, match="arm B is registered, but not given"):
        check_files(registered, arms, {"A": arms["A"]})


def test_runs_in_folders_of_their_own(folder):
    arms = {"B": "runs/B/seed{seed}/bbox.json", "A": "runs/A/seed{seed}/bbox.json"}
    register(claim(folder, arms=arms, baseline="A", looks=[]))
    for arm in "AB":
        for seed in range(5):
            place = folder / "runs" / arm / f"seed{seed}"
            place.mkdir(parents=True)
            shutil.copyfile(folder / "made" / f"{arm}_seed{seed}.json", place / "bbox.json")
    comparison = judged(folder)
    assert comparison.registration["when"] == BEFORE
    assert comparison.contrasts[0].baseline == "A"
    shutil.copytree(folder / "runs" / "A" / "seed1", folder / "runs" / "A" / "seed7")
    with pytest.raises(ResultError, match=r"seed7/bbox\.json: not a planned run of arm A"):
        judged(folder)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"arms": {"A": "a{seed}.json"}}, r"claim\.yaml: arms: "),
        ({"arms": {"A": "a.json", "B": "b{seed}.json"}}, r"arm A: 'a.json' needs {seed} once"),
        ({"arms": {"A": "a{seed}.json", "B": "a{seed}.json"}}, "two arms have the same files"),
        ({"seeds": [0, 0]}, "seeds: expected different numbers"),
        ({"baseline": "C"}, "baseline: 'C' is not an arm; arms: A, B"),
        ({"looks": [3, 4]}, "looks: expected rising numbers of runs per arm, the last 5"),
        ({"looks": [1, 5]}, "looks: the first needs at least 2 runs"),
        ({"metric": "mAP"}, r"claim\.yaml: metric mAP: choose from AP"),
        ({"claimed": -1.0}, r"claim\.yaml: claimed -1: a gain"),
        ({"colour": "red"}, r"claim\.yaml: colour: "),
        ({"criterion": "diou"}, r"claim\.yaml: criterion: "),
        ({"ground_truth": "nowhere.json"}, r"nowhere\.json: no such"),
    ],
)
def test_wrong_terms_name_file_and_field(folder, terms, message):
    from replication.errors import ReplicationError

    with pytest.raises(ReplicationError, match=message):
        register(claim(folder, **terms))
    assert not (folder / "claim.json").exists()
