from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from replication import cli
from replication.catalog import CONFIGS


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_help_is_instant_and_lists_every_verb():
    heavy = "[name for name in ('torch', 'pydantic', 'numpy') if name in sys.modules]"
    code = f"import sys; from replication.cli import parser; parser(); print({heavy})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    text = cli.parser().format_help()
    verbs = "catalog plan data prepare doctor train detect proposals time evaluate verdicts tables figures report"
    for verb in [*verbs.split(), "export", "submission", "archive"]:
        assert verb in text


def test_catalog_lists_tables_with_their_states(capsys: pytest.CaptureFixture[str]):
    code, out, _ = call(capsys, "catalog", "--format", "json")
    document = json.loads(out)
    assert code == 0
    assert document["schema"] == "catalog/1"
    code, out, _ = call(capsys, "catalog")
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
        (["plan", "--protocol", "nowhere/own.yaml"], "own.yaml does not exist"),
        (["plan", "--protocol", "smoke", "--tables", "giou-T77"], "giou-T77"),
        (["train", "--protocol", "smoke", "--variant", "fsaf_R500"], "--variant fsaf_R500: not built; known: "),
        (
            ["train", "--protocol", "smoke", "--variant", "fsaf_X101_joint_jitter_tta"],
            "has no training of its own; train that: --variant fsaf_X101_joint_jitter, then detect with this one",
        ),
        (["evaluate"], "give either DETECTIONS and GROUND_TRUTH, or --variant"),
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
        ("name: smoke\ntitle: t\nbatch: 1\noverrides: {GeneralisedRCNN: {}}\n", "'GeneralisedRCNN' is no meta-arch"),
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


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_full_or_read_only_disk_is_one_message(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: int
):
    def fail(_: object) -> None:
        raise OSError(number, "message of the system", "results/x")

    monkeypatch.setattr(cli.verbs, "catalog", fail)
    code, _, err = call(capsys, "catalog")
    assert (code, err) == (
        2,
        "error: results/x: message of the system; free disk space or choose a writable folder\n",
    )


def test_ctrl_c(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    def fail(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.verbs, "catalog", fail)
    assert call(capsys, "catalog")[0] == 130


def test_the_name_of_a_shipped_protocol_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    (tmp_path / "own.yaml").write_text((CONFIGS / "protocols" / "smoke.yaml").read_text())
    code, _, err = call(capsys, "plan", "--protocol", str(tmp_path / "own.yaml"))
    assert code == 2
    assert "'smoke' is the name of a shipped protocol" in err


@pytest.mark.parametrize(("option", "value"), [("--seed", "-1"), ("--gpus", "0"), ("--seed", "one")])
def test_numbers_out_of_range_are_refused(capsys: pytest.CaptureFixture[str], option: str, value: str):
    with pytest.raises(SystemExit) as caught:
        cli.main(["train", "--variant", "retinanet_R50", option, value])
    assert caught.value.code == 2
    assert option in capsys.readouterr().err


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
