"""Each configuration of FSAF table 1 learns four photographs by heart, end to end, to AP > 80."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetMapper
from detectron2.modeling import build_model
from support.overfit import fit, photographs

from replication.catalog import CONFIGS
from replication.catalog.variants import resolve
from replication.datasets.weights import weights_path
from replication.detectors import add_replication_config, use_backbone
from replication.evaluation import evaluate
from replication.inference.detect import detections

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
    torch.set_num_threads(1)
    torch.manual_seed(0)
    cfg = config(name)
    truth, records = photographs(coco_photographs)
    assert len(records) == 4
    mapper = DatasetMapper(cfg, is_train=True)
    model = build_model(cfg)
    fit(model, ITERATIONS, [mapper(record) for record in records])

    content = json.loads(truth.read_text())
    ids = sorted(category["id"] for category in content["categories"])
    look, found = DatasetMapper(cfg, is_train=False), []
    with torch.no_grad():
        for record in records:
            instances = model.eval()([look(record)])[0]["instances"]
            found += detections(instances, record["image_id"], tuple(ids))
    chosen = {record["image_id"] for record in records}
    content["images"] = [each for each in content["images"] if each["id"] in chosen]
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] in chosen]
    (tmp_path / "truth.json").write_text(json.dumps(content))
    (tmp_path / "found.json").write_text(json.dumps(found))
    metrics = evaluate(tmp_path / "found.json", tmp_path / "truth.json")["metrics"]
    print(name, metrics)
    assert metrics["AP"] > 80
