"""A results folder as a reader checks it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.elsewhere_runs import SKILLS, detections, prepare

from replication.catalog import load_catalog, load_judging, load_protocol
from replication.evaluation.elsewhere import import_run
from replication.results.layout import Layout
from replication.verdicts import write_verdicts
from replication.verdicts.verification import Verified, verify_results

CATALOG, SMOKE, JUDGING = load_catalog(), load_protocol("smoke"), load_judging()
JUDGING = JUDGING.model_copy(update={"replicates": 100})
VARIANTS = list(SKILLS)[:3]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs of each row of a table, and their verdicts."""
    results = tmp_path_factory.mktemp("verified") / "results"
    fill(results, range(3))
    write_verdicts(CATALOG, SMOKE, results, ["giou-T5"], JUDGING)
    return results


def fill(results: Path, seeds) -> None:
    prepare(results)
    for variant in VARIANTS:
        for seed in seeds:
            import_run(CATALOG, SMOKE, results, variant, seed, detections(results.parent, variant, seed))


@pytest.fixture
def results(judged: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(judged, tmp_path / "results"))


def verified(results: Path, against: Path | None = None) -> Verified:
    return verify_results(CATALOG, SMOKE, results, JUDGING, against)


def rewrite(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_what_is_right_is_reproduced_and_nothing_is_written(results):
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*")}
    found = verified(results)
    assert found.holds
    assert (found.runs, found.elsewhere, found.hashes) == (9, 9, 9)
    assert {one.found for one in (*found.evaluations, *found.verdicts)} == {"reproduced"}
    assert len(found.evaluations) == 9
    assert found.verdicts
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*")} == before


def test_other_detections_are_found_out(results):
    files = Layout(results, "smoke").run(VARIANTS[0], 1)
    rewrite(files.detections, lambda records: records.pop(0))
    found = verified(results)
    assert not found.holds
    assert found.problems == (f"{files.detections}: not the file that metrics.json was computed from",)


def test_numbers_that_the_detections_do_not_give_are_found_out(results):
    files = Layout(results, "smoke").run(VARIANTS[0], 1)
    rewrite(files.metrics, lambda content: content["metrics"].update(AP=99.0))
    found = verified(results)
    (wrong,) = [one for one in found.evaluations if one.found == "not reproduced"]
    assert wrong.name == f"{VARIANTS[0]} seed 1"
    assert wrong.text.startswith("metrics.AP: recorded 99.0, computed ")
    assert "is not the run that was judged" in found.verdicts[0].text


def test_a_verdict_that_the_numbers_do_not_give_is_found_out(results):
    changed = Layout(results, "smoke").verdicts
    rewrite(changed, lambda content: content["verdicts"][0].update(verdict="gain"))
    found = verified(results)
    (wrong,) = [one for one in found.verdicts if one.found == "not reproduced"]
    assert wrong.text.startswith("verdict: recorded gain, computed ")


def test_files_without_a_recorded_hash_are_named(results):
    files = Layout(results, "smoke").run(VARIANTS[0], 1)
    rewrite(files.metrics, lambda content: content.pop("detections_sha256"))
    Layout(results, "smoke").verdicts.unlink()
    found = verified(results)
    assert found.holds
    assert found.unrecorded == (f"{files.detections}: no hash is recorded in metrics.json",)


def test_independent_runs_replicate_and_the_same_are_reproduced(results, tmp_path):
    fill(tmp_path / "others" / "results", range(10, 13))
    found = verified(results, tmp_path / "others" / "results")
    assert found.holds
    assert {one.runs for one in found.numbers} == {3}
    assert {one.images for one in found.numbers} == {"the same images"}
    words = [one.word for one in found.numbers]
    assert words.count("replicated") >= 0.8 * len(words)
    same = verified(results, results)
    assert {one.word for one in same.numbers} == {"reproduced"}


def test_an_archive_of_other_numbers_of_the_same_runs_does_not_verify(results, tmp_path):
    archive = Path(shutil.copytree(results, tmp_path / "archive"))
    files = Layout(archive, "smoke").run(VARIANTS[0], 1)
    rewrite(files.metrics, lambda content: content["metrics"].update(AP=1.0))
    found = verified(results, archive)
    assert not found.holds
    assert [one.variant for one in found.numbers if one.word == "not reproduced"] == [VARIANTS[0]]


def test_other_images_widen_the_interval(results, tmp_path):
    fill(tmp_path / "others" / "results", range(10, 13))
    same = verified(results, tmp_path / "others" / "results")
    for path in (tmp_path / "others").rglob("*.json"):
        if path.name in ("data.json", "provenance.json"):
            rewrite(path, lambda content: content.update(data_hash="e"))
    other = verified(results, tmp_path / "others" / "results")
    assert {one.images for one in other.numbers} == {"other images"}
    widths = [(one.high - one.low, two.high - two.low) for one, two in zip(same.numbers, other.numbers, strict=True)]
    assert all(two >= one for one, two in widths)
    assert any(two > one for one, two in widths)
