"""`replication evaluate` on any pair of files."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from support.simulation import coco_documents, detector, population, write_pair

from replication import cli
from replication.errors import ResultError
from replication.evaluation import METRICS, bootstrap, point
from replication.evaluation.matching import match
from replication.evaluation.pair import compared
from replication.formats import compiled as compilation
from replication.formats.detections import read_detections
from replication.formats.truth import read_ground_truth

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    truth = population(61, 80, 6)
    found, truth_path = write_pair(tmp_path, truth, detector(truth, 62, 1.0, per_image=20))
    other = tmp_path / "other.json"
    other.write_text(json.dumps(coco_documents(truth, detector(truth, 62, 1.4, per_image=20))[1]))
    return {"found": found, "truth": truth_path, "other": other}


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = cli.main(["evaluate", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    code, out, err = call(capsys, *arguments, "--format", "json")
    assert (code, err) == (0, "")
    return json.loads(out)


def test_numbers_alone(capsys, files):
    document = answer(capsys, files["found"], files["truth"])
    assert document["schema"] == "evaluation/1"
    assert document["intervals"] is document["difference"] is None
    assert list(document["metrics"])[:6] == list(METRICS)
    truth = read_ground_truth(files["truth"])
    estimate = point(match(truth, read_detections(files["found"], truth)))
    assert document["metrics"]["AP"] == estimate.metric("AP")[0]


def test_intervals(capsys, files):
    document = answer(capsys, files["found"], files["truth"], "--bootstrap", 300, "--seed", 5)
    truth = read_ground_truth(files["truth"])
    drawn = bootstrap(match(truth, read_detections(files["found"], truth)), 300, seed=5).metric("AP75")
    interval = document["intervals"]["AP75"]
    assert interval["se"] == pytest.approx(drawn.std(ddof=1))
    assert interval["low"] == pytest.approx(document["metrics"]["AP75"] - 1.96 * interval["se"])
    assert interval["bias"] == pytest.approx(drawn.mean() - document["metrics"]["AP75"])
    assert "percentile" not in interval
    assert document["bootstrap"] == {"replicates": 300, "seed": 5, "unit": "image"}


def test_the_same_seed_gives_the_same_answer_and_another_does_not(capsys, files):
    arguments = files["found"], files["truth"], "--bootstrap", 100
    assert answer(capsys, *arguments, "--seed", 1) == answer(capsys, *arguments, "--seed", 1)
    assert answer(capsys, *arguments, "--seed", 1) != answer(capsys, *arguments, "--seed", 2)


def test_difference_of_two_detectors(capsys, files):
    document = answer(capsys, files["other"], files["truth"], "--against", files["found"])
    alone = answer(capsys, files["found"], files["truth"])
    assert document["bootstrap"]["replicates"] == 2000
    assert document["against"] == {name: alone["metrics"][name] for name in METRICS}
    value = document["difference"]["AP"]
    assert value["estimate"] == pytest.approx(document["metrics"]["AP"] - alone["metrics"]["AP"])
    assert value["percentile"][0] > 0
    assert value["t"][0] > 0
    # Paired: narrower than the two intervals would allow.
    errors = [run["intervals"]["AP"]["se"] for run in (document, answer(capsys, *reversed_pair(files)))]
    assert value["se"] < 0.8 * np.hypot(*errors)


def reversed_pair(files):
    return files["found"], files["truth"], "--against", files["other"]


def test_a_detector_against_itself(capsys, files):
    value = answer(capsys, files["found"], files["truth"], "--against", files["found"])["difference"]["AP"]
    assert value == {"estimate": 0, "se": 0, "bias": 0, "percentile": [0, 0], "t": [0, 0]}


def test_supported_classes_stand_beside(capsys, files):
    document = answer(capsys, *reversed_pair(files))
    truth = read_ground_truth(files["truth"])
    few = [name for name, count in zip(truth.class_names, truth.per_class, strict=True) if count < 10]
    assert document["rare_classes"] == few
    assert document["supported_classes"] == 6 - len(few)
    assert not few
    every, supported = (document[key]["AP"] for key in ("difference", "difference_supported"))
    assert [every["estimate"], *every["t"]] == pytest.approx([supported["estimate"], *supported["t"]])
    kept = json.loads(files["truth"].read_text())
    rare = [one for one in kept["annotations"] if one["category_id"] == 6][:9]
    kept["annotations"] = [one for one in kept["annotations"] if one["category_id"] != 6] + rare
    files["truth"].write_text(json.dumps(kept))
    document = answer(capsys, *reversed_pair(files))
    assert document["rare_classes"][-1] == "class5"
    assert document["difference"]["AP"] != document["difference_supported"]["AP"]
    _, out, _ = call(capsys, *reversed_pair(files))
    assert "fewer than 10 objects" in out
    assert "classes with at least 10 objects" in out


def test_criteria(capsys, files):
    numbers = {
        name: answer(capsys, files["found"], files["truth"], "--criterion", name)
        for name in ("iou", "giou", "giou_paper", "voc07", "voc", "voc07_giou", "voc_giou")
    }
    assert all(document["criterion"] == name for name, document in numbers.items())
    assert len({document["metrics"]["AP"] for document in numbers.values()}) == 7
    assert numbers["giou"]["metrics"]["AP"] < numbers["iou"]["metrics"]["AP"]


@pytest.mark.parametrize("criterion", ["iou", "giou", "giou_paper"])
def test_verified(capsys, files, criterion):
    document = answer(capsys, files["found"], files["truth"], "--criterion", criterion, "--verify")
    assert document["verified"]["boxes"]["difference"] < 1e-12
    _, out, _ = call(capsys, files["found"], files["truth"], "--verify")
    assert (
        f"verified, boxes: equal to pycocotools {version('pycocotools')} in every class, threshold, area and limit"
        in out
    )


def test_a_failed_verification_is_exit_2(capsys, files, monkeypatch):
    monkeypatch.setattr("replication.evaluation.verify.TOLERANCE", -1.0)
    code, out, err = call(capsys, files["found"], files["truth"], "--verify")
    assert (code, out) == (2, "")
    assert "pycocotools has" in err


def test_the_table(capsys, files, tmp_path):
    code, out, _ = call(capsys, *reversed_pair(files), "--bootstrap", 50, "--out", tmp_path / "out.json")
    assert code == 0
    for text in ("AP in percent, criterion iou", "1.96 standard errors", "95% t", "AP50 gained", "class0"):
        assert text in out
    written = json.loads((tmp_path / "out.json").read_text())
    assert written == answer(capsys, *reversed_pair(files), "--bootstrap", 50)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bootstrap", "1"], "a standard error needs at least 2"),
        (["--criterion", "voc", "--verify"], "pycocotools has no VOC rules"),
        (["--against", "absent.json"], "absent.json: no such file"),
    ],
)
def test_wrong_options_are_exit_2(capsys, files, arguments, message):
    code, out, err = call(capsys, files["found"], files["truth"], *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize("option", [["--criterion", "giou"], ["--against", "x"], ["--bootstrap", "9"], ["--verify"]])
def test_options_of_pairs_are_refused_for_runs(capsys, option):
    code, _, err = call(capsys, "--variant", "retinanet_R50", *option)
    assert code == 2
    assert f"{option[0]} is for two files" in err


def test_an_unknown_criterion_is_exit_2(capsys, files):
    code, _, err = call(capsys, files["found"], files["truth"], "--criterion", "diou")
    assert code == 2
    assert "'diou' is not one of 'iou', 'giou'" in err


def test_detections_of_other_images_are_refused_for_a_difference(capsys, files):
    records = json.loads(files["other"].read_text())
    images = sorted({record["image_id"] for record in records})
    files["other"].write_text(json.dumps([one for one in records if one["image_id"] in images[:40]]))
    code, out, err = call(capsys, *reversed_pair(files))
    assert (code, out) == (2, "")
    assert f"40 of 80 images have detections in one of {files['found']} and {files['other']} only" in err
    files["other"].write_text(json.dumps([one for one in records if one["image_id"] != images[5]]))
    code, _, err = call(capsys, *reversed_pair(files))
    assert code == 0
    assert f"warning: 1 of 80 images have detections in one of {files['found']}" in err
    assert f"such as image {images[5]} in {files['found']}" in err


def test_runs_on_other_images_are_not_compared():
    runs = [match(truth, detector(truth, 1, per_image=5)) for truth in (population(1, n, 2) for n in (10, 11))]
    with pytest.raises(ResultError, match="different image_ids cannot be compared"):
        compared(*runs, replicates=10, seed=0)


def test_corners_for_extents_are_warned_of(capsys, files):
    records = json.loads(files["found"].read_text())
    for record in records:
        x, y, width, height = record["bbox"]
        record["bbox"] = [x, y, x + width, y + height]
    files["found"].write_text(json.dumps(records))
    code, _, err = call(capsys, files["found"], files["truth"])
    assert code == 0
    assert err.startswith(f"warning: {files['found']}: ")
    assert "these look like [x1, y1, x2, y2]" in err


def test_nothing_heavy_before_it_is_needed():
    code = (
        "import sys, replication.evaluation;"
        "sys.exit(any(name in sys.modules for name in ('numba', 'torch', 'pycocotools', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0


def test_without_torch(files):
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['detectron2'] = None; from replication.cli import main;"
        f"sys.exit(main(['evaluate', {str(files['found'])!r}, {str(files['truth'])!r}, '--bootstrap', '20']))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_kernels_run_where_nothing_can_be_cached(monkeypatch):
    import numba

    real = numba.njit

    def njit(*arguments, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(*arguments, **options)

    monkeypatch.setattr(numba, "njit", njit)
    assert compilation.compiled(lambda value: value + 1)(2) == 3


def test_errors_in_threads_are_raised():
    done = []

    def work(task):
        if task == 3:
            raise ValueError("task 3")
        done.append(task)

    for threads in (1, 4):
        with pytest.raises(ValueError, match="task 3"):
            compilation.in_threads(work, range(6), threads)
    compilation.in_threads(done.append, [], 2)
    compilation.in_threads(done.append, ["last"], 2)
    assert done[-1] == "last"
