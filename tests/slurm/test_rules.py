"""What a cluster needs of the rules, read without one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
RULES = "\n".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
BODIES = dict(re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", RULES, re.MULTILINE | re.DOTALL))
LOCAL = set(re.findall(r"^    (\w+),$", (ROOT / "Snakefile").read_text().partition("localrules:")[2], re.MULTILINE)[:7])
DETECTING = {"train", "detect", "proposals", "figures", "time"}


def test_which_steps_stay_on_the_machine_that_submits():
    assert sorted(LOCAL) == sorted(["all", "data", "weights", "interim", "verdicts", "tables", "report"])


@pytest.mark.parametrize("rule", sorted(set(BODIES) - LOCAL))
def test_every_other_step_says_what_it_asks_for(rule: str):
    asked = set(re.findall(r"^        (\w+)=", BODIES[rule].partition("    resources:\n")[2], re.MULTILINE))
    assert {"mem_mb", "runtime"} <= asked
    assert ("gpu" in asked) == (rule in DETECTING)
    assert ("threads:" in BODIES[rule]) == (rule in DETECTING)
    assert ("slurm_extra" in asked) == (rule == "time")


def test_no_rule_has_retries_of_its_own():
    """They would count in the main process and again in the job."""
    assert not re.search(r"^\s+retries:", RULES, re.MULTILINE)


def test_the_site_is_named_in_the_profile_alone():
    profile = yaml.safe_load((ROOT / "profiles" / "slurm" / "profile.yaml").read_text())
    assert profile["executor"] == "slurm"
    assert profile["slurm-status-command"] == "squeue"
    assert profile["retries"] > 0
    assert profile["latency-wait"] >= 60, "seconds until NFS shows a file"
    assert not {"default-resources", "set-resources"} & set(profile), "the lines of a site are comments"
    assert not re.search(r"slurm_partition|slurm_account|gpu_model", RULES)


@pytest.mark.parametrize(
    ("arguments", "threads"), [(["--cores", "7"], 7), ([], 1), (["--cores", "7", "--mode", "remote"], 1)]
)
def test_timing_takes_the_machine_here_and_asks_a_cluster_for_as_many_cores_as_its_job_wants(
    arguments: list[str], threads: int, tmp_path: Path
):
    """In a job, the cores are those of its node; the process that submits it knows no number."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("snakemake")), "--dry-run", *arguments, "--config", "protocol=smoke",
         "tables=fsaf-T2", f"results={tmp_path}", "--", str(tmp_path / "smoke" / "latency" / "timed.done")],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    words = (done.stdout + done.stderr).partition("rule time:")[2]
    found = re.search(r"threads: (\d+)", words)
    assert int(found[1] if found else 1) == threads
