"""The real workflow, run by the real Snakemake, under the protocol `smoke`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from support.elsewhere_runs import detections, prepare

from replication.catalog import CONFIGS, load_catalog, load_protocol
from replication.evaluation.elsewhere import import_run
from replication.planning.plan import make_plan

ROOT = Path(__file__).resolve().parents[1]
LOSSES = ("smooth_l1", "iou", "giou")
SNAKEMAKE = Path(sys.executable).with_name("snakemake")


def snakemake(
    results: Path, *arguments: str, tables: str = "giou-T5", seeds: int = 1, backbones: str = "R-50", gpus: int = 1
) -> subprocess.CompletedProcess[str]:
    config = ["--config", "protocol=smoke", f"tables={tables}", f"results={results}", f"seeds={seeds}"]
    config += [f"backbones={backbones}", f"gpus={gpus}"]
    command = [str(SNAKEMAKE), "--cores", "2", *config, "--nolock", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Results of GIoU table 5 under smoke, and what was on the screen while they were made."""
    results = tmp_path_factory.mktemp("results")
    done = snakemake(results)
    assert done.returncode == 0, done.stdout + done.stderr
    return results, done.stdout + done.stderr


def test_the_pipeline_makes_the_table_and_the_page(made: tuple[Path, str]):
    results, _ = made
    here = results / "smoke"
    text = (here / "tables" / "giou-T5.md").read_text()
    assert "0.360" in text
    assert "smoke" in text
    for kind in ("csv", "tex"):
        assert (here / "tables" / f"giou-T5.{kind}").stat().st_size > 100
    page = (here / "report.html").read_text()
    assert "giou-T5" in page
    verdicts = json.loads((here / "verdicts.json").read_text())
    assert {run["variant"] for run in verdicts["runs"]} == {f"faster_rcnn_R50_{name}" for name in LOSSES}
    assert {one["verdict"] for one in verdicts["verdicts"]} == {"blocked"}, "after six iterations no detector detects"
    assert verdicts["plan"]["protocol"][:16] in page
    assert "<svg" in page


def test_measured_numbers_are_those_of_the_metrics_files(made: tuple[Path, str]):
    results, _ = made
    table = (results / "smoke" / "tables" / "giou-T5.csv").read_text()
    for variant in LOSSES:
        folder = results / "smoke" / "runs" / f"faster_rcnn_R50_{variant}" / "seed0"
        metrics = json.loads((folder / "metrics.json").read_text())
        assert metrics["schema"] == "metrics/1"
        assert metrics["images"] == 6
        assert str(metrics["metrics"]["AP"] / 100)[:12] in table


def test_the_screen_shows_progress_and_the_finished_table(made: tuple[Path, str]):
    _, screen = made
    assert "train faster_rcnn_R50_giou, seed 0: about" in screen
    assert "s/iter" in screen
    assert "left" in screen
    assert "published" in screen.lower()


def test_the_last_words_say_where_the_page_is_and_what_the_verdicts_are(made: tuple[Path, str]):
    results, screen = made
    words = screen.partition(f"The page: {results / 'smoke' / 'report.html'}\n")[2]
    assert re.match(r"giou-T5: .* over smooth L1, .*: blocked; claimed [+\N{MINUS SIGN}]", words), screen[-2000:]


def test_nothing_is_done_twice_and_more_seeds_add_only_theirs(made: tuple[Path, str]):
    results, _ = made
    again = snakemake(results, "--dry-run")
    assert "Nothing to be done" in again.stdout + again.stderr
    more = snakemake(results, "--dry-run", "--quiet", "host", seeds=2)
    screen = more.stdout + more.stderr
    assert "seed 1: about" in screen
    assert "seed 0: about" not in screen


def test_another_number_of_gpus_computes_nothing_again(made: tuple[Path, str]):
    again = snakemake(made[0], "--dry-run", gpus=2)
    assert "Nothing to be done" in again.stdout + again.stderr


def test_interim_verdicts_come_before_the_final_ones_and_are_not_kept(tmp_path: Path):
    """Of runs that are there already; so judging alone is left to do."""
    results = tmp_path / "results"
    verdicts = prepare(results).verdicts
    plan = make_plan(load_catalog(), load_protocol("smoke"), results, ["giou-T5", "giou-T5-weights"], seeds=3)
    for number, run in enumerate(plan.runs):
        path = detections(tmp_path, "own", number)
        import_run(plan.catalog, plan.protocol, results, run.variant.name, run.seed, path)
    chosen = {"tables": ",".join(plan.tables), "seeds": 3}
    done = snakemake(results, str(verdicts), **chosen)
    screen = done.stdout + done.stderr
    assert done.returncode == 0, screen
    line = "INTERIM verdicts of giou-T5, without the runs that only giou-T5-weights show."
    assert screen.index(line) < screen.index("judge the claims of")
    assert screen.count("INTERIM verdicts") == 1
    assert line in (results / "smoke" / "logs" / "interim" / "giou-T5.log").read_text()
    assert not plan.layout.interim("giou-T5").exists()
    assert json.loads(verdicts.read_text())["tables"] == list(plan.tables)
    again = snakemake(results, "--dry-run", str(verdicts), **chosen)
    assert "Nothing to be done" in again.stdout + again.stderr


@pytest.mark.slow
def test_the_first_table_is_judged_before_another_training_starts(made: tuple[Path, str], tmp_path: Path):
    results = tmp_path / "results"
    shutil.copytree(made[0], results)
    for name in ("report.html", "verdicts.json"):
        (results / "smoke" / name).unlink()
    tables = "giou-T5,giou-T5-weights"
    done = snakemake(results, "--cores", "1", tables=tables)
    screen = done.stdout + done.stderr
    assert done.returncode == 0, screen
    assert screen.index("INTERIM verdicts of giou-T5") < screen.index("train faster_rcnn_R50_")
    assert not list(results.glob("smoke/logs/interim/*.done"))
    again = snakemake(results, "--dry-run", tables=tables)
    assert "Nothing to be done" in again.stdout + again.stderr


LITERAL = "my \"res' $(touch pwned) `touch pwned`; touch pwned & x"


def prepared(results: Path, datasets: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        str(SNAKEMAKE),
        "--cores",
        "1",
        "--nolock",
        "--config",
        "protocol=smoke",
        f"results={results}",
        *arguments,
    ]
    environment = {**os.environ, "DETECTRON2_DATASETS": str(datasets)}
    return subprocess.run(
        [*command, "--", str(results / "smoke" / "data.json")],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200,
    )  # fmt: skip


def test_a_results_folder_is_taken_literally(tmp_path: Path, datasets_root: Path):
    """No shell reads its name, whatever stands in it."""
    results = tmp_path / LITERAL
    done = prepared(results, datasets_root)
    assert done.returncode == 0, done.stdout + done.stderr
    files = {str(path.relative_to(results)) for path in results.rglob("*") if path.is_file()}
    assert files == {
        f"smoke/{name}" for name in ("data.json", "ground_truth.json", "logs/prepare.log", ".workflow.lock")
    }
    assert str(results / "smoke" / "data.json") in (results / "smoke" / "logs" / "prepare.log").read_text()
    assert not (ROOT / "pwned").exists()
    assert "Nothing to be done" in (again := prepared(results, datasets_root)).stdout + again.stderr


def test_a_step_that_fails_stops_the_workflow_though_its_words_go_to_a_log(tmp_path: Path):
    (tmp_path / "file").write_text("")
    done = prepared(tmp_path / "results", tmp_path / "file")
    assert done.returncode != 0
    assert "error: " in (tmp_path / "results" / "smoke" / "logs" / "prepare.log").read_text()
    assert not (tmp_path / "results" / "smoke" / "data.json").exists()


def test_every_rule_is_a_verb():
    rules = re.findall(
        r"^(?:use )?rule (\w+)(?: as (\w+))?",
        "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk")),
        re.MULTILINE,
    )
    names = {other or name for name, other in rules}
    verbs = set(re.findall(r"\{VERB\} (\w+) ", "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))))
    assert names - verbs == {"detect_tta", "interim"}
    assert verbs - names == {"plan"}


def test_the_report_of_the_workflow_has_an_entry_for_each_result(made: tuple[Path, str], tmp_path: Path):
    """As the README has it, which names no cores."""
    results, _ = made
    config = ["protocol=smoke", "tables=giou-T5", f"results={results}"]
    command = [str(SNAKEMAKE), "--report", str(tmp_path / "out.zip"), "--nolock", "--config", *config]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(tmp_path / "out.zip") as packed:
        files = {Path(name).name: packed.read(name) for name in packed.namelist() if "/data/" in name}
        page = packed.read("out/report.html").decode()
    figures = {path.name for path in (results / "smoke" / "figures" / "svg").glob("*.svg")}
    assert {"giou-T5_curves.svg", "giou-T5_mistakes.svg"} <= figures
    assert set(files) == {"report.html", "verdicts.json", "giou-T5.md", "giou-T5.csv", *figures}
    assert files["report.html"] == (results / "smoke" / "report.html").read_bytes()
    for text in (
        "Table giou-T5, published and measured",
        "The whole report in one self-contained p",
        '"giou"',
        '"all papers"',
    ):
        assert text in page


def test_a_dry_run_says_what_why_and_how_long(tmp_path: Path):
    done = snakemake(tmp_path, "--dry-run")
    screen = done.stdout + done.stderr
    assert "train faster_rcnn_R50_iou, seed 0: about" in screen
    assert "reason: Missing output files" in screen
    # A line for what reads the files of all runs, not their list.
    assert ": judge the claims of giou-T5" in screen
    assert not any(
        line.lstrip().startswith("input:") and line.count("metrics.json") > 1 for line in screen.splitlines()
    )


def test_fixed_proposals_are_planned_once_and_before_those_that_need_them(tmp_path: Path):
    done = snakemake(tmp_path, "--dry-run", tables="libra-T1,libra-T2", seeds=2)
    screen = done.stdout + done.stderr
    assert done.returncode == 0, screen
    counts = dict(line.split() for line in screen.splitlines() if len(line.split()) == 2 and line.split()[1].isdigit())
    # Faster, Libra, RetinaNet, Libra RetinaNet and four Fast R-CNNs, two seeds each, and the RPN.
    assert (counts["proposals"], counts["train"], counts["detect"]) == ("1", "17", "16")
    assert counts["figures"] == "2"


def test_figure_5_is_made_without_the_detector_of_figure_3(tmp_path: Path):
    done = snakemake(tmp_path, "--dry-run", tables="libra-T5")
    screen = done.stdout + done.stderr
    assert done.returncode == 0, screen
    assert "figures/data/libra_rcnn/balanced_l1.json" in screen
    assert "sampling.json" not in screen
    assert "train faster_rcnn_R50," not in screen


def test_a_test_time_variant_is_planned_without_a_training(tmp_path: Path):
    done = snakemake(tmp_path, "--dry-run", tables="fsaf-T3", backbones="X-101-64x4d")
    screen = done.stdout + done.stderr
    assert done.returncode == 0, screen
    source, tta = (f"{tmp_path}/smoke/runs/fsaf_X101_joint_jitter{name}/seed0" for name in ("", "_tta"))
    jobs = [job for job in screen.replace("\nJob stats", "\nrule ").split("\nrule ")[1:] if "wildcards: variant" in job]
    named = [job.partition(":")[0] for job in jobs if "variant=fsaf_X101_joint_jitter_tta" in job]
    assert sorted(named) == ["detect_tta", "evaluate"]
    detect = next(job for job in jobs if job.startswith("detect_tta:"))
    assert f"input: {source}/trained.done\n" in detect
    assert f"output: {tta}/detections.json, {tta}/provenance.json\n" in detect
    assert screen.count("train fsaf_X101_joint_jitter, seed 0: about") == 1
    assert f"{tta}/trained.done" not in screen


@pytest.mark.slow
def test_a_test_time_variant_is_tested_with_the_weights_of_the_one_training(tmp_path: Path):
    chosen = {"tables": "fsaf-T3", "backbones": "X-101-64x4d"}
    done = snakemake(tmp_path, **chosen)
    assert done.returncode == 0, done.stdout + done.stderr
    runs = tmp_path / "smoke" / "runs"
    assert [path.parent.parent.name for path in runs.glob("*/seed0/model_final.pth")] == ["fsaf_X101_joint_jitter"]
    made = json.loads((runs / "fsaf_X101_joint_jitter_tta" / "seed0" / "provenance.json").read_text())
    assert made["weights_from"] == "fsaf_X101_joint_jitter"
    assert (runs / "fsaf_X101_joint_jitter_tta" / "seed0" / "metrics.json").exists()
    again = snakemake(tmp_path, "--dry-run", **chosen)
    assert "Nothing to be done" in again.stdout + again.stderr


@pytest.mark.slow
def test_the_ablations_of_libra_rcnn(tmp_path: Path):
    """Table 2 on the proposals of an RPN that table 3 evaluates, and the figures of table 1."""
    done = snakemake(tmp_path, tables="libra-T1,libra-T2,libra-T3")
    assert done.returncode == 0, done.stdout + done.stderr
    here = tmp_path / "smoke"
    used = {
        json.loads(path.read_text())["proposals_sha256"] for path in here.glob("runs/fast_rcnn*/seed0/provenance.json")
    }
    assert used == {json.loads((here / "proposals" / "rpn_R50" / "train.json").read_text())["sha256"]}
    assert "AR1000" in (here / "tables" / "libra-T3.md").read_text()
    names = {path.stem for path in (here / "figures" / "svg").iterdir()}
    assert {"libra_rcnn_sampling", "libra_rcnn_balanced_l1", "libra-T3_effects"} <= names
    again = snakemake(tmp_path, "--dry-run", tables="libra-T1,libra-T2,libra-T3")
    assert "Nothing to be done" in again.stdout + again.stderr


def test_timing_has_the_machine_to_itself(tmp_path: Path):
    done = snakemake(tmp_path, "--dry-run", tables="fsaf-T2,giou-T5")
    screen = done.stdout + done.stderr
    assert done.returncode == 0, screen
    jobs = [job for job in screen.split("\nrule ")[1:] if job.startswith("time:")]
    assert len(jobs) == 1
    assert "threads: 2" in jobs[0]  # of --cores 2
    assert f"{tmp_path}/smoke/runs/retinanet_R50/seed0/trained.done" in jobs[0]
    assert f"{tmp_path}/smoke/latency/timed.done" in jobs[0]


def test_a_wrong_config_key_stops_with_one_message(tmp_path: Path):
    command = [str(SNAKEMAKE), "--cores", "1", "-n", "--config", "protocoll=smoke"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode != 0
    assert "--config protocoll: unknown key" in done.stdout + done.stderr


@pytest.mark.parametrize("protocol", sorted(path.stem for path in (CONFIGS / "protocols").glob("*.yaml")))
def test_every_protocol_can_be_planned_by_the_workflow(protocol: str, tmp_path: Path):
    command = [str(SNAKEMAKE), "--cores", "2", "-n", "-q", "--config", f"protocol={protocol}", f"results={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_interrupted_training_is_gone_on_with(made: tuple[Path, str], tmp_path: Path):
    """What Snakemake deletes of a failed job must not be what a resume needs."""
    results, _ = made
    shutil.copytree(results, tmp_path / "results")
    folder = tmp_path / "results" / "smoke" / "runs" / "faster_rcnn_R50_iou" / "seed0"
    before = json.loads((folder / "detections.json").read_text())
    smoke = tmp_path / "results" / "smoke"
    shutil.rmtree(folder / "matches")
    for path in (*folder.iterdir(), *(smoke / "tables").iterdir(), smoke / "report.html"):
        path.unlink()
    train = [
        sys.executable,
        "-m",
        "replication",
        "train",
        "--protocol",
        "smoke",
        "--results",
        str(tmp_path / "results"),
    ]
    process = subprocess.Popen([*train, "--variant", "faster_rcnn_R50_iou"], cwd=ROOT, stderr=subprocess.DEVNULL)
    while not list(folder.glob("checkpoint_*.pth")) and process.poll() is None:
        pass
    process.kill()
    process.wait()
    done = snakemake(tmp_path / "results")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((folder / "detections.json").read_text()) == before
    assert json.loads((folder / "provenance.json").read_text())["resumed_at"]


def workflow(results: Path) -> subprocess.Popen[str]:
    config = ["--config", "protocol=smoke", "tables=giou-T5", f"results={results}", "seeds=1", "backbones=R-50"]
    command = [str(SNAKEMAKE), "--cores", "1", *config]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
def test_a_second_workflow_is_refused_and_a_killed_one_succeeded(made: tuple[Path, str], tmp_path: Path):
    """The training that the killed one has left running is waited for, and what it has made is kept."""
    results = tmp_path / "results"
    shutil.copytree(made[0], results)
    smoke, folder = results / "smoke", results / "smoke" / "runs" / "faster_rcnn_R50_iou" / "seed0"
    model = (folder / "model_final.pth").read_bytes()
    detections = (folder / "detections.json").read_bytes()
    shutil.rmtree(folder)
    for path in (*(smoke / "tables").iterdir(), smoke / "report.html", smoke / "verdicts.json"):
        path.unlink()
    first = workflow(results)
    while not (folder / ".lock.json").exists() and first.poll() is None:
        time.sleep(0.05)
    second = workflow(results)
    screen, _ = second.communicate(timeout=300)
    assert second.returncode != 0
    assert f"another process is working on these results (process {first.pid} on" in screen
    first.kill()  # and not its training
    first.wait()
    third = workflow(results)
    screen, _ = third.communicate(timeout=500)
    assert third.returncode == 0, screen
    assert "cannot be locked" not in screen
    assert (folder / "model_final.pth").read_bytes() == model
    assert (folder / "detections.json").read_bytes() == detections
    assert not json.loads((folder / "provenance.json").read_text())["resumed_at"]


@pytest.mark.slow
def test_a_job_that_starts_late_deletes_nothing(made: tuple[Path, str], tmp_path: Path):
    """As a cluster's requeued job: Snakemake deletes what is declared, the verb finds its training finished."""
    results = tmp_path / "results"
    shutil.copytree(made[0], results)
    folder = results / "smoke" / "runs" / "faster_rcnn_R50_iou" / "seed0"
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("model_final.pth*")}
    done = snakemake(results, "--forcerun", "train")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("model_final.pth*")} == before


def test_weights_that_were_deleted_are_trained_again(made: tuple[Path, str], tmp_path: Path):
    results = tmp_path / "results"
    shutil.copytree(made[0], results)
    (results / "smoke" / "runs" / "faster_rcnn_R50_iou" / "seed0" / "model_final.pth").unlink()
    (results / "smoke" / "report.html").unlink()
    again = snakemake(results, "--dry-run")
    screen = again.stdout + again.stderr
    assert "train faster_rcnn_R50_iou, seed 0" in screen
    assert "train faster_rcnn_R50_giou" not in screen
