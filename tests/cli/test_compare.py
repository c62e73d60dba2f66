"""The verbs `compare` and `register`, through the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.simulation import coco_documents, detector, population

from replication import cli

FAST = ("--bootstrap", "100")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ground truth of 40 images, and three runs of each of three detectors."""
    folder = tmp_path_factory.mktemp("compare")
    truth = population(7, 40, 3, tail=0.6)
    for arm, skill in (("A", 0.8), ("B", 1.4), ("C", 0.9)):
        for seed in range(3):
            document, records = coco_documents(truth, detector(truth, 10 * seed + ord(arm), skill, per_image=10))
            (folder / f"{arm}_seed{seed}.json").write_text(json.dumps(records))
    (folder / "truth.json").write_text(json.dumps(document))
    return folder


@pytest.fixture(autouse=True)
def elsewhere(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the folder of the files, with a cache of its own."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def files(arm: str) -> list[str]:
    return [f"{arm}_seed{seed}.json" for seed in range(3)]


def test_the_first_line_is_the_answer(capsys):
    code, out, err = call(capsys, "compare", "truth.json", "--a", *files("A"), "--b", *files("B"), *FAST)
    assert (code, err) == (0, "")
    assert out.startswith("B is better than A by ")
    assert out.split("\n")[0].endswith("3 against 3 runs")


@pytest.mark.parametrize(
    "arms",
    [
        ("--a", "A_seed*.json", "--b", "B_seed*.json"),
        ("--a", *files("A"), "--b", *files("B")),
        ("--arm", "A=A_seed*.json", "--arm", "B=B_seed*.json"),
        ("--b", "B_seed*.json", "--a", "A_seed*.json"),
        ("--arm", "B=B_seed*.json", "--arm", "A=A_seed*.json", "--baseline", "A"),
    ],
)
def test_arms_are_given_in_several_ways(capsys, arms):
    code, out, _ = call(capsys, "compare", "truth.json", *arms, *FAST, "--format", "json")
    document = json.loads(out)
    assert code == 0
    assert document["schema"] == "comparison/1"
    assert [arm["files"] for arm in document["arms"]] == [files("A"), files("B")]
    assert [arm["seeds"] for arm in document["arms"]] == [[0, 1, 2], [0, 1, 2]]
    assert document["contrasts"][0]["verdict"] == "better"


def test_seeds_are_in_the_order_of_their_numbers(capsys, folder, tmp_path):
    for seed, number in enumerate((2, 10, 1)):
        (tmp_path / f"A_{number}.json").write_bytes((folder / f"A_seed{seed}.json").read_bytes())
    arms = ("--a", str(tmp_path / "A_*.json"), "--b", *files("B"))
    _, out, _ = call(capsys, "compare", "truth.json", *arms, *FAST, "--format", "json")
    assert json.loads(out)["arms"][0]["seeds"] == [1, 2, 10]


def test_options_reach_the_comparison(capsys):
    more = ("--metric", "AP75", "AP", "APs", "--claimed", "1.2", "--practical", "0.5", "--alpha", "0.1", "--seed", "9")
    more += ("--criterion", "giou", "--estimand", "this benchmark", "--paired")
    _, out, _ = call(
        capsys, "compare", "truth.json", "--a", *files("A"), "--b", *files("B"), *FAST, "--format", "json", *more
    )
    document = json.loads(out)
    asked = document["options"] | document["resampling"]
    assert asked == {
        "metrics": ["AP75", "AP", "APs"], "claimed": 1.2, "practical": 0.5, "alpha": 0.1, "estimand": "this benchmark",
        "paired": True, "power": 0.8, "criterion": "giou", "replicates": 100, "seed": 9, "masks": False,
    }  # fmt: skip
    assert document["contrasts"][0]["terms"]["spread"] == "seeds as blocks"


@pytest.mark.parametrize(
    ("form", "start"), [("markdown", "**B is better"), ("latex", "\\textbf{B is better"), ("html", "<!doctype html>")]
)
def test_forms(capsys, form, start):
    code, out, _ = call(
        capsys, "compare", "truth.json", "--a", *files("A"), "--b", *files("B"), *FAST, "--format", form
    )
    assert code == 0
    assert out.startswith(start)


def test_a_page_is_written_and_the_answer_printed(capsys, tmp_path):
    arms = ("--a", *files("A"), "--b", *files("B"), *FAST)
    code, out, _ = call(
        capsys, "compare", "truth.json", *arms, "--format", "html", "--out", str(tmp_path / "page.html")
    )
    assert code == 0
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert out.startswith("B is better than A by ")
    assert out.count("\n") == 1


def test_three_arms_are_compared_with_the_first(capsys):
    arms = [f"--arm={name}={name}_seed*.json" for name in "CAB"]
    _, out, _ = call(capsys, "compare", "truth.json", *arms, *FAST, "--format", "json")
    assert [one["arm"] for one in json.loads(out)["contrasts"]] == ["A", "B"]
    assert {one["baseline"] for one in json.loads(out)["contrasts"]} == {"C"}


def test_warnings_go_to_standard_error(capsys):
    code, out, err = call(capsys, "compare", "truth.json", "--a", "A_seed0.json", "--b", "B_seed0.json", *FAST)
    assert code == 0
    assert out.startswith("No verdict on B against A")
    assert err.startswith("warning: arm A, B: one run; ")


def test_numbers_are_kept_unless_told_otherwise(capsys, tmp_path):
    arms = ("--a", *files("A"), "--b", *files("B"), *FAST)
    call(capsys, "compare", "truth.json", *arms, "--no-cache")
    assert not (tmp_path / "cache").exists()
    call(capsys, "compare", "truth.json", *arms)
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 6
    call(capsys, "compare", "truth.json", *arms, "--cache", str(tmp_path / "own"))
    assert len(list((tmp_path / "own").rglob("*.npz"))) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("truth.json", "--a", "A_seed0.json"), "error: a comparison needs at least two arms"),
        (("truth.json", "--a", "nothing*.json", "--b", "B_seed0.json"), "error: arm A: no file matches"),
        (("truth.json", "--a", "A_seed0.json", "--b", "none.json"), "error: none.json: no such file"),
        (("--a", "A_seed0.json", "--b", "B_seed0.json"), "error: compare: TRUTH is missing"),
        (("truth.json", "--arm", "ours", "--a", "A_seed0.json"), "error: --arm ours: expected NAME=GLOB"),
        (("truth.json", "--arm", "A=B_seed0.json", "--a", "A_seed0.json"), "error: --arm A: the name is given twice"),
        (
            ("truth.json", "--a", "A_seed0.json", "--b", "B_seed0.json", "--baseline", "C"),
            "error: --baseline C: no such arm; arms: A, B",
        ),
        (
            ("truth.json", "--a", "A_seed0.json", "--b", "A_seed0.json"),
            "error: A_seed0.json: the same detections as A_seed0.json, but in arm B and arm A",
        ),
        (("truth.json", "--a", "A_seed0.json", "--b", "B_seed0.json", "--alpha", "2"), "error: alpha 2: expected"),
        (
            ("truth.json", "--a", "A_seed0.json", "--b", "B_seed0.json", "--claimed", "nan"),
            "error: claimed nan: a gain",
        ),
        (
            ("truth.json", "--a", "A_seed0.json", "--b", "B_seed0.json", "--images", "."),
            "error: --images: only --format html shows images",
        ),
        (("missing.json", "--a", "A_seed0.json", "--b", "B_seed0.json"), "error: missing.json: no such file"),
        (("--claim", "claim.json"), "error: claim.json: no such file"),
    ],
)
def test_bad_input_is_one_line_and_code_2(capsys, arguments, message):
    code, out, err = call(capsys, "compare", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_unknown_metrics_and_forms_are_usage_errors(capsys):
    for option, value in (("--metric", "mAP"), ("--format", "pdf"), ("--criterion", "diou")):
        code, _, err = call(
            capsys, "compare", "truth.json", "--a", "A_seed0.json", "--b", "B_seed0.json", option, value
        )
        assert code == 2
        assert f"'{value}' is not one of" in err


def test_a_claim_is_registered_and_judged(capsys, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    terms = {"ground_truth": "truth.json", "arms": {"A": "A_seed{seed}.json", "B": "B_seed{seed}.json"}}
    terms |= {"seeds": [0, 1, 2], "looks": [2, 3], "claimed": 1.0, "bootstrap": 100}
    (tmp_path / "claim.yaml").write_text(yaml.safe_dump(terms))
    (tmp_path / "truth.json").write_bytes((folder / "truth.json").read_bytes())
    code, out, err = call(capsys, "register", "claim.yaml")
    assert (code, err) == (0, "")
    assert out.startswith("claim.json\nhash ")
    for name in [*files("A"), *files("B")]:
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    code, out, _ = call(capsys, "compare", "--claim", "claim.json")
    assert code == 0
    assert "registered before the runs" in " ".join(out.split())
    assert "Look at 3 of 3 runs per arm" in " ".join(out.split())
    code, _, err = call(capsys, "compare", "--claim", "claim.json", "--alpha", "0.1")
    assert code == 2
    assert (
        err
        == "error: claim.json: alpha: registered is 0.05, asked for 0.1; a claim is judged by its registered terms\n"
    )
    code, _, err = call(capsys, "compare", str(folder / "truth.json"), "--claim", "claim.json")
    assert code == 2
    assert "ground_truth: registered is truth.json" in err
    code, _, err = call(
        capsys, "compare", "--claim", "claim.json", "--a", *files("A"), "--b", *files("B"), "--metric", "AP"
    )
    assert code == 0


def test_registering_after_the_runs_is_said(capsys, folder, tmp_path):
    terms = {
        "ground_truth": "truth.json",
        "arms": {"A": "A_seed{seed}.json", "B": "B_seed{seed}.json"},
        "seeds": [0, 1],
    }
    place = tmp_path / "claim.yaml"
    place.write_text(yaml.safe_dump(terms))
    for name in ["truth.json", *files("A"), *files("B")]:
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    code, _, err = call(capsys, "register", str(place))
    assert code == 0
    assert err == "warning: runs of A, B exist already: the claim is registered after them\n"
    for arm in "AB":
        (tmp_path / f"{arm}_seed2.json").unlink()
    _, out, _ = call(capsys, "compare", "--claim", str(tmp_path / "claim.json"), "--format", "json")
    assert json.loads(out)["registration"]["when"] == "after"


def test_help_names_the_verbs_and_imports_nothing_heavy():
    heavy = "[name for name in ('torch', 'numba', 'numpy', 'scipy') if name in sys.modules]"
    code = f"import sys; from replication.cli import main; main(['compare', '--help']); print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
    assert "A_seed*.json" in done.stdout
