"""The verbs `import-run`, `merge` and `verify`, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.elsewhere_runs import detections, prepare

from replication import cli

VARIANT = "faster_rcnn_R50_giou"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    prepare(tmp_path / "results")
    for seed in range(2):
        detections(tmp_path, VARIANT, seed)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def imported(capsys, seed: int = 0, results: str = "results", variant: str = VARIANT, *more: str):
    where = ("--protocol", "smoke", "--results", results, "--variant", variant, "--seed", str(seed))
    return call(capsys, "import-run", *where, "--detections", f"{VARIANT}_{seed}.json", *more)


def test_a_run_is_imported_shown_merged_and_verified(capsys, folder):
    code, out, err = imported(capsys)
    assert (code, err) == (0, "")
    assert out.startswith(f"results/smoke/runs/{VARIANT}/seed0: AP ")
    assert imported(capsys)[1].endswith("(imported before)\n")
    _, out, _ = call(capsys, "plan", "--protocol", "smoke", "--tables", "giou-T5", "--format", "json")
    states = {step["variant"]: step["state"] for step in json.loads(out)["runs"]}
    assert states[VARIANT] == "made elsewhere"
    _, out, _ = call(capsys, "tables", "--protocol", "smoke", "--tables", "giou-T5")
    assert "1 (1 made elsewhere)" in out
    prepare(folder / "other")
    assert imported(capsys, 1, "other")[0] == 0
    code, out, err = call(capsys, "merge", "results", "other", "--out", "both")
    assert (code, out, err) == (0, "both: 2 runs of protocol smoke\n", "")
    code, out, _ = call(capsys, "verify", "both", "--format", "json")
    document = json.loads(out)
    assert (code, document["schema"], document["verified"]) == (0, "verification/1", True)
    (folder / "both/smoke/ground_truth.json").write_text((folder / "both/smoke/ground_truth.json").read_text() + " ")
    code, out, _ = call(capsys, "verify", "both")
    assert code == 1
    assert "both/smoke/ground_truth.json: has changed since it was merged" in out
    assert out.endswith("NOT verified\n")


def test_a_variant_of_ones_own_needs_a_paper_that_names_it(capsys, folder):
    code, out, err = imported(capsys, 0, "results", "mine")
    assert (code, out) == (2, "")
    assert err.startswith("error: --variant mine: no table has a row of that variant")
    column = {"id": "AP", "head": "AP", "metric": "AP", "criterion": "iou", "unit": "percent"}
    row = {"id": "mine", "label": "mine", "backbone": "R-50", "variant": "mine", "published": {"AP": 40.0}}
    table = {
        "id": "mine-T1", "caption": "mine", "dataset": "MS COCO", "split": "val2017", "unit": "percent",
        "criterion": "AP", "columns": [column], "rows": [row], "source": ["Table 1"], "seen_via": ["primary"],
        "benchmark": "coco",
    }  # fmt: skip
    paper = {"id": "mine", "title": "Mine", "arxiv": "2601.00001", "venue": "none", "tables": [table], "claims": []}
    (folder / "own/papers").mkdir(parents=True)
    (folder / "own/papers/mine.yaml").write_text(json.dumps(paper | {"deviations": []}))
    code, out, err = imported(capsys, 0, "results", "mine", "--configs", "own")
    assert (code, err) == (0, "")
    where = ("--protocol", "smoke", "--configs", "own")
    code, out, _ = call(capsys, "tables", *where, "--tables", "mine-T1")
    assert code == 0
    assert "1 (1 made elsewhere)" in out
    code, out, err = call(capsys, "evaluate", *where, "--variant", "mine")
    assert (code, err) == (0, "")
    assert call(capsys, "report", *where, "--tables", "mine-T1")[0] == 0
    assert "made elsewhere" in (folder / "results/smoke/report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("merge", "results", "--out", "x"), "error: results: no results of any protocol in it"),
        (("merge", "a", "b", "--out", "results"), "error: --out results: exists already"),
        (("verify", "nowhere"), "error: nowhere: no results of any protocol in it"),
        (
            ("import-run", "--protocol", "smoke", "--variant", VARIANT, "--detections", "none.json"),
            "error: none.json: no such file",
        ),
    ],
)
def test_bad_input_is_one_line_and_code_2(capsys, arguments, message):
    code, out, err = call(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(message)
    assert err.count("\n") == 1
