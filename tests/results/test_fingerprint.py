"""What counts for a result and what does not."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from replication.catalog import CONFIGS, load_catalog, load_protocol
from replication.results import fingerprint as module
from replication.results.fingerprint import (
    DETECTION,
    ERRORS,
    EVALUATION,
    FIGURES,
    INFERENCE,
    JUDGING,
    MATCHING,
    PACKAGE,
    PROPOSALS,
    RENDERING,
    TIMING,
    TRAINING,
    Code,
    fingerprint,
    members,
    training_fingerprint,
)

ALL = {
    "training": TRAINING,
    "detection": DETECTION,
    "proposals": PROPOSALS,
    "figures": FIGURES,
    "timing": TIMING,
    "matching": MATCHING,
    "evaluation": EVALUATION,
    "judging": JUDGING,
    "rendering": RENDERING,
}
TOY = Code(("evaluation.toy",))


@pytest.fixture
def package(tmp_path: Path) -> Path:
    write(tmp_path, "evaluation/toy.py", '"""Docs."""\n\ndef ap(x):\n    """More."""\n    return x + 1\n')
    return tmp_path


def write(package: Path, path: str, text: str) -> None:
    (package / path).parent.mkdir(exist_ok=True, parents=True)
    (package / path).write_text(text)


def toy(package: Path) -> str:
    return fingerprint.__wrapped__(TOY, package)  # type: ignore[attr-defined,no-any-return]


def test_comments_docstrings_and_layout_do_not_count(package: Path):
    before = toy(package)
    write(package, "evaluation/toy.py", "# why\ndef ap(x):\n\n    return (x + 1)\n")
    assert toy(package) == before


def test_code_counts(package: Path):
    before = toy(package)
    write(package, "evaluation/toy.py", "def ap(x):\n    return x + 2\n")
    assert toy(package) != before


def test_the_syntax_tree_does_not_depend_on_the_python_version(package: Path):
    """What 3.11 and 3.12 both gave for a function with an f-string in parts and a default argument."""
    write(package, "evaluation/toy.py", 'def f(x: int = 1) -> str:\n    return f"{x:>{x}}" f"{x}a" "b"\n')
    assert toy(package) == "2c9a86b262d1"


@pytest.mark.parametrize(
    "line",
    [
        "from replication.formats.boxes import iou",
        "from replication.formats import boxes",
        "import replication.formats.boxes",
        "from replication.formats import iou",
        "def f():\n    from replication.formats.boxes import iou",
        "try:\n    import replication.formats.boxes as boxes\nexcept ImportError:\n    pass",
    ],
)
def test_what_is_imported_counts_however_it_is_imported(package: Path, line: str):
    write(
        package,
        "formats/__init__.py",
        "from replication.formats.boxes import iou\nfrom replication.formats.xml import x",
    )
    write(package, "formats/boxes.py", "from replication.formats.areas import area\niou = 1")
    write(package, "formats/areas.py", "area = 1")
    write(package, "formats/xml.py", "x = 1")
    write(package, "evaluation/toy.py", line)
    assert members(TOY, package) == ["evaluation.toy", "formats.areas", "formats.boxes"]
    before = toy(package)
    write(package, "formats/areas.py", "area = 2")
    assert toy(package) != before


def test_what_is_left_out_is_not_followed_and_types_do_not_count(package: Path):
    write(package, "results/files.py", "import replication.errors")
    write(package, "errors.py", "")
    write(
        package,
        "evaluation/toy.py",
        "from typing import TYPE_CHECKING\nimport replication.results.files\n"
        "if TYPE_CHECKING:\n    import replication.errors\n",
    )
    assert members(TOY, package) == ["errors", "evaluation.toy", "results.files"]
    assert members(Code(TOY.entries, ("results.*",)), package) == ["evaluation.toy"]


def test_what_registers_itself_counts_as_a_whole(package: Path):
    """A config names classes of detectors that no module imports by name."""
    write(
        package,
        "detectors/__init__.py",
        "from replication.detectors.head import Head\nfrom replication.detectors.neck import Neck",
    )
    for name in ("head", "neck"):
        write(package, f"detectors/{name}.py", "")
    write(package, "evaluation/toy.py", "from replication.detectors import Head")
    assert members(TOY, package) == ["detectors", "detectors.head", "detectors.neck", "evaluation.toy"]


def test_no_import_of_the_package_is_relative():
    """The closure reads absolute imports alone."""
    for path in PACKAGE.rglob("*.py"):
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        assert not [node.lineno for node in nodes if node.level], path


def rooms(code: Code) -> dict[str, set[str]]:
    found = defaultdict(set)
    for name in members(code):
        room, _, rest = name.partition(".")
        found[room].add(rest)
    return dict(found)


def room(name: str, *without: str) -> set[str]:
    """Every module of a room, as dotted names."""
    paths = (PACKAGE / name).rglob("*.py")
    dotted = {".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__") for path in paths}
    return {one.partition(".")[2] for one in dotted - set(without)}


DATA = {"embedded", "embedded_scene", "embedded_sources", "splits", "subset"}
# Records of any form, the forms of a training's data, and Detectron2's records made of them.
READERS = {"annotations", "coco", "image_files", "json_files", "segmentations", "splits", "values", "voc", "yolo"}
OWN = "detectors.losses.own"  # runs users' files, which count by their content
MODEL = {
    "catalog": {"schedule"},
    "datasets": DATA,
    "detectors": room("detectors", OWN),
    "formats": READERS,
}
PROBES = ("dense", "pyramid", "tally", "two_stage")
TESTED = {**MODEL, "training": {"augmentation", "averaging", "config", "data", "precision", "proposals"}}
MATCHED = {"annotations", "columns", "compiled", "native", "segmentations", "values"}
RESULTS = {"detections", "json_results", "npz_results", "result_columns", "result_masks", "voc_results", "yolo_results"}
SCORED = (READERS - {"splits"}) | MATCHED | RESULTS | {"truth"}
CATALOG = {
    *("checks", "commands", "folders", "judging", "load", "losses", "papers", "protocols", "records", "units"),
    *("variants", "withdrawn"),
}
# What users' own comparisons and programs call, and no verdict on a paper's claim.
USERS = {
    "evaluation": {"coco_columns", "cocoeval", "elsewhere", "influence", "inputs"},
    "verdicts": {
        *(
            "arm_cache",
            "arm_differences",
            "arm_reading",
            "arms",
            "comparison",
            "comparison_records",
            "comparison_words",
        ),
        *("agreement", "registration", "sequential", "verification"),
    },
    "report": {"comparison", "comparison_figures", "comparison_images", "comparison_page"},
}
EVALUATED = room("evaluation", "evaluation") - USERS["evaluation"]
JUDGED = room("verdicts", "verdicts") - USERS["verdicts"]
GOLDEN = {
    "training": {
        **MODEL,
        "detectors": room("detectors", *INFERENCE, OWN),
        "training": {
            "augmentation",
            "averaging",
            "config",
            "data",
            "optimizer",
            "passes",
            "precision",
            "proposals",
            "schedule",
            "trainer",
        },
    },
    "detection": {
        **TESTED,
        "inference": {"detect", "levels", "mechanisms", "model", *(f"mechanisms.{name}" for name in PROBES)},
    },
    "proposals": {**TESTED, "inference": {"model", "propose"}},
    "figures": {**TESTED, "inference": {"figures", "model", "papers.libra_rcnn"}},
    "timing": {
        **MODEL,
        "detectors": room("detectors", "detectors.multi_scale", OWN),
        "timing": room("timing", "timing"),
        "training": {"augmentation", "averaging", "config", "data", "optimizer", "precision", "proposals"},
    },
    "matching": {
        "evaluation": {"curve_kernels", "kernels", "masks", "match_kernels", "matching", "sweep_kernels"},
        "formats": MATCHED,
    },
    "evaluation": {"evaluation": EVALUATED - {"verify"}, "formats": SCORED, "results": {"finished", "metrics"}},
    "judging": {
        "catalog": CATALOG,
        "evaluation": EVALUATED,
        "formats": SCORED | {"rle_kernels"},
        "results": {"finished", "metrics"},
        "verdicts": JUDGED,
    },
    "rendering": {
        "catalog": CATALOG | {"mechanisms", "select"},
        "datasets": {"roots"},
        "evaluation": EVALUATED | {"influence"},
        "formats": SCORED | {"rle_kernels"},
        "report": room("report", "report") - USERS["report"],
        "results": room("results", "results", "results.elsewhere", "results.lease", "results.merge"),
        "timing": {"latency"},
        "verdicts": JUDGED,
    },
}


@pytest.mark.parametrize("name", ALL)
def test_an_accidental_import_shows(name: str):
    """A module that an import adds to what makes a result adds reasons to compute it again: enter it here, or leave it
    out in ``replication.results.fingerprint`` with the reason.
    """
    assert rooms(ALL[name]) == GOLDEN[name]


@pytest.mark.parametrize("name", ALL)
def test_everything_named_is_there(name: str):
    code = ALL[name]
    for one in (*code.entries, *code.left_out):
        path = PACKAGE.joinpath(*one.removesuffix(".*").split("."))
        assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file(), one
    for pattern in code.data:
        assert list(PACKAGE.glob(pattern)), pattern


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package itself, to be changed."""
    return Path(shutil.copytree(PACKAGE, tmp_path / "replication", ignore=shutil.ignore_patterns("__pycache__")))


def changed_by(copy: Path, path: str, old: str, new: str) -> set[str]:
    """The results that an edit makes out of date."""
    text = (copy / path).read_text()
    assert old in text
    (copy / path).write_text(text.replace(old, new))
    return {name for name, code in ALL.items() if fingerprint(code, copy) != fingerprint(code)}


MODELS = {"training", "detection", "proposals", "figures", "timing"}


@pytest.mark.parametrize(
    ("path", "old", "new", "expected"),
    [
        ("detectors/losses/deltas.py", "alpha", "alpha_", MODELS),
        ("detectors/fsaf/inference.py", "import", "import os; import", MODELS - {"training"}),
        ("cli/evaluation_text.py", '"mistake at overlap 0.5"', '"kind of mistake"', set()),
        ("evaluation/summary.py", "METRICS", "METRICS_", {"evaluation", "judging", "rendering"}),
        (
            "evaluation/match_kernels.py",
            "value > overlap",
            "value >= overlap",
            {"matching", "evaluation", "judging", "rendering"},
        ),
        ("verdicts/output.py", "claim", "assertion", {"judging", "rendering"}),
        ("report/templates/page.html.jinja", "Known deviations from the papers", "Deviations", {"rendering"}),
        ("report/papers/libra_rcnn.py", "random sampling", "at random", {"rendering"}),
        ("catalog/schedule.py", "90_000", "80_000", MODELS),
        ("training/trainer.py", "import", "import os; import", {"training"}),
        ("training/checkpoint.py", "cannot write", "no room to write", set()),
        ("errors.py", "class ConfigError", "class WrongConfigError", set()),
    ],
)
def test_an_edit_computes_again_what_it_changes(copy: Path, path: str, old: str, new: str, expected: set[str]):
    assert changed_by(copy, path, old, new) == expected


def test_every_module_that_rendering_loads_counts():
    """Read from a process that has rendered: but for errors, and for what ``__init__`` files load besides."""
    script = (
        "import json, sys, replication.report.page, replication.report.tables\n"
        "print(json.dumps([name for name in sys.modules if name.startswith('replication.')]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[2] for name in json.loads(done.stdout)}
    packages = {name for name in loaded if (PACKAGE.joinpath(*name.split(".")) / "__init__.py").is_file()}
    # By the __init__ of catalog and datasets, of which rendering takes nothing; and how the kernels' library is found.
    passed_on = {"catalog.listing", "formats.splits", "formats.native_library"}
    datasets = {f"datasets.{name}" for name in room("datasets")}
    assert loaded - packages - set(members(RENDERING)) <= {*ERRORS, *passed_on, *datasets}


def test_a_training_follows_the_settings_of_its_own_architecture(monkeypatch: pytest.MonkeyPatch):
    variant, protocol = load_catalog().variants["retinanet_R50"], load_protocol("smoke")
    before = training_fingerprint(variant, protocol)
    assert training_fingerprint(variant, protocol.model_copy(update={"seeds": 9})) == before
    assert training_fingerprint(variant, protocol.model_copy(update={"batch": 9})) != before
    monkeypatch.setattr(module, "fingerprint", lambda code: "other code")
    assert training_fingerprint(variant, protocol) != before


LOSS = '"""Docs."""\n@box_reg_loss("{name}", on="boxes")\ndef loss(pred, target, reduction="none"):\n    return pred\n'


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Variants with two losses of the user's, and one that is a command."""
    leaf = "_BASE_: faster_rcnn_R50_giou.yaml\nMODEL: {{ROI_BOX_HEAD: {{BBOX_REG_LOSS_TYPE: {name}}}}}\n"
    for folder in ("losses", "variants"):
        (tmp_path / folder).mkdir()
    for name in ("one", "two"):
        (tmp_path / "losses" / f"{name}.py").write_text(LOSS.format(name=name))
        (tmp_path / "variants" / f"with_{name}.yaml").write_text(leaf.format(name=name))
    command = "run: 'train {detections}'\ncode: ['*.py']\nbackbone: R-50\n"
    (tmp_path / "variants" / "command.yaml").write_text(command)
    (tmp_path / "train.py").write_text("print(1)\n")
    return tmp_path


def outdated_by(own: Path, file: str, old: str, new: str) -> set[str]:
    """The variants whose runs an edit of a user's file makes out of date."""
    protocol, names = load_protocol("smoke"), ("with_one", "with_two", "command", "faster_rcnn_R50_giou")

    def all_of_them() -> dict[str, str]:
        variants = load_catalog(CONFIGS, own).variants
        return {name: training_fingerprint(variants[name], protocol) for name in names}

    before = all_of_them()
    text = (own / file).read_text()
    assert old in text
    (own / file).write_text(text.replace(old, new))
    after = all_of_them()
    return {name for name in names if before[name] != after[name]}


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("losses/one.py", "return pred", "return 2 * pred", {"with_one"}),
        ("losses/one.py", "return pred", "return pred  # why", set()),
        ("losses/two.py", "Docs.", "More.", set()),
        ("train.py", "1", "2", {"command"}),
        ("variants/command.yaml", "train", "train --fast", {"command"}),
        ("variants/command.yaml", "run:", "trial: 'try {detections}'\nrun:", set()),
    ],
)
def test_a_file_of_the_users_counts_for_the_runs_that_use_it(
    own: Path, file: str, old: str, new: str, expected: set[str]
):
    assert outdated_by(own, file, old, new) == expected


def test_another_file_of_the_code_counts(own: Path):
    assert outdated_by(own, "train.py", "print(1)", "import other") == {"command"}
    before = load_catalog(CONFIGS, own).variants["command"]
    (own / "other.py").write_text("")
    after = load_catalog(CONFIGS, own).variants["command"]
    protocol = load_protocol("smoke")
    assert training_fingerprint(before, protocol) != training_fingerprint(after, protocol)
