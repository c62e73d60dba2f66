"""Each configuration of FSAF table 1 learns four photographs by heart, end to end, to AP > 80."""

from __future__ import annotations

from pathlib import Path

import pytest
from detectron2.config import CfgNode, get_cfg
from support.overfit import learn_by_heart, photographs

from replication.catalog import CONFIGS
from replication.catalog.variants import resolve
from replication.datasets.weights import weights_path
from replication.detectors import add_replication_config, use_backbone

TABLE_1 = ["retinanet_R50", "fsaf_R50_heuristic", "fsaf_R50", "fsaf_R50_joint_heuristic", "fsaf_R50_joint"]
ITERATIONS = 600
SIDE = 160


def config(name: str) -> CfgNode:
    cfg = get_cfg()
    add_replication_config(cfg)
    cfg.merge_from_other_cfg(CfgNode(resolve(CONFIGS / "variants" / f"{name}.yaml")))
    use_backbone(cfg, "efficientnet_lite0", weights_path("efficientnet_lite0"))
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.FPN.OUT_CHANNELS = 64
    cfg.MODEL.RETINANET.NUM_CONVS = 2
    cfg.MODEL.RETINANET.NORM = "BN"
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[side / 2 for side in sides] for sides in cfg.MODEL.ANCHOR_GENERATOR.SIZES]
    cfg.MODEL.FSAF.HEURISTIC_SIZE = 112  # half, like the anchors
    cfg.INPUT.MIN_SIZE_TRAIN = [SIDE]
    cfg.INPUT.MIN_SIZE_TEST = SIDE
    cfg.INPUT.RANDOM_FLIP = "none"
    return cfg


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", TABLE_1)
def test_overfits_four_photographs(name: str, coco_photographs: Path, tmp_path: Path) -> None:
    truth, records = photographs(coco_photographs)
    metrics = learn_by_heart(config(name), ITERATIONS, truth, records, tmp_path)
    print(name, metrics)
    assert metrics["AP"] > 80
