"""Results folders of several people as one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.elsewhere_runs import prepare

from replication.errors import ConfigError, ResultError
from replication.results.files import sha256_file, write_json
from replication.results.merge import merge
from replication.results.schemas import Merged, read


def add(results: Path, variant: str, seed: int, ap: float = 30.0, **made) -> Path:
    layout = prepare(results, made.get("data_hash", "d"))
    files = layout.run(variant, seed)
    whose = {"protocol": "smoke", "variant": variant, "seed": seed}
    write_json(files.metrics, "metrics/1", whose | {"metrics": {"AP": ap}, "giou_metrics": {}})
    facts = {"config_hash": f"c-{variant}", "data_hash": "d", "fingerprint": "f"}
    write_json(files.provenance, "provenance/1", whose | facts | made)
    files.detections.write_text("[]")
    return files.folder


def snapshot(*folders: Path) -> dict[Path, str]:
    return {path: sha256_file(path) for folder in folders for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders that share the run `a` seed 0."""
    one, other = tmp_path / "ann", tmp_path / "bob"
    add(one, "a", 0)
    add(one, "b", 0, 31.0)
    shutil.copytree(one / "smoke/runs/a", other / "smoke/runs/a")
    add(other, "a", 1, 32.0)
    return one, other


def test_every_run_once_with_its_provenance(two, tmp_path):
    before = snapshot(*two)
    done = merge(two, tmp_path / "out")
    assert done.runs == {"smoke": 3}
    listed = read(tmp_path / "out/smoke/merged.json", Merged)
    homes = {(run.variant, run.seed): run.sources for run in listed.runs}
    one, other = map(str, two)
    assert homes == {("a", 0): (one, other), ("a", 1): (other,), ("b", 0): (one,)}
    merged = tmp_path / "out/smoke"
    assert {name: sha256_file(merged / name) for name in listed.files} == dict(listed.files)
    for folder, run in ((two[0], "b/seed0"), (two[1], "a/seed1")):
        for path in (folder / "smoke/runs" / run).iterdir():
            assert (merged / "runs" / run / path.name).read_bytes() == path.read_bytes()
    assert snapshot(*two) == before


def test_the_fuller_copy_of_a_run_is_taken(two, tmp_path):
    (two[0] / "smoke/runs/a/seed0/detections.json").unlink()
    lines = [json.dumps({"iteration": number}) + "\n" for number in range(9)]
    (two[0] / "smoke/runs/a/seed0/curves.jsonl").write_text("".join(lines[::4]))
    (two[1] / "smoke/runs/a/seed0/curves.jsonl").write_text("".join(lines))
    merge(two, tmp_path / "out")
    run = tmp_path / "out/smoke/runs/a/seed0"
    assert (run / "detections.json").exists()
    assert (run / "curves.jsonl").read_text() == "".join(lines)


@pytest.mark.parametrize(
    ("variant", "seed", "ap", "made", "message"),
    [
        ("a", 0, 40.0, {}, r"ann/smoke/runs/a/seed0/metrics.json and .*bob.*: two different runs under one name"),
        ("b", 1, 40.0, {"data_hash": "other"}, r"ann/smoke/data.json and .*bob/smoke/data.json: data_hash differs"),
        ("b", 1, 40.0, {"config_hash": "x"}, r"runs/b/seed1.* two seeds of one variant with different configurations"),
        ("b", 1, 40.0, {"fingerprint": "x"}, r"were trained by different code"),
    ],
)
def test_a_conflict_names_both_and_changes_nothing(two, tmp_path, variant, seed, ap, made, message):
    add(two[1], variant, seed, ap, **made)
    before = snapshot(tmp_path)
    with pytest.raises(ResultError, match=message):
        merge(two, tmp_path / "out")
    assert snapshot(tmp_path) == before


def test_unfinished_runs_and_second_timings_are_left_out_and_named(two, tmp_path):
    (two[0] / "smoke/runs/b/seed0/metrics.json").unlink()
    for number, folder in enumerate(two):
        write_json(folder / "smoke/latency/cpu/a.json", "latency/1", {"number": number})
    done = merge(two, tmp_path / "out")
    assert done.runs == {"smoke": 2}
    assert any("b/seed0: not finished, left out" in note for note in done.notes)
    assert any("bob/smoke/latency/cpu: other timings than in" in note for note in done.notes)
    assert json.loads((tmp_path / "out/smoke/latency/cpu/a.json").read_text())["number"] == 0


def test_folders_are_checked(two, tmp_path):
    with pytest.raises(ConfigError, match="ann: exists already; choose a new folder"):
        merge(two, two[0])
    with pytest.raises(ConfigError, match="a folder is given twice"):
        merge([two[0], two[0]], tmp_path / "out")
    with pytest.raises(ConfigError, match="none: no results of any protocol in it"):
        merge([two[0], tmp_path / "none"], tmp_path / "out")
