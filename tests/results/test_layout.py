"""Where files lie: the folders that the README and archives name, and no path that is built elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from replication.catalog import load_catalog, load_protocol
from replication.results.layout import Layout
from replication.results.run import Run

ROOT = Path(__file__).resolve().parents[2]
HERE = Layout(Path("results"), "mini")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (HERE.data, "mini/data.json"),
        (HERE.ground_truth, "mini/ground_truth.json"),
        (HERE.run("retinanet_R50", 2).metrics, "mini/runs/retinanet_R50/seed2/metrics.json"),
        (HERE.run("retinanet_R50", 2).model, "mini/runs/retinanet_R50/seed2/model_final.pth"),
        (HERE.run("{variant}", "{seed}").detections, "mini/runs/{variant}/seed{seed}/detections.json"),
        (HERE.proposals("rpn_R50", "val").manifest, "mini/proposals/rpn_R50/val.json"),
        (HERE.proposals("rpn_R50", "val").rows, "mini/proposals/rpn_R50/val.f32"),
        (HERE.timed, "mini/latency/timed.done"),
        (HERE.verdicts, "mini/verdicts.json"),
        (HERE.table("giou-T5", "tex"), "mini/tables/giou-T5.tex"),
        (HERE.figure_data("libra_rcnn", "sampling"), "mini/figures/data/libra_rcnn/sampling.json"),
        (HERE.figure("giou_forest"), "mini/figures/svg/giou_forest.svg"),
        (HERE.report, "mini/report.html"),
        (HERE.log("train/a-seed0"), "mini/logs/train/a-seed0.log"),
        (HERE.download("coco2017"), "downloads/coco2017.done"),
        (HERE.features, "features"),
    ],
)
def test_paths(path: Path, expected: str):
    assert path == Path("results") / expected


def test_seeds_come_in_order_of_their_numbers(tmp_path: Path):
    layout = Layout(tmp_path, "mini")
    for name in ("seed10", "seed2", "seed0", "seed1.bak", "seedling"):
        (layout.runs / "a" / name).mkdir(parents=True)
    assert [seed for seed, _ in layout.seeds("a")] == [0, 2, 10]
    assert list(layout.seeds("b")) == []


def test_a_run_and_the_run_whose_weights_it_takes(tmp_path: Path):
    variants, protocol = load_catalog().variants, load_protocol("paper")
    run = Run(variants["fsaf_X101_joint_jitter_tta"], protocol, 1, tmp_path)
    assert run.trained == Run(variants["fsaf_X101_joint_jitter"], protocol, 1, tmp_path)
    assert run.trained.trained == run.trained
    assert len({run, run.trained, Run(run.variant, protocol, 1, tmp_path)}) == 2
    assert run.folder == tmp_path / "paper" / "runs" / "fsaf_X101_joint_jitter_tta" / "seed1"
    assert run.label == "fsaf_X101_joint_jitter_tta seed 1"


NAMES = r'/ "runs"|"((ground_truth|\w*/?data|provenance|metrics|detections|levels|mechanism)\.json)"'
OTHERS = r'model_final|last_checkpoint"|"curves\.jsonl|"verdicts\.json|"report\.html|protocol\.name / '


def test_no_other_module_builds_a_path_of_the_results():
    files = [*(ROOT / "replication").rglob("*.py"), *(ROOT / "rules").glob("*.smk"), ROOT / "Snakefile"]
    for path in files:
        if path.name == "layout.py":
            continue
        found = [line for line in path.read_text().splitlines() if re.search(f"{NAMES}|{OTHERS}", line)]
        assert [line for line in found if '"""' not in line and "``" not in line] == [], path


def test_what_is_archived_is_what_is_there(tmp_path: Path):
    layout = Layout(tmp_path, "mini")
    kept = [layout.data, layout.report, layout.table("a", "md"), layout.figure("b"), layout.figure_data("c", "d")]
    kept.append(layout.latency / "cpu" / "a.json")
    for path in (*kept, layout.timed, layout.ground_truth, layout.log("prepare"), layout.run("a", 0).metrics):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert set(layout.archived) == set(kept)
    assert layout.evaluated == [layout.run("a", 0)]
