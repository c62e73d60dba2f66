from __future__ import annotations

import errno
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from replication import cli
from replication.catalog import CONFIGS
from replication.cli.main import replication

VERBS = [
    *("catalog", "plan", "new-paper", "schema", "data", "weights", "prepare", "doctor", "train", "proposals", "detect"),
    *("figures", "evaluate"),
    *("compare", "register", "time", "verdicts", "tables", "report", "export", "submission", "archive"),
    *("import-run", "merge", "verify"),
]


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_help_is_instant_and_lists_every_verb():
    heavy = "[name for name in ('torch', 'pydantic', 'numpy', 'yaml') if name in sys.modules]"
    code = f"import sys; from replication.cli import main; code = main(['--help']); print({heavy}, code)"
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert text.endswith("\n[] 0\n")
    listed = text.partition("Verbs:\n")[2].partition("\n\n")[0]
    assert re.findall(r"^  ([\w-]+)", listed, re.MULTILINE) == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_has_examples_that_are_declared(capsys: pytest.CaptureFixture[str], verb: str):
    code, out, _ = call(capsys, verb, "--help")
    assert code == 0
    assert out.startswith(f"Usage: replication {verb} ")
    commands = re.findall(r"^    (replication .*)$", out, re.MULTILINE)
    assert commands
    for command in commands:
        words = shlex.split(command)[1:]
        assert words[0] == verb
        declared = replication.get_command(click.Context(replication), verb)
        assert declared is not None
        declared.make_context(verb, words[1:])  # raises for an option or value that the verb does not have


@pytest.mark.parametrize("verb", sorted({*VERBS} - {"new-paper", "schema", "data", "compare", "register", "merge"}))
def test_every_verb_that_reads_the_catalog_takes_configs(capsys: pytest.CaptureFixture[str], verb: str):
    assert "--configs DIR" in call(capsys, verb, "--help")[1]


def test_version(capsys: pytest.CaptureFixture[str]):
    project = tomllib.loads((CONFIGS.parent / "pyproject.toml").read_text())["project"]
    assert call(capsys, "--version")[:2] == (0, f"replication {project['version']}\n")


def test_without_a_verb_the_help_is_printed(capsys: pytest.CaptureFixture[str]):
    code, _, err = call(capsys)
    assert code == 2
    assert "Verbs:" in err


@pytest.mark.parametrize(
    ("arguments", "usage", "message"),
    [
        (["trian"], "replication [OPTIONS] VERB", "no verb 'trian'; did you mean train? verbs: catalog, plan"),
        (["zzz"], "replication [OPTIONS] VERB", "no verb 'zzz'; verbs: catalog, plan"),
        (["train", "--sede", "1"], "replication train [OPTIONS]", "No such option '--sede'. Did you mean '--seed'?"),
        (["train"], "replication train [OPTIONS]", "Missing option '--variant'"),
        (
            ["data", "coco2018"],
            "replication data [OPTIONS]",
            "Invalid value for '{coco2017|voc2007|voc2012|mini}': 'coco2018' is not one of 'coco2017'",
        ),
        (
            ["tables", "--format", "xml"],
            "replication tables [OPTIONS]",
            "Invalid value for '--format': 'xml' is not one of 'table', 'json'",
        ),
    ],
)
def test_a_wrong_flag_shows_how_its_own_verb_is_called(
    capsys: pytest.CaptureFixture[str], arguments: list[str], usage: str, message: str
):
    code, out, err = call(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"Usage: {usage}")
    assert f"error: {message}" in err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("replication tra", ["train"]),
        ("replication plan --proto", ["--protocol"]),
        ("replication plan --tables giou-T5,fsaf-T", [f"giou-T5,fsaf-T{n}" for n in range(1, 4)]),
        ("replication train --variant fsaf_R50_joint", ["fsaf_R50_joint", "fsaf_R50_joint_heuristic"]),
        ("replication plan --protocol paper", ["paper", "paper_voc", "paper_voc0712"]),
        ("replication catalog --configs nowhere --format j", ["json"]),
    ],
)
def test_completion_in_a_shell(words: str, expected: list[str]):
    request = {"_REPLICATION_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    command = [sys.executable, "-m", "replication"]
    done = subprocess.run(command, env=os.environ | request, capture_output=True, text=True, check=True)
    assert [line.partition(",")[2] for line in done.stdout.splitlines()] == expected


def test_catalog_lists_tables_with_their_states(capsys: pytest.CaptureFixture[str]):
    code, out, _ = call(capsys, "catalog", "--format", "json")
    document = json.loads(out)
    assert code == 0
    assert document["schema"] == "catalog/1"
    code, out, _ = call(capsys, "catalog", "--all")
    assert code == 0
    assert all(word in out for word in ("giou-T5", "fsaf-T1", "libra-T6", "planned", "cited"))


def test_plan_as_json(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    code, out, _ = call(
        capsys, "plan", "--protocol", "smoke", "--tables", "giou-T5", "--results", str(tmp_path), "--format", "json"
    )
    assert code == 0
    assert [run["variant"] for run in json.loads(out)["runs"]] == [
        "faster_rcnn_R50_smooth_l1",
        "faster_rcnn_R50_iou",
        "faster_rcnn_R50_giou",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "--protocol", "no_such"], "error: protocol 'no_such'"),
        (["plan", "--protocol", "nowhere/own.yaml"], "protocol 'nowhere/own.yaml' does not exist; "),
        (["plan", "--protocol", "smoke", "--tables", "giou-T77"], "giou-T77"),
        (["plan", "--protocol", "smoek"], "did you mean smoke? known protocols: "),
        (
            ["train", "--protocol", "smoke", "--variant", "fsaf_R500"],
            "variant 'fsaf_R500' is not built; did you mean fsaf_R50, ",
        ),
        (
            ["train", "--protocol", "smoke", "--variant", "fsaf_X101_joint_jitter_tta"],
            "has no training of its own; train that: --variant fsaf_X101_joint_jitter, then detect with this one",
        ),
        (["evaluate"], "give either DETECTIONS and GROUND_TRUTH, or --variant"),
        (["evaluate", "--protocol", "smoke", "--variant", "fsaf_R500"], "'fsaf_R500' is not built; did you mean "),
        (["time", "--protocol", "smoke", "--variants", "detectron2:fsaf_R500"], "'fsaf_R500' is not built; "),
        (["evaluate", "a.json"], "GROUND_TRUTH is missing"),
        (["evaluate", "a.json", "b.json"], "b.json"),
        (["tables", "--protocol", "smoke", "--tables", "giou-T77"], "giou-T77"),
        (
            ["figures", "--protocol", "smoke", "--paper", "libra", "--name", "sampling"],
            "--paper libra: unknown; known:",
        ),
        (
            ["figures", "--protocol", "smoke", "--paper", "giou", "--name", "x"],
            "paper giou declares no such figure_data",
        ),
    ],
)
def test_bad_input_is_one_message_and_exit_2(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str):
    code, _, err = call(capsys, *arguments)
    assert code == 2
    assert message in err
    assert err.startswith("error: ")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name: own\n", "title: Field required"),
        ("name: own\ntitle: t\nbatch: many\n", "batch: Input should be a valid integer"),
        ("name: own\ntitle: t\nbacth: 3\n", "bacth: Extra inputs are not permitted"),
        ("name: [", "not readable as YAML"),
        ("name: smoke\ntitle: t\nbatch: 1\noverrides: {GeneralisedRCNN: {}}\n", "'GeneralisedRCNN' is not a meta-arch"),
        ("name: own\narea_ranges: {small: [0, 9], medium: [8, 99], large: [99, 999]}\n", "without gap or overlap"),
        ("name: own\narea_ranges: {small: [0, .nan]}\n", "Input should be a finite number"),
        ("- 1\n", "expected a mapping"),
    ],
)
def test_a_wrong_protocol_file_names_file_and_field(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str, message: str
):
    path = tmp_path / "own.yaml"
    path.write_text(content)
    code, _, err = call(capsys, "plan", "--protocol", str(path))
    assert code == 2
    assert "own.yaml" in err
    assert message in err


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
@pytest.mark.parametrize("place", [["results/x"], []])
def test_a_full_or_read_only_disk_is_one_message(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: int, place: list[str]
):
    def fail(*_: object) -> None:
        raise OSError(number, "message of the system", *place)

    monkeypatch.setattr("replication.verdicts.write_verdicts", fail)
    code, _, err = call(capsys, "verdicts", "--results", "elsewhere")
    named = place[0] if place else "elsewhere"
    assert (code, err) == (
        2,
        f"error: {named}: message of the system; free disk space or choose a writable folder\n",
    )


def test_another_error_of_the_system_is_no_message(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "message of the system")

    monkeypatch.setattr("replication.catalog.load_catalog", fail)
    with pytest.raises(OSError, match="message of the system"):
        cli.main(["catalog"])


def test_a_reader_that_has_enough_is_no_error():
    program = f"{shlex.quote(sys.executable)} -m replication"
    for verb in ("catalog", "plan --left 1"):  # more, and less, than a buffer holds
        shell = f"set -o pipefail; {program} {verb} | (exec <&-; sleep 1)"
        done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), verb


def test_ctrl_c(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("replication.catalog.load_catalog", fail)
    code, _, err = call(capsys, "catalog")
    assert code == 130
    assert "interrupted: what is finished is kept" in err


def test_the_name_of_a_shipped_protocol_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    (tmp_path / "own.yaml").write_text((CONFIGS / "protocols" / "smoke.yaml").read_text())
    code, _, err = call(capsys, "plan", "--protocol", str(tmp_path / "own.yaml"))
    assert code == 2
    assert f"'smoke' is already defined in {CONFIGS / 'protocols' / 'smoke.yaml'}" in err


@pytest.mark.parametrize(("option", "value"), [("--seed", "-1"), ("--gpus", "0"), ("--seed", "one")])
def test_numbers_out_of_range_are_refused(capsys: pytest.CaptureFixture[str], option: str, value: str):
    code, _, err = call(capsys, "train", "--variant", "retinanet_R50", option, value)
    assert code == 2
    assert f"Invalid value for '{option}'" in err


def test_evaluate_any_coco_pair(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    box = [10.0, 10.0, 20.0, 20.0]
    truth = {
        "images": [{"id": 1, "width": 64, "height": 64, "file_name": "a.jpg"}],
        "categories": [{"id": 3, "name": "thing"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": box, "area": 400.0, "iscrowd": 0}],
    }
    found = [{"image_id": 1, "category_id": 3, "bbox": box, "score": 0.5}]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps(found))
    out_file = tmp_path / "out.json"
    code, out, _ = call(
        capsys, "evaluate", str(tmp_path / "found.json"), str(tmp_path / "truth.json"), "--out", str(out_file)
    )
    assert code == 0
    assert "100.00" in out
    assert json.loads(out_file.read_text())["metrics"]["AP"] == pytest.approx(100.0)


def test_json_of_tables_and_report_names_what_was_written(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    where = ["--protocol", "smoke", "--tables", "giou-T5", "--results", str(tmp_path), "--format", "json"]
    for verb, names in (("tables", ["giou-T5.md", "giou-T5.csv", "giou-T5.tex"]), ("report", ["report.html"])):
        code, out, _ = call(capsys, verb, *where)
        document = json.loads(out)
        assert (code, document["schema"], document["protocol"]) == (0, "written/1", "smoke")
        assert [Path(file).name for file in document["files"]] == names
        assert all(Path(file).is_file() for file in document["files"])
