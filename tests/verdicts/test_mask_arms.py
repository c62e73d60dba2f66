"""Comparison of masks, pycocotools being the oracle of every run's numbers."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from replication import cli
from replication.errors import DataError, ResultError
from replication.results.metrics import METRICS
from replication.verdicts.arm_reading import read_arms
from replication.verdicts.arms import Resampling
from replication.verdicts.comparison import compare_arms

MASKS = Resampling(replicates=60, masks=True)
SIDE = 96


def polygon(rng, x: float, y: float, size: float, noise: float) -> list[float]:
    """A closed curve around a place, as x and y of twelve points."""
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    radius = size * (1 + noise * rng.normal(size=12)).clip(0.3, 2)
    points = np.stack([x + radius * np.cos(angles), y + 0.7 * radius * np.sin(angles)], axis=1)
    return points.clip(0, SIDE).round(2).ravel().tolist()


def box(points: list[float]) -> list[float]:
    xy = np.array(points).reshape(-1, 2)
    return [*xy.min(axis=0).tolist(), *np.ptp(xy, axis=0).tolist()]


def rle(points: list[float]) -> dict:
    code = mask_utils.merge(mask_utils.frPyObjects([points], SIDE, SIDE))
    return {"size": [SIDE, SIDE], "counts": code["counts"].decode()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ground truth of 30 images and three runs of two detectors, `B` the more exact."""
    folder, rng = tmp_path_factory.mktemp("masks"), np.random.default_rng(5)
    objects = [
        {"id": 3 * image + k + 1, "image_id": image + 1, "category_id": int(rng.integers(1, 3)), "iscrowd": 0}
        | {"place": (*rng.uniform(20, 76, 2).tolist(), float(rng.uniform(6, 26)))}
        for image in range(30)
        for k in range(3)
    ]
    for one in objects:
        points = polygon(rng, *one["place"], 0.1)
        one |= {"segmentation": [points], "bbox": box(points), "area": float(mask_utils.area(rle(points)))}
    document = {
        "images": [{"id": image + 1, "height": SIDE, "width": SIDE} for image in range(30)],
        "categories": [{"id": 1, "name": "mug"}, {"id": 2, "name": "plate"}],
        "annotations": [{key: value for key, value in one.items() if key != "place"} for one in objects],
    }
    (folder / "truth.json").write_text(json.dumps(document))
    for arm, noise in (("A", 0.35), ("B", 0.15)):
        for seed in range(3):
            found = []
            for one in (one for one in objects if rng.random() < 0.9):
                points = polygon(rng, *one["place"], noise)
                score = float(rng.uniform(0.1, 1))
                found.append(
                    {
                        "image_id": one["image_id"],
                        "category_id": one["category_id"],
                        "score": score,
                        "bbox": box(points),
                    }
                    | {"segmentation": rle(points), "points": points}
                )
            plain = [{key: value for key, value in one.items() if key != "points"} for one in found]
            (folder / f"{arm}_seed{seed}.json").write_text(json.dumps(plain))
            drawn = [one | {"segmentation": [one["points"]]} for one in found]
            (folder / f"polygons_{arm}_seed{seed}.json").write_text(json.dumps(drawn))
    return folder


def runs(folder: Path, before: str = "") -> dict[str, list[Path]]:
    return {arm: [folder / f"{before}{arm}_seed{seed}.json" for seed in range(3)] for arm in "AB"}


def oracle(truth: Path, run: Path) -> list[float]:
    """AP, AP50, AP75, APs, APm, APl by pycocotools, masks' own areas taken."""
    records = json.loads(run.read_text())
    for one in records:
        one.pop("bbox")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(truth))
        evaluation = COCOeval(coco, coco.loadRes(copy.deepcopy(records)), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [100 * float(value) for value in evaluation.stats[:6]]


def test_numbers_are_those_of_pycocotools(folder):
    files = runs(folder)
    found = read_arms(folder / "truth.json", files, MASKS)
    for arm in found.arms:
        for run, file in zip(arm.runs, files[arm.name], strict=True):
            expected = oracle(folder / "truth.json", file)
            defined = [(one, other) for one, other in zip(run.points.tolist(), expected, strict=True) if other >= 0]
            assert len(defined) >= 5
            for one, other in defined:
                assert one == pytest.approx(other, abs=1e-9)
    boxes = read_arms(folder / "truth.json", files, Resampling(replicates=60))
    assert boxes.arms[0].runs[0].points[0] != found.arms[0].runs[0].points[0]


def test_polygons_are_drawn(folder):
    one, other = (read_arms(folder / "truth.json", runs(folder, before), MASKS) for before in ("", "polygons_"))
    for first, second in zip(one.arms, other.arms, strict=True):
        for place in range(3):
            assert np.array_equal(first.runs[place].replicates, second.runs[place].replicates, equal_nan=True)


def test_the_same_statistics_are_used(folder):
    found = compare_arms(read_arms(folder / "truth.json", runs(folder), MASKS))
    assert found.contrasts[0].verdict == "better"
    assert found.contrasts[0].effect.difference > 5
    assert found.contrasts[0].mistakes == ()
    assert set(found.arms[0].values) <= set(METRICS)


def test_files_without_masks_and_with_some_are_refused(folder, tmp_path):
    records = json.loads((folder / "A_seed0.json").read_text())
    bare = [{key: value for key, value in one.items() if key != "segmentation"} for one in records]
    files = runs(folder)
    for name, content, message in (
        ("bare", bare, "bare.json: segmentation: the records have no segmentation"),
        ("mixed", records[:5] + bare[5:], r"mixed.json: segmentation: only 5 of \d+ records have a segmentation"),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        with pytest.raises(ResultError, match=message):
            read_arms(folder / "truth.json", files | {"B": [tmp_path / f"{name}.json"]}, MASKS)
    wrong = [records[0] | {"segmentation": [[1, 2, 3]]}]
    (tmp_path / "line.json").write_text(json.dumps(wrong))
    with pytest.raises(ResultError, match=r"line.json: detections\[0\]: segmentation polygons need x and y"):
        read_arms(folder / "truth.json", files | {"B": [tmp_path / "line.json"]}, MASKS)
    document = json.loads((folder / "truth.json").read_text())
    del document["annotations"][0]["segmentation"]
    (tmp_path / "truth.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"truth.json: masks are compared, but annotations lack segmentation"):
        read_arms(tmp_path / "truth.json", files, MASKS)


def test_the_verb_compares_masks(folder, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(folder)
    arms = ("truth.json", "--a", "A_seed*.json", "--b", "B_seed*.json", "--bootstrap", "100", "--cache", str(tmp_path))
    answers = {}
    for kind in ("bbox", "segm"):
        assert cli.main(["compare", *arms, "--type", kind, "--format", "json"]) == 0
        answers[kind] = json.loads(capsys.readouterr().out)
    assert answers["segm"]["resampling"]["masks"]
    assert answers["segm"]["arms"][0]["values"] != answers["bbox"]["arms"][0]["values"], "kept numbers are told apart"
    assert cli.main(["compare", *arms, "--type", "segm", "--criterion", "giou"]) == 2
    assert capsys.readouterr().err == "error: criterion 'giou' is for boxes; masks are matched by iou\n"
