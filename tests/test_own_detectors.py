"""Detectors of another framework through the real workflow: commands are scheduled, resumed and judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from replication.catalog import CONFIGS

ROOT = Path(__file__).resolve().parents[1]
SNAKEMAKE = Path(sys.executable).with_name("snakemake")
DETECTOR = """
import json, pathlib, sys
val, out, folder, score = sys.argv[1:]
mark = pathlib.Path(folder) / "tried"
if score == "0.8" and not mark.exists():
    mark.touch()
    sys.exit("no luck at the first attempt")
truth = json.loads(pathlib.Path(val).read_text())["annotations"]
keys = ("image_id", "category_id", "bbox")
kept = truth if score == "0.8" else truth[::2]
pathlib.Path(out).write_text(json.dumps([{key: one[key] for key in keys} | {"score": float(score)} for one in kept]))
"""
RUN = "{{python}} detector.py {{val_annotations}} {{detections}} {{folder}} {score}"


def row(name: str, ap: float) -> dict[str, object]:
    return {"id": name, "label": name, "backbone": "R-50", "variant": f"their_{name}", "published": {"AP": ap}}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Two commands, the rows of a paper with one claim; the better one fails when it is started first."""
    table = {"id": "their-T1", "caption": "theirs", "dataset": "MS COCO", "benchmark": "coco", "split": "val2017"}
    table |= {"unit": "percent", "criterion": "AP", "source": ["a test"], "seen_via": ["a test"], "baseline": "half"}
    table |= {"columns": [{"id": "AP", "head": "AP", "metric": "AP", "criterion": "iou"}]}
    table |= {"rows": [row("half", 30.0), row("whole", 40.0)]}
    claim = {"id": "their-T1-AP", "table": "their-T1", "row": "whole", "baseline": "half", "column": "AP", "gain": 10.0}
    paper = {"id": "their", "title": "Theirs", "arxiv": "0", "venue": "none", "tables": [table]}
    paper |= {"claims": [claim | {"primary": True}], "deviations": []}
    smoke = yaml.safe_load((CONFIGS / "protocols" / "smoke.yaml").read_text())
    files = {
        "papers/their.yaml": paper,
        "protocols/theirs.yaml": smoke | {"name": "theirs", "device": "cpu", "tables": ["their-T1"]},
        "variants/their_half.yaml": {"run": RUN.format(score="0.5"), "code": ["detector.py"], "backbone": "R-50"},
        "variants/their_whole.yaml": {"run": RUN.format(score="0.8"), "code": ["detector.py"], "backbone": "R-50"},
    }
    folder = tmp_path / "own"
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(yaml.safe_dump(content))
    (folder / "detector.py").write_text(DETECTOR)
    return folder


@pytest.mark.timeout(900)
def test_commands_through_the_workflow(own: Path, datasets_root: Path):
    results = own.parent / "results"

    def snakemake(*arguments: str) -> subprocess.CompletedProcess[str]:
        config = ["--config", f"configs={own}", "protocol=theirs", f"results={results}"]
        command = [str(SNAKEMAKE), "--cores", "2", *config, "--nolock", *arguments]
        environment = os.environ | {"DETECTRON2_DATASETS": str(datasets_root)}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=800)

    first = snakemake("--keep-going")
    assert first.returncode == 1
    said = first.stdout + first.stderr
    assert "their_whole.yaml: run: the command failed with exit code 1; what it kept is in" in said
    assert "no luck at the first attempt" in said
    here = results / "theirs"
    assert (here / "runs" / "their_half" / "seed0" / "trained.done").exists()

    second = snakemake()
    assert second.returncode == 0, second.stdout + second.stderr
    found = {
        name: json.loads((here / "runs" / f"their_{name}" / "seed0" / "metrics.json").read_text())["metrics"]["AP"]
        for name in ("half", "whole")
    }
    assert found["whole"] == 100.0
    assert 0 < found["half"] < 90
    (entry,) = json.loads((here / "verdicts.json").read_text())["verdicts"]
    assert entry["id"] == "their-T1-AP"
    assert "a command" in (here / "report.html").read_text()
    assert "Nothing to be done" in (again := snakemake("--dry-run")).stdout + again.stderr

    (own / "detector.py").write_text(DETECTOR + "\n# changed")
    outdated = snakemake("--dry-run").stdout
    assert "triggered jobs: train\n" in outdated
