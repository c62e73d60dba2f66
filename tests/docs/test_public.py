"""What stands beside the code for others: checks on public hosts, the catalog of workflows, badges, the changelog."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SNAKEMAKE = Path(sys.executable).with_name("snakemake")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def steps(path: Path) -> Iterator[dict[str, str]]:
    for job in yaml.safe_load(path.read_text())["jobs"].values():
        yield from job["steps"]


def makes(text: str) -> set[tuple[str, ...]]:
    """The calls of make in a script, as words."""
    return {tuple(shlex.split(line)[1:]) for line in re.findall(r"^ *(make [^|#\n]*)", text, re.MULTILINE)}


def test_public_hosts_call_make_alone_and_all_that_ci_calls() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called: set[tuple[str, ...]] = set()
    for path in WORKFLOWS:
        for step in steps(path):
            assert ("uses" in step) != ("run" in step), path.name
            if "run" in step and not step["run"].startswith("apt-get"):
                called |= (own := makes(step["run"]))
                assert len(own) == 1, step
                assert {words[0] for words in own} <= targets
    ours = makes((ROOT / ".ci" / "run").read_text())
    assert len(ours) == 3
    assert ours <= called
    assert {"docs", "reproduce"} <= {words[0] for words in called}


def test_public_hosts_use_the_pythons_that_are_supported_and_files_that_are_made() -> None:
    text = "\n".join(path.read_text() for path in WORKFLOWS)
    versions = set(re.findall(r'"(3\.\d+)"', text))
    assert versions == {"3.11", "3.12"}
    kept = {step["with"]["path"] for path in WORKFLOWS for step in steps(path) if "upload" in step.get("uses", "")}  # type: ignore[index]
    assert kept == {"results/smoke/report.html", "build/site"}
    assert 'SITE = ROOT / "build" / "site"' in (ROOT / "envs" / "build_docs.py").read_text()


def test_badges_and_citation_say_what_the_package_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    badges = {path.stem: path.read_text() for path in (ROOT / "docs" / "images").glob("badge-*.svg")}
    assert f"version: {project['version']}<" in badges["badge-version"]
    assert f"licence: {project['license']['text']}<" in badges["badge-licence"]
    assert "3.11 | 3.12" in badges["badge-python"]
    assert not [name for name, text in badges.items() if "http" in text.replace("http://www.w3.org/2000/svg", "")]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == project["version"]
    assert f"## [{project['version']}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_docs_lock_holds_hashes_and_the_versions_of_the_environment() -> None:
    pin = re.compile(r"^([\w.-]+)==([^\s;\\]+)", re.MULTILINE)
    docs, ours = ((ROOT / "envs" / name).read_text() for name in ("docs.txt", "requirements.txt"))
    assert "://" not in docs
    assert docs.count("==") <= docs.count("--hash=sha256:")
    locked = dict[str, set[str]]()
    for name, version in pin.findall(ours):
        locked.setdefault(name, set()).add(version)
    found = pin.findall(docs)
    assert {"mkdocs", "mkdocs-material", "mkdocstrings-python", "click"} <= {name for name, _ in found}
    assert not [(name, version) for name, version in found if name in locked and version not in locked[name]]
    assert not {"torch", "snakemake"} & {name for name, _ in found}


def test_the_catalog_of_workflows_finds_what_it_asks_for() -> None:
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    keys = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "config" / "README.md").read_text(), re.MULTILINE))
    source = (ROOT / "replication" / "planning" / "workflow.py").read_text()
    known = re.search(r"known = \{(.*?)\}", source)
    assert known is not None
    assert keys == set(re.findall(r'"(\w+)"', known[1]))


@pytest.mark.timeout(300)
def test_the_workflow_in_its_folder_plans_the_same_jobs(tmp_path: Path) -> None:
    ours, included = (planned(tmp_path, *arguments) for arguments in ((), ("-s", "workflow/Snakefile")))
    assert ours["train"] > 0
    assert ours["report"] == 1
    assert ours.pop("all") == included.pop("everything") == 1
    assert included == ours


def planned(results: Path, *arguments: str) -> dict[str, int]:
    """Number of jobs by rule."""
    config = ["--config", "protocol=smoke", f"results={results / 'results'}"]
    command = [str(SNAKEMAKE), "--dry-run", "--cores", "2", *arguments, *config]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=140)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE)
    return {rule: int(count) for rule, count in found}
