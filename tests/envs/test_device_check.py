"""The script for a GPU machine, without one: its parts, its clock, and what it writes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import device_check
import pytest
import yaml
from device_check import Outcome, Part

from replication.catalog import load_catalog
from replication.planning.costs import Costs

ROOT = Path(__file__).resolve().parents[2]


def python(code: str, name: str = "part", seconds: int = 20) -> Part:
    return Part(name, seconds, (sys.executable, "-c", code))


def test_a_part_that_fails_or_hangs_does_not_stop_the_next(tmp_path: Path) -> None:
    planned = [
        python("print('fine')", "a"),
        python("raise SystemExit('no GPU')", "b"),
        python("import time; print('begun', flush=True); time.sleep(60)", "c", seconds=3),
        python("print('last')", "d"),
    ]
    outcomes = device_check.run(planned, tmp_path / "log.txt")
    assert [one.state for one in outcomes] == ["done", "failed", "out of time", "done"]
    assert [one.output.strip() for one in outcomes] == ["fine", "no GPU", "begun", "last"]
    assert outcomes[2].seconds < 10


def test_children_of_a_part_end_with_it(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    child = f"import time; time.sleep(4); open({str(mark)!r}, 'w')"
    code = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    (outcome,) = device_check.run([python(code, seconds=2)], tmp_path / "log.txt")
    assert outcome.state == "out of time"
    device_check.run([python("import time; time.sleep(4)")], tmp_path / "log.txt")
    assert not mark.exists()


def test_what_no_time_is_left_for_is_said(tmp_path: Path) -> None:
    moments = iter([0.0, 0.0, 99.5, 99.5])
    outcomes = device_check.run([python("1"), python("2")], tmp_path / "log.txt", 100, lambda: next(moments))
    assert [one.state for one in outcomes] == ["done", "not started"]


def test_all_parts_fit_eight_minutes_and_name_what_there_is(tmp_path: Path) -> None:
    planned = device_check.parts(tmp_path, dry=False)
    assert sum(part.seconds for part in planned) <= 480
    assert {part.name for part in planned} == {part.name for part in device_check.parts(tmp_path, dry=True)}
    timed = [
        part.command[part.command.index("--variants") + 1].split(",") for part in planned if "time" in part.command
    ]
    assert len(timed[0]) == 9
    assert timed[0] == timed[1]
    assert {name for names in timed for name in names} <= set(load_catalog().variants)
    for part in planned:
        assert all((ROOT / word).exists() for word in part.command if word.startswith(("envs/", "tests/"))), part


def document(variant: str, ms: float, step: float) -> dict[str, Any]:
    training = {"ms_per_step": {"median": step}, "images": 2, "peak_memory": {"bytes": 3}}
    return {
        "variant": variant,
        "device": {"name": "Some GPU"},
        "session": {"started": "2026-01-02T03:04:05"},
        "ms_per_image": {"total": {"median": ms}},
        "training": training,
    }


OUTCOMES = [Outcome("tests", "done", 3.0, ""), Outcome("fsaf-T2 fp32", "out of time", 90.0, "")]


def test_partial_times_become_costs_and_ratios(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "fp32"
    folder.mkdir(parents=True)
    for variant, ms in (("retinanet_R50", 20.0), ("fsaf_R50", 17.0), ("fsaf_R101", 25.0)):
        (folder / f"{variant}.json").write_text(json.dumps(document(variant, ms, 10 * ms)))
    device_check.collect(tmp_path, OUTCOMES, {"device": {"name": "Some GPU"}, "commit": "c"})
    recorded = Costs.model_validate(yaml.safe_load((tmp_path / "costs.yaml").read_text())).costs["paper"]
    assert (recorded["fsaf_R50"].s_per_iter, recorded["fsaf_R50"].device) == (0.17, "8 x Some GPU")
    assert "2 images" in recorded["fsaf_R50"].source
    text = (tmp_path / "page.md").read_text()
    assert "| fsaf-T2 fp32 | out of time | 90 |" in text
    assert "| fsaf_R50 | 17.0 | 0.850 | 0.817 |" in text  # 107 / 131 in the paper
    assert "fsaf_R101 |" not in text  # without its baseline there is no ratio
    kept = json.loads((tmp_path / "device_check.json").read_text())
    assert kept["provenance"]["commit"] == "c"
    assert [part["state"] for part in kept["parts"]] == ["done", "out of time"]
    assert set(json.loads((tmp_path / "latency.json").read_text())) == {"fp32"}


def test_with_nothing_measured_the_files_are_there_and_readable(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    device_check.collect(tmp_path, [], {"device": {"name": "Some GPU"}})
    assert Costs.model_validate(yaml.safe_load((tmp_path / "costs.yaml").read_text())).costs == {}
    assert (tmp_path / "page.md").read_text().startswith("# Device check: Some GPU")


def test_without_detectron2_and_wheels_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_check.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"no wheels here .* run `make bundle`"):
        device_check.install(tmp_path)


def test_without_a_gpu_it_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(SystemExit, match=r"device check: .*; it needs a GPU, or --dry-run"):
        device_check.provenance(dry=False)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_dry_run_does_every_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    code = device_check.main(["--dry-run", "--out", str(tmp_path / "out")])
    states = {
        part["name"]: part["state"] for part in json.loads((tmp_path / "out/device_check.json").read_text())["parts"]
    }
    assert set(states.values()) == {"done"}, states
    assert code == 0
    resumed = json.loads((tmp_path / "out/resume.json").read_text())["variants"]
    assert all(found["resumed"]["same_bytes"] for found in resumed.values())
