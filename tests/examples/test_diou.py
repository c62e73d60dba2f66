"""The example of a fourth paper: DIoU and CIoU by configuration and one file of losses, under the protocol smoke."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from replication import cli
from replication.catalog import Catalog, config_folders, load_catalog, load_protocol
from replication.detectors.losses import BOX_REG_LOSS_REGISTRY, MatchedBoxes, load_losses
from replication.training.config import run_config

ROOT = Path(__file__).parents[2]
DIOU = ROOT / "examples" / "diou"
AUTHORS = {"iou": 46.57, "giou": 47.73, "diou": 48.10, "ciou": 49.21}
"""YOLOv3 on VOC 2007 test, in the README of Zzh-tju/DIoU-darknet."""


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog(*config_folders([DIOU]))


@pytest.fixture
def losses() -> Any:
    load_losses([DIOU / "losses" / "diou.py"])
    yield lambda name: BOX_REG_LOSS_REGISTRY.get(name).function
    load_losses([])


def test_its_numbers_are_the_authors_and_only_these(catalog: Catalog):
    tables = {table.id: table for table in catalog.papers["diou"].tables}
    assert {row.id: row.published["AP"] for row in tables["diou-yolov3"].rows} == AUTHORS
    assert {value for row in tables["diou-faster-rcnn"].rows for value in row.published.values()} == {None}
    gains = {claim.row: claim.gain for claim in catalog.papers["diou"].claims}
    assert gains == {name: pytest.approx(AUTHORS[name] - AUTHORS["iou"]) for name in ("giou", "diou", "ciou")}


def test_every_row_and_claim_can_run(catalog: Catalog):
    paper = catalog.papers["diou"]
    assert {catalog.row_state(row) for table in paper.tables for row in table.rows} == {"built"}
    assert {catalog.claim_state(claim) for claim in paper.claims} == {"built"}


def test_only_the_loss_is_code():
    files = [path for path in DIOU.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert [path.name for path in files if path.suffix != ".yaml"] == ["diou.py"]
    assert f"{len(files)} files" in (ROOT / "docs" / "extending.md").read_text()


def test_variants_of_a_table_differ_in_the_loss_alone(catalog: Catalog):
    """But for CIoU in YOLOv3, whose weight is half of the others'."""
    for table in catalog.papers["diou"].tables:
        configs = {row.id: _config(catalog, str(row.variant)) for row in table.rows}
        for name, cfg in configs.items():
            node = cfg.MODEL.YOLOV3 if table.id == "diou-yolov3" else cfg.MODEL.ROI_BOX_HEAD
            assert name == node.BBOX_REG_LOSS_TYPE
            half = table.id == "diou-yolov3" and name == "ciou"
            assert (12.0 if table.id == "diou-faster-rcnn" else 1.0 if half else 2.0) == node.BBOX_REG_LOSS_WEIGHT
            node.BBOX_REG_LOSS_TYPE, node.BBOX_REG_LOSS_WEIGHT = "", 0.0
        texts = [yaml.safe_dump(yaml.safe_load(cfg.dump())) for cfg in configs.values()]
        assert len(set(texts)) == 1


def _config(catalog: Catalog, variant: str) -> Any:
    cfg = run_config(catalog.variants[variant], load_protocol("smoke"), 0, 3, Path("out"))
    cfg.defrost()
    return cfg


def test_diou_by_hand(losses: Any):
    """Squares of side 2, two apart in x: IoU 0, centres 4 apart, enclosing box 6 x 2."""
    pred, target = torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[4.0, 0.0, 6.0, 2.0]])
    assert losses("diou")(pred, target).item() == pytest.approx(1 + 16 / 40)
    assert losses("diou")(target, target).item() == pytest.approx(0, abs=1e-6)


def test_ciou_by_hand(losses: Any):
    """A box of 4 x 2 in one of 4 x 4, their centres 1 apart: IoU 1/2, and the angles of the diagonals differ."""
    pred, target = torch.tensor([[0.0, 0.0, 4.0, 2.0]]), torch.tensor([[0.0, 0.0, 4.0, 4.0]])
    v = 4 / math.pi**2 * (math.atan(4 / 4) - math.atan(4 / 2)) ** 2
    alpha = v / (1 - 0.5 + v)
    assert losses("ciou")(pred, target).item() == pytest.approx(0.5 + 1 / 32 + alpha * v, rel=1e-5)


@pytest.mark.parametrize("name", ["diou", "ciou"])
def test_reductions_are_those_of_the_registry(losses: Any, name: str):
    torch.manual_seed(0)
    pred, target = (torch.rand(5, 3, 4).cumsum(-1) for _ in range(2))
    each = losses(name)(pred, target)
    assert each.shape == (5, 3)
    assert torch.allclose(losses(name)(pred, target, reduction="sum"), each.sum())
    assert torch.allclose(losses(name)(pred, target, reduction="mean"), each.mean())


@pytest.mark.parametrize("name", ["diou", "ciou"])
def test_apart_boxes_have_a_gradient_and_none_are_zero(losses: Any, name: str):
    pred = torch.tensor([[0.0, 0.0, 2.0, 2.0]], requires_grad=True)
    losses(name)(pred, torch.tensor([[4.0, 0.0, 6.0, 2.0]]), reduction="sum").backward()
    assert pred.grad is not None
    assert pred.grad[0, [0, 2]].sum() < 0, "moves to the right, where the object is"
    none = torch.zeros(0, 4, requires_grad=True)
    boxes = MatchedBoxes(none, none.detach(), torch.zeros(0, 4), _Same())
    total = BOX_REG_LOSS_REGISTRY.get(name).sum(boxes)
    total.backward()
    assert total.item() == 0


class _Same:
    """A transform in which deltas are boxes."""

    def get_deltas(self, src_boxes: torch.Tensor, target_boxes: torch.Tensor) -> torch.Tensor:
        return target_boxes

    def apply_deltas(self, deltas: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        return deltas


def test_a_run_under_smoke_has_its_table_verdicts_and_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, datasets_root: Path, capfd: pytest.CaptureFixture[str]
):
    """From another folder: a Faster R-CNN with DIoU and its baseline."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(datasets_root))
    where = ["--configs", str(DIOU), "--protocol", "smoke", "--results", "results"]
    assert cli.main(["prepare", *where]) == 0
    for name in ("iou", "diou"):
        for verb in ("train", "detect", "evaluate"):
            assert cli.main([verb, *where, "--variant", f"faster_rcnn_R50_w12_{name}"]) == 0, verb
    here = tmp_path / "results" / "smoke"
    made = json.loads((here / "runs" / "faster_rcnn_R50_w12_diou" / "seed0" / "provenance.json").read_text())
    assert list(made["losses"]) == ["diou.py"]
    for verb in ("tables", "verdicts", "report"):
        assert cli.main([verb, *where, "--tables", "diou-faster-rcnn"]) == 0, verb
    assert "DIoU" in (here / "tables" / "diou-faster-rcnn.md").read_text()
    assert "Distance-IoU Loss" in (here / "report.html").read_text()
    capfd.readouterr()
    assert cli.main(["plan", *where, "--tables", "diou-faster-rcnn", "--format", "json"]) == 0
    states = {run["variant"]: run["state"] for run in json.loads(capfd.readouterr().out)["runs"]}
    assert states["faster_rcnn_R50_w12_diou"] == "done"
