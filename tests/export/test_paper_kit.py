"""The paper kit of toy results: what it states is what was judged, and nothing is stated where nothing was."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from replication import cli
from replication.catalog import load_judging, load_protocol
from replication.catalog.protocols import Exclusion
from replication.errors import ResultError
from replication.export.claims import FOUND, MISSING, NO_RESULT, statement
from replication.export.folders import write_paper_kit
from replication.results.files import read_json, write_json
from replication.verdicts import SCHEMA, write_verdicts
from replication.verdicts.rules import UNTESTED, Verdict

BASE, IOU, GIOU = (f"faster_rcnn_R50_{loss}" for loss in ("smooth_l1", "iou", "giou"))
TABLES = ["giou-T5"]
TOY = load_protocol("mini").model_copy(update={"withdrawn": (), "not_testable": (), "tables": ("giou-T5",)})
SPREAD = (0.1, -0.1, 0.02)


@pytest.fixture
def judged(catalog, add_run, tmp_path) -> dict[str, Any]:
    """GIoU gains 6 AP, IoU nothing that three runs could show; judged without images."""
    for number, (variant, ap) in enumerate({BASE: 30.0, IOU: 30.05, GIOU: 36.0}.items()):
        for seed in range(3):
            add_run("mini", variant, seed, ap + (1 + 0.3 * number) * SPREAD[seed] + 0.01 * number * seed)
    return write_verdicts(catalog, TOY, tmp_path, TABLES, load_judging())


def kit(catalog, results: Path, protocol=TOY) -> dict[str, str]:
    return {path.name: path.read_text() for path in write_paper_kit(catalog, protocol, results, TABLES)}


def entry_of(document: dict[str, Any], row: str, column: str = "AP_iou") -> dict[str, Any]:
    return next(
        one
        for one in document["verdicts"]
        if (one["row"]["id"], one["baseline"]["id"], one["column"]["id"]) == (row, "smooth_l1", column)
    )


def test_a_gain_is_stated_with_its_interval_in_the_paper_s_unit(catalog, judged, tmp_path):
    entry = entry_of(judged, "giou")
    assert entry["verdict"] == "gain"
    interval = entry["estimates"][entry["estimand"]]["interval"]
    assert entry["measured"]["gain"] == pytest.approx(0.06, abs=0.002)
    files = kit(catalog, tmp_path)
    bounds = f"{interval['low']:+.4f} to {interval['high']:+.4f}"
    sentence = next(line for line in files["sentences.tex"].splitlines() if "published +0.009 in AP (IoU)" in line)
    assert sentence.startswith(r"\item GIoU loss over smooth L1 (giou-T5, R-50)")
    assert f"a gain is found; measured {entry['measured']['gain']:+.4f}, 95\\% interval {bounds}" in sentence
    assert "with 3 and 3 runs" in sentence
    line = next(one for one in files["claims.tex"].splitlines() if one.startswith("GIoU loss over smooth L1") and
                "& AP (IoU) &" in one)  # fmt: skip
    assert f"& +0.009 & {entry['measured']['gain']:+.4f} & {bounds} & 3 and 3 & gain" in line


def test_every_line_of_the_table_has_its_seven_cells(catalog, judged, tmp_path):
    text = kit(catalog, tmp_path)["claims.tex"]
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 1 + sum(entry["primary"] for entry in judged["verdicts"])
    assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {6}
    assert text.count(r"\begin{") == text.count(r"\end{") == 2


def test_every_verdict_has_its_words():
    assert set(FOUND) | set(MISSING) == set(get_args(Verdict))
    assert not set(FOUND) & set(MISSING)
    assert set(NO_RESULT) == set(MISSING)


@pytest.mark.parametrize("verdict", ["withheld", "withdrawn", "blocked", *UNTESTED])
def test_what_is_no_result_is_never_given_as_one(judged, verdict):
    entry = copy.deepcopy(entry_of(judged, "giou")) | {"verdict": verdict, "qualifiers": [], "reason": "The reason."}
    made = statement(entry, 0.95)
    assert (made.measured, made.interval) == ("", "")
    assert "measured" not in made.sentence
    assert "gain is found" not in made.sentence
    assert made.sentence.endswith(f"{MISSING[verdict]} (The reason).")


def test_a_single_run_has_no_interval(judged):
    entry = copy.deepcopy(entry_of(judged, "giou")) | {"verdict": "single run", "estimand": None}
    entry["image_interval"] = {"low": 0.01, "high": 0.02}
    made = statement(entry, 0.95)
    assert made.measured
    assert made.interval == ""
    assert "interval" not in made.sentence


def test_a_withdrawn_verdict_is_taken_back_also_where_the_file_still_has_it(catalog, judged, tmp_path):
    claim = entry_of(judged, "giou")["id"]
    reason = Exclusion(claims=(claim,), reason="the runs were trained on the test images")
    files = kit(catalog, tmp_path, TOY.model_copy(update={"withdrawn": (reason,)}))
    items = files["sentences.tex"].split("% ")
    stated = next(item for item in items if item.startswith(f"{claim}\n"))
    assert "the verdict is withdrawn (the runs were trained on the test images)." in stated
    assert "measured" not in stated
    assert "1 withdrawn" in files["methods.tex"]
    assert f"withdrawn (the runs were trained on the test images): {claim}" in files["checklist.md"]


def test_methods_say_what_ran_and_what_limits_it(catalog, judged, tmp_path):
    text = kit(catalog, tmp_path)["methods.tex"]
    assert "3 variants with 3 seeds each" in text
    assert "tested on 300 images with 1,238 objects" in text
    assert r"efficientnet\_lite0 stands for R-50" in text
    assert judged["head"] in text
    assert "claims: judged for this benchmark alone" in text
    assert "giou-T5-giou-over" not in text


def test_the_checklist_answers_from_provenance_alone(catalog, add_run, judged, tmp_path):
    text = kit(catalog, tmp_path)["checklist.md"]
    answers = dict(re.findall(r"\*\*(.+?)\*\* (.+)", text))
    assert answers["Which version of the code made the results?"] == "abc"
    assert answers["Which versions of its dependencies?"] == "not recorded"
    assert answers["On which hardware?"] == "1x a processor (2 cores)"
    assert answers["How many runs per variant?"] == f"3 seeds: 3 variants; {TOY.seeds} registered"
    assert answers["How much computing did the trainings take?"] == "not recorded"
    assert answers["Which runs were made elsewhere?"] == "none"
    for seed in range(3):
        facts = {"seconds": 3600.0, "dirty": True, "resumed_at": [10] if seed == 2 else [], "packages": {"torch": "9"}}
        add_run("mini", BASE, seed, 30.0 + SPREAD[seed], provenance=facts)
    answers = dict(re.findall(r"\*\*(.+?)\*\* (.+)", kit(catalog, tmp_path)["checklist.md"]))
    assert answers["Which version of the code made the results?"] == "abc with uncommitted changes; abc"
    assert answers["Which versions of its dependencies?"] == "torch 9"
    hours = answers["How much computing did the trainings take?"]
    assert hours == "3.0 hours of 3 trainings, of 6 trainings not recorded"
    assert answers["Which trainings were interrupted and resumed?"] == f"{BASE} seed 2"


def test_training_images_are_said_only_of_the_runs_own_data(catalog, judged, tmp_path):
    splits = {"train": {"folder": "train", "images": 1000}}
    write_json(tmp_path / "mini" / "data.json", "data/1", {"data_hash": "d", "splits": splits})
    assert "trained on 1,000 images, tested on 300" in kit(catalog, tmp_path)["methods.tex"]
    write_json(tmp_path / "mini" / "data.json", "data/1", {"data_hash": "other", "splits": splits})
    assert "trained on" not in kit(catalog, tmp_path)["methods.tex"]


def test_what_cannot_be_written(catalog, add_run, judged, tmp_path, capsys):
    path = tmp_path / "mini" / "verdicts.json"
    write_json(path, SCHEMA, {**read_json(path, SCHEMA), "rules": {}})
    with pytest.raises(ResultError, match=r"verdicts\.json: not as `replication verdicts` writes it"):
        kit(catalog, tmp_path)
    path.unlink()
    with pytest.raises(ResultError, match="run `replication verdicts` for the same tables first"):
        kit(catalog, tmp_path)
    for option, form in (("--license", "paper-kit"), ("--source", "paper-kit"), ("--tables", "ro-crate")):
        assert cli.main(["export", "--format", form, option, "x", "--results", str(tmp_path)]) == 2
        assert f"error: {option}: " in capsys.readouterr().err
