from __future__ import annotations

from pathlib import Path

import pytest

from replication.catalog import Protocol, Variant, load_catalog, load_protocol
from replication.errors import ConfigError
from replication.training.config import config_hash, run_config

CATALOG = load_catalog()
SMOKE = load_protocol("smoke")
PAPER = load_protocol("paper")


def variant(name: str) -> Variant:
    return CATALOG.variants[name]


def changed(protocol: Protocol, **update: object) -> Protocol:
    return Protocol.model_validate({**protocol.model_dump(), **update})


def test_paper_keeps_the_variants_own_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cfg = run_config(variant("faster_rcnn_R50_giou"), PAPER, 1, 80, tmp_path)
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS) == (0.02, 90000, (60000, 80000))
    assert (cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.WARMUP_ITERS, cfg.SEED) == (16, 500, 1)
    assert cfg.INPUT.MIN_SIZE_TRAIN == (800,) or cfg.INPUT.MIN_SIZE_TRAIN == [800]
    assert cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT == 10.0


def test_linear_rule_keeps_the_epochs(tmp_path: Path):
    cfg = run_config(variant("faster_rcnn_R50_giou"), changed(PAPER, batch=4), 0, 80, tmp_path)
    assert pytest.approx(0.005) == cfg.SOLVER.BASE_LR
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS, cfg.SOLVER.WARMUP_ITERS) == (360000, (240000, 320000), 2000)


def test_iterations_scale_long_schedules_alike(tmp_path: Path):
    protocol = changed(SMOKE, iterations={"GeneralizedRCNN": 90, "ReplicationRetinaNet": 90})
    short = run_config(variant("faster_rcnn_R101"), protocol, 0, 10, tmp_path).SOLVER
    long = run_config(variant("faster_rcnn_R101_2x"), protocol, 0, 10, tmp_path).SOLVER
    assert pytest.approx(2 * short.MAX_ITER, abs=1) == long.MAX_ITER
    assert 0 < short.STEPS[0] < short.STEPS[1] < short.MAX_ITER


def test_stand_in_backbone_and_data_are_set(tmp_path: Path):
    cfg = run_config(variant("retinanet_R101"), SMOKE, 0, 7, tmp_path)
    assert cfg.MODEL.EFFICIENTNET_LITE.NAME == "efficientnet_lite1"
    assert "efficientnet" in cfg.MODEL.BACKBONE.NAME
    assert cfg.MODEL.RETINANET.NUM_CLASSES == 7


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"overrides": {"all": {"SOLVER.BASE_LRR": 1}}}, r"overrides\.all\.SOLVER\.BASE_LRR.*SOLVER\.BASE_LRR"),
        ({"overrides": {"all": {"SOLVER.BASE_LR": "fast"}}}, r"overrides\.all\.SOLVER\.BASE_LR: Type mismatch"),
        ({"iterations": {"ReplicationRetinaNet": 3}}, "iterations: no entry for GeneralizedRCNN"),
        ({"backbones": {"R-101": "efficientnet_lite1"}}, "no stand-in for R-50"),
    ],
)
def test_a_wrong_protocol_names_the_key(tmp_path: Path, update: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        run_config(variant("faster_rcnn_R50"), changed(SMOKE, **update), 0, 10, tmp_path)


def test_a_wrong_variant_names_the_file(tmp_path: Path):
    broken = tmp_path / "broken.yaml"
    broken.write_text(f"_BASE_: {variant('faster_rcnn_R50').path}\nMODEL:\n  RPN:\n    NMS_TRESH: 0.5\n")
    bad = variant("faster_rcnn_R50").model_copy(update={"path": broken})
    with pytest.raises(ConfigError, match=r"broken\.yaml: .*NMS_TRESH"):
        run_config(bad, SMOKE, 0, 10, tmp_path)


def test_config_hash_is_that_of_the_variant_not_of_the_run(tmp_path: Path):
    one = run_config(variant("faster_rcnn_R50"), SMOKE, 0, 10, tmp_path / "a")
    elsewhere = run_config(variant("faster_rcnn_R50"), changed(SMOKE, workers=2), 1, 10, tmp_path / "b")
    longer = run_config(variant("faster_rcnn_R50"), changed(SMOKE, batch=4), 0, 10, tmp_path / "a")
    assert config_hash(one) == config_hash(elsewhere) != config_hash(longer)


@pytest.mark.parametrize("name", sorted(CATALOG.variants))
def test_every_variant_resolves_under_the_papers_and_the_small_protocols(name: str, tmp_path: Path):
    for protocol in (PAPER, SMOKE):
        cfg = run_config(variant(name), protocol, 0, 80, tmp_path)
        assert cfg.SOLVER.MAX_ITER > 0
        assert cfg.is_frozen()
