"""The built package, installed where neither the checkout nor torch is: what a reader of finished runs has."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from email.parser import Parser
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from setuptools import find_packages

from replication.formats.native_library import name as library_name

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "replication", "configs")
BUILD = "import sys, setuptools.build_meta as backend; print(getattr(backend, sys.argv[1])(sys.argv[2]))"

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_every_package_is_installed():
    import tomllib

    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert sorted(named) == sorted([*find_packages(ROOT, include=["replication*"]), "replication.configs"])


def build(kind: str, source: Path, out: Path, environment: Mapping[str, str] | None = None) -> Path:
    """One archive, made by the build backend alone: no network, no isolated environment."""
    out.mkdir(exist_ok=True)
    command = [sys.executable, "-c", BUILD, f"build_{kind}", str(out)]
    done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Warning: Package" not in done.stderr
    return out / done.stdout.splitlines()[-1]


def required(requirements: list[str], seen: dict[str, Distribution]) -> dict[str, Distribution]:
    """The distributions of this environment that the requirements lead to, extras left out."""
    for requirement in map(Requirement, requirements):
        name = canonicalize_name(requirement.name)
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen[name] = distribution(name)
        required(seen[name].requires or [], seen)
    return seen


def top_level(found: Distribution) -> Iterator[Path]:
    """What a distribution has put into site-packages itself: packages, modules, its metadata."""
    assert found.files
    names = {file.parts[0] for file in found.files} - {"..", "__pycache__"}
    return (Path(str(found.locate_file(name))) for name in names)


def copied(folder: Path) -> Path:
    """The sources in ``folder``: setuptools leaves files behind and takes up those of the last time."""
    folder.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel of the checkout, and the wheel of the source archive of the checkout."""
    folder = tmp_path_factory.mktemp("build")
    source = copied(folder / "source")
    sdist = build("sdist", source, folder / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return build("wheel", source, folder / "direct"), build("wheel", unpacked, folder / "by_sdist")


def test_both_ways_give_one_wheel_with_all_code_and_configs(wheels: tuple[Path, Path]):
    direct, by_sdist = (set(zipfile.ZipFile(wheel).namelist()) for wheel in wheels)
    assert direct == by_sdist
    code = {path.relative_to(ROOT).as_posix() for path in (ROOT / "replication").rglob("*.py")}
    data = {f"replication/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "configs").rglob("*.yaml")}
    templates = {path.relative_to(ROOT).as_posix() for path in (ROOT / "replication/report/templates").iterdir()}
    assert templates
    native = {path.relative_to(ROOT).as_posix() for path in (ROOT / "replication/native").glob("*.[ch]")}
    library = {f"replication/native/{library_name()}"} if shutil.which("cc") else set()
    assert {name for name in direct if ".dist-info/" not in name} == code | data | templates | native | library
    assert all(("-none-any." in wheel.name) == (not library) for wheel in wheels)


def test_without_a_compiler_the_wheel_is_for_every_platform_and_leaves_the_loops_to_numba(tmp_path: Path):
    """What numba then computes is tested in ``formats/test_native.py``."""
    (tmp_path / "nothing").mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "CC"}
    environment |= {"PATH": str(tmp_path / "nothing"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    wheel = build("wheel", copied(tmp_path / "source"), tmp_path / "built", environment)
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".so")]
        archive.extractall(tmp_path / "installed")
    program = "from replication.formats import native; print(native.__file__, native.native())"
    environment["PYTHONPATH"] = str(tmp_path / "installed")
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(tmp_path / "installed" / "replication" / "formats" / "native.py"), "None"]
    assert done.stderr.startswith("note: there is no C compiler here")


@pytest.fixture(scope="module")
def run(wheels: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a program of a new environment that holds the wheel and, by links, only what the wheel requires."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    packages = next(venv.glob("lib/python*/site-packages"))
    with zipfile.ZipFile(wheels[1]) as wheel:
        metadata = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        needs = Parser().parsestr(wheel.read(metadata).decode()).get_all("Requires-Dist") or []
    for found in required(needs, {}).values():
        for path in top_level(found):
            (packages / path.name).symlink_to(path, target_is_directory=path.is_dir())
    pip = [sys.executable, "-m", "pip", "--python", str(venv / "bin" / "python"), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-index", "--no-deps", str(wheels[1])], check=True)
    work = folder / "work"
    work.mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "REPLICATION_"))}
    environment["NUMBA_CACHE_DIR"] = str(folder / "numba")

    def call(program: str, *arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [str(venv / "bin" / program), *map(str, arguments)]
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        return done

    return call


def test_nothing_of_the_checkout_and_no_torch_can_be_imported(run: Run):
    assert "No module named 'torch'" in run("python", "-c", "import torch", code=1).stderr
    assert "No module named 'detectron2'" in run("python", "-c", "import detectron2", code=1).stderr
    where = run("python", "-c", "import replication; from replication.catalog import CONFIGS; print(CONFIGS)").stdout
    assert where.rstrip().endswith("site-packages/replication/configs")
    assert str(ROOT) not in run("python", "-c", "import sys; print(sys.path)").stdout


def test_version_help_catalog_and_plan(run: Run):
    assert run("replication", "--version").stdout == "replication 0.1.0\n"
    assert run("python", "-m", "replication", "--help").stdout == run("replication", "--help").stdout
    catalog = json.loads(run("replication", "catalog", "--format", "json").stdout)
    assert [paper["id"] for paper in catalog["papers"]] == ["fsaf", "giou", "libra_rcnn"]
    plan = json.loads(run("replication", "plan", "--tables", "giou-T5", "--format", "json").stdout)
    assert {step["state"] for step in plan["runs"]} == {"to do"}
    assert plan["seconds"] > 0  # costs.yaml is there as well


def test_what_needs_torch_says_so(run: Run):
    done = run("replication", "train", "--variant", "retinanet_R50", code=2)
    assert done.stderr.startswith("error: train needs torch, which is not installed: ")
    assert "pip install ./envs/detectron2 '.[train]'" in done.stderr


def test_a_paper_of_the_users_own(run: Run, tmp_path: Path):
    written = run("replication", "new-paper", "lucid", "--to", tmp_path / "own").stdout.splitlines()
    plan = run(*written[-1].removeprefix("next: ").split(), "--format", "json")
    assert {step["variant"] for step in json.loads(plan.stdout)["runs"]} == {"faster_rcnn_R50_giou", "lucid_R50"}
    for kind in ("paper", "variant", "protocol", "claim", "costs"):
        assert json.loads(run("replication", "schema", kind).stdout)["$schema"]


def test_a_detector_that_is_a_command_needs_no_torch(run: Run, tmp_path: Path):
    own = tmp_path / "own"
    (own / "variants").mkdir(parents=True)
    (own / "variants" / "mine.yaml").write_text("run: 'cp found.json {detections}'\nbackbone: R-50\n")
    truth = {
        "images": [{"id": 1, "width": 64, "height": 64, "file_name": "a.jpg"}],
        "categories": [{"id": 3, "name": "thing"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [9, 9, 8, 8], "area": 64, "iscrowd": 0}],
    }
    found = [{"image_id": 1, "category_id": 3, "bbox": [9, 9, 8, 8], "score": 0.5}]
    for name, content in (("truth.json", truth), ("found.json", found)):
        (own / name).write_text(json.dumps(content))
    part = {"annotations": str(own / "truth.json"), "images": str(own)}
    protocol = {"name": "toy", "title": "Toy", "data": {"kind": "coco", "train": part, "val": part}}
    protocol |= {"batch": 1, "tables": ["giou-T5"], "checkpoint_every": 1}
    (own / "protocols").mkdir()
    (own / "protocols" / "toy.yaml").write_text(json.dumps(protocol))
    where = ["--configs", own, "--protocol", "toy", "--results", tmp_path / "results", "--variant", "mine"]
    run("replication", "train", *where)
    path = run("replication", "detect", *where).stdout.strip()
    assert json.loads(Path(path).read_text()) == found


@pytest.mark.slow
def test_evaluate(run: Run, tmp_path: Path):
    truth = {
        "images": [{"id": 1, "width": 64, "height": 64, "file_name": "a.jpg"}],
        "categories": [{"id": 3, "name": "thing"}],
        "annotations": [
            {"id": n, "image_id": 1, "category_id": 3, "bbox": [9 * n, 9, 8, 8], "area": 64, "iscrowd": 0}
            for n in (1, 2)
        ],
    }
    found = [{"image_id": 1, "category_id": 3, "bbox": [9, 9, 8, 8], "score": 0.5}]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps(found))
    answer = run("replication", "evaluate", tmp_path / "found.json", tmp_path / "truth.json", "--format", "json")
    # One of two objects is found: precision is 1 up to recall 0.5, at 51 of the 101 recall points.
    assert json.loads(answer.stdout)["metrics"]["AP"] == pytest.approx(100 * 51 / 101)


@pytest.mark.slow
def test_archived_runs_are_rendered_and_exported(run: Run, tmp_path: Path):
    results = shutil.copytree(ROOT / "results" / "reference", tmp_path / "results")
    kept = {path.name: path.read_bytes() for path in (results / "mini" / "tables").glob("*.csv")}
    written = json.loads(run("replication", "tables", "--results", results, "--format", "json").stdout)
    rendered = [Path(name) for name in written["files"] if name.endswith(".csv")]
    assert {path.parent for path in rendered} == {results / "rendered" / "mini" / "tables"}  # the archive is left alone
    assert {path.name: path.read_bytes() for path in rendered} == kept
    page = json.loads(run("replication", "report", "--results", results, "--format", "json").stdout)["files"][0]
    assert "</html>" in Path(page).read_text()
    exported = run("replication", "export", "--format", "model-index", "--results", results).stdout
    assert Path(exported.splitlines()[-1]).exists()


@pytest.mark.slow
def test_an_archive_is_judged_only_where_it_is_declared_to_be_none(run: Run, tmp_path: Path):
    results = shutil.copytree(ROOT / "results" / "reference", tmp_path / "results")
    refused = run("replication", "verdicts", "--results", results, code=2)
    assert "is part of an archive, which keeps no detections" in refused.stderr
    (results / "mini" / "archive.json").unlink()
    kept = json.loads((ROOT / "results" / "reference" / "mini" / "verdicts.json").read_text())
    copy = ("--results", results, "--tables", ",".join(kept["tables"]))
    document = json.loads(run("replication", "verdicts", *copy, "--format", "json").stdout)
    assert document["runs"] == kept["runs"]
    assert [one["id"] for one in document["verdicts"]] == [one["id"] for one in kept["verdicts"]]
    assert any("judged for this benchmark alone" in note for note in document["notes"])


def test_users_own_files_are_evaluated_compared_imported_merged_and_verified(run: Run, tmp_path: Path):
    """From another folder, without torch: everything that needs no training."""
    from support.elsewhere_runs import SKILLS, detections, prepare

    prepare(tmp_path / "results")
    truth, variants = tmp_path / "results/smoke/ground_truth.json", list(SKILLS)[:3:2]
    files = {variant: [detections(tmp_path, variant, seed) for seed in range(2)] for variant in variants}
    first, other = files[variants[0]], files[variants[1]]
    numbers = json.loads(run("replication", "evaluate", first[0], truth, "--format", "json").stdout)
    claim = {"ground_truth": str(truth), "arms": {"A": "A_{seed}.json", "B": "B_{seed}.json"}, "seeds": [0, 1]}
    (tmp_path / "claim.yaml").write_text(json.dumps(claim | {"bootstrap": 100}))
    assert "registered" in run("replication", "register", tmp_path / "claim.yaml").stdout
    for arm, own in (("A", first), ("B", other)):
        for seed, path in enumerate(own):
            shutil.copyfile(path, tmp_path / f"{arm}_{seed}.json")
    judged = json.loads(run("replication", "compare", "--claim", tmp_path / "claim.json", "--format", "json").stdout)
    assert judged["arms"][0]["values"]["AP"][0] == numbers["metrics"]["AP"]
    where = ("--protocol", "smoke", "--results", tmp_path / "results")
    for variant, own in files.items():
        run("replication", "import-run", *where, "--variant", variant, "--detections", own[0])
    run("replication", "merge", tmp_path / "results", "--out", tmp_path / "merged")
    found = json.loads(run("replication", "verify", tmp_path / "merged", "--format", "json").stdout)
    assert found["verified"]
    assert {one["found"] for one in found["protocols"][0]["evaluations"]} == {"reproduced"}
    (tmp_path / "merged/smoke/runs" / variants[0] / "seed0/detections.json").write_text("[]")
    assert "NOT verified" in run("replication", "verify", tmp_path / "merged", code=1).stdout
    for refused in (
        ("merge", tmp_path / "results", "--out", tmp_path / "merged"),
        ("import-run", *where, "--variant", variants[0], "--detections", other[0]),
        ("verify", tmp_path / "nowhere"),
    ):
        error = run("replication", *refused, code=2).stderr
        assert error.startswith("error: ")
        assert error.count("\n") == 1
