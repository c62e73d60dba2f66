"""Fixed proposals: written once from a trained RPN, then what Fast R-CNN is trained and tested on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.data import DatasetMapper

from replication.catalog import Protocol, load_catalog, load_protocol
from replication.cli import main
from replication.datasets import load_split
from replication.errors import ConfigError, ResultError
from replication.inference.detect import detect
from replication.inference.propose import propose
from replication.results.files import read_json, write_json
from replication.results.layout import Layout, ProposalFiles
from replication.results.run import Run
from replication.training.config import run_config
from replication.training.data import MappedRecords
from replication.training.proposals import open_proposals, proposals_hash
from replication.training.run import train

CATALOG, SMOKE = load_catalog(), load_protocol("smoke")


def job(results: Path, variant: str, protocol: Protocol = SMOKE) -> Run:
    return Run(CATALOG.variants[variant], protocol, 0, results)


@pytest.fixture(scope="module")
def proposed(tmp_path_factory: pytest.TempPathFactory, datasets_root: Path) -> Path:
    """Results with a trained RPN and its proposals."""
    results = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(datasets_root))
        train(job(results, "rpn_R50"))
        propose(job(results, "rpn_R50"))
    return results


@pytest.mark.parametrize(("split", "images", "limit"), [("train", 12, 32), ("val", 6, 1000)])
def test_every_image_has_its_proposals_best_first(proposed: Path, split: Any, images: int, limit: int) -> None:
    path = Layout(proposed, "smoke").proposals("rpn_R50", split).manifest
    manifest = read_json(path, "proposals/1")
    records = load_split(SMOKE, split).records
    assert len(manifest["image_ids"]) == len(manifest["counts"]) == images
    assert manifest["at_most"] == limit
    assert 0 < max(manifest["counts"]) <= limit
    assert (manifest["variant"], manifest["seed"], manifest["split"]) == ("rpn_R50", 0, split)
    proposals = open_proposals(ProposalFiles(path), manifest["data_hash"], [record["image_id"] for record in records])
    for record in records:
        given = proposals.add_to(record)
        boxes, logits = given["proposal_boxes"], given["proposal_objectness_logits"]
        assert (np.diff(logits) <= 0).all()
        assert (boxes >= 0).all()
        assert (boxes[:, 2] <= record["width"] + 1e-3).all()
        assert (boxes[:, 3] <= record["height"] + 1e-3).all()
        assert "proposal_boxes" not in record


def test_proposals_are_those_of_the_trained_rpn(proposed: Path) -> None:
    """The val file holds the boxes that detection of the RPN writes."""
    rpn = job(proposed, "rpn_R50")
    found = json.loads(detect(rpn).read_text())
    path = Layout(proposed, "smoke").proposals("rpn_R50", "val").manifest
    manifest = read_json(path, "proposals/1")
    assert len(found) == sum(manifest["counts"])
    rows = np.fromfile(path.with_suffix(".f32"), dtype="<f4").reshape(-1, 5)
    boxes = np.array([one["bbox"] for one in found])
    boxes[:, 2:] += boxes[:, :2]
    np.testing.assert_allclose(rows[:, :4], boxes, atol=1e-4)
    np.testing.assert_allclose(rows[:, 4], [one["score"] for one in found], atol=1e-6)


def test_the_mapper_moves_them_with_the_image(proposed: Path, tmp_path: Path) -> None:
    """At twice the size, and flipped, a proposal on an object stays on it."""
    record = load_split(SMOKE, "train").records[0]
    for one in record["annotations"]:  # Detectron2 scales a box of whole numbers in whole numbers
        one["bbox"] = [float(number) for number in one["bbox"]]
    truth = np.array([one["bbox"] for one in record["annotations"]], dtype=np.float32)
    rows = np.hstack([truth, np.arange(len(truth), 0, -1, dtype=np.float32)[:, None]])
    path = tmp_path / "train.json"
    rows.astype("<f4").tofile(path.with_suffix(".f32"))
    write_json(
        path, "proposals/1", {"data_hash": "x", "sha256": "s", "image_ids": [record["image_id"]], "counts": [len(rows)]}
    )
    proposals = open_proposals(ProposalFiles(path), "x", [record["image_id"]])
    cfg = run_config(CATALOG.variants["fast_rcnn_R50"], SMOKE, 0, 10, tmp_path).clone()
    cfg.defrost()
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP = [128], 320, "horizontal"
    flips = set()
    mapped = MappedRecords([record], DatasetMapper(cfg, is_train=True), 0, proposals)
    for position in range(8):
        item = mapped[position, 0]
        torch.testing.assert_close(
            item["proposals"].proposal_boxes.tensor, item["instances"].gt_boxes.tensor, rtol=1e-4, atol=0.1
        )
        flips.add(round(item["proposals"].proposal_boxes.tensor[0, 0].item(), 1))
    assert len(flips) == 2


def test_fast_rcnn_trains_and_detects_on_them(proposed: Path) -> None:
    fast = job(proposed, "fast_rcnn_R50_sampling")
    train(fast)
    lines = [json.loads(line) for line in (fast.folder / "curves.jsonl").read_text().splitlines()]
    assert not any(key.startswith("loss_rpn") for key in lines[-1])
    shares = [lines[-1][f"sampling/negatives_bin{k}"] for k in (1, 2, 3)]
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    made = read_json(fast.folder / "provenance.json", "provenance/1")
    assert made["proposals_sha256"] == proposals_hash(Layout(proposed, "smoke").proposals("rpn_R50", "train"))
    assert json.loads(detect(fast).read_text()) is not None


def test_other_proposals_are_another_training(proposed: Path) -> None:
    fast = job(proposed, "fast_rcnn_R50")
    train(fast)
    path = Layout(proposed, "smoke").proposals("rpn_R50", "train").manifest
    before = path.read_text()
    content = {key: value for key, value in json.loads(before).items() if key != "schema"}
    try:
        write_json(path, "proposals/1", {**content, "sha256": "0" * 64})
        with pytest.raises(ResultError, match=r"proposals_sha256 is .* now it is 0000"):
            train(fast)
    finally:
        path.write_text(before)


def test_without_proposals_there_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=r"train\.json: no such file: .* `replication proposals"):
        train(job(tmp_path, "fast_rcnn_R50"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ({"data_hash": "other"}, r"data_hash is other, now it is x"),
        ({"counts": [3]}, r"train\.f32: has 40 bytes, not 5 float32 for each proposal"),
        ({"image_ids": [8]}, r"image_ids: 7 is missing, and 0 more"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, spoil: dict[str, Any], message: str) -> None:
    path = tmp_path / "train.json"
    np.zeros((2, 5), dtype="<f4").tofile(path.with_suffix(".f32"))
    write_json(path, "proposals/1", {"data_hash": "x", "sha256": "s", "image_ids": [7], "counts": [2], **spoil})
    with pytest.raises(ResultError, match=message):
        open_proposals(ProposalFiles(path), "x", [7])


def test_images_without_proposals(tmp_path: Path) -> None:
    path = tmp_path / "val.json"
    path.with_suffix(".f32").write_bytes(b"")
    write_json(path, "proposals/1", {"data_hash": "x", "sha256": "s", "image_ids": [7], "counts": [0]})
    assert open_proposals(ProposalFiles(path), "x", [7]).add_to({"image_id": 7})["proposal_boxes"].shape == (0, 4)


def test_only_an_rpn_proposes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--variant faster_rcnn_R50: is not an RPN alone"):
        propose(job(tmp_path, "faster_rcnn_R50"))


def test_the_verb_needs_a_trained_rpn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["proposals", "--protocol", "smoke", "--results", str(tmp_path)]) == 2
    assert "model_final.pth: no such file; train the run first" in capsys.readouterr().err


def test_an_rpn_is_evaluated_by_recall(proposed: Path, capfd: pytest.CaptureFixture[str]) -> None:
    where = ["--protocol", "smoke", "--results", str(proposed)]
    assert main(["prepare", *where]) == 0
    detect(job(proposed, "rpn_R50"))
    capfd.readouterr()
    assert main(["evaluate", *where, "--variant", "rpn_R50", "--format", "json"]) == 0
    metrics = json.loads(capfd.readouterr().out)["metrics"]
    assert metrics["AP"] is None
    assert 0 <= metrics["AR100"] <= metrics["AR300"] <= metrics["AR1000"] <= 100
