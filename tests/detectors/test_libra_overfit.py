"""Libra R-CNN and Libra RetinaNet, every component on, learn a few photographs by heart: AP above 80."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from replication.catalog import Protocol, load_catalog
from replication.evaluation import evaluate
from replication.inference.detect import detect
from replication.results.run import Run
from replication.training.run import train

IMAGES = 2
SHARED = {
    "INPUT.MIN_SIZE_TRAIN": [192],
    "INPUT.MAX_SIZE_TRAIN": 300,
    "INPUT.MIN_SIZE_TEST": 192,
    "INPUT.MAX_SIZE_TEST": 300,
    "INPUT.RANDOM_FLIP": "none",
    "MODEL.BACKBONE.FREEZE_AT": 5,
    "MODEL.FPN.OUT_CHANNELS": 64,
    "SOLVER.OPTIMIZER": "adamw",
    "SOLVER.BASE_LR": 0.001,
    "SOLVER.BIAS_LR_FACTOR": 1.0,
    "SOLVER.WEIGHT_DECAY": 0.0,
    "SOLVER.LR_SCHEDULER_NAME": "WarmupCosineLR",
    "SOLVER.WARMUP_ITERS": 30,
    "SOLVER.WARMUP_FACTOR": 0.04,
    "SOLVER.CLIP_GRADIENTS": {"ENABLED": True, "CLIP_TYPE": "norm", "CLIP_VALUE": 10.0, "NORM_TYPE": 2.0},
}
RCNN = {
    "MODEL.ANCHOR_GENERATOR.SIZES": [[16], [32], [64], [128], [256]],
    "MODEL.RPN.BOUNDARY_THRESH": -1,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 200,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 100,
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 64,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 256,
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlignV2",
}
RETINANET = {
    "MODEL.RETINANET.NUM_CONVS": 2,
    "MODEL.ANCHOR_GENERATOR.SIZES": [[s * 2 ** (k / 3) for k in range(3)] for s in (16, 32, 64, 128, 256)],
}


def few_photographs(root: Path, folder: Path) -> Path:
    """The annotations of the first photographs with one to four objects, all of them large."""
    content = json.loads((root / "annotations" / "instances_train2017_ccby.json").read_text())
    objects: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        objects[annotation["image_id"]].append(annotation)
    fit = [
        image
        for image in content["images"]
        if 1 <= len(objects[image["id"]]) <= 4
        and all(not one["iscrowd"] and one["area"] > 64**2 for one in objects[image["id"]])
    ][:IMAGES]
    assert len(fit) == IMAGES
    chosen = {image["id"] for image in fit}
    annotations = [one for one in content["annotations"] if one["image_id"] in chosen]
    path = folder / "few.json"
    path.write_text(json.dumps({"images": fit, "annotations": annotations, "categories": content["categories"]}))
    return path


@pytest.mark.slow
@pytest.mark.timeout(3600)  # on a machine with much else to do
@pytest.mark.parametrize("name", ["libra_rcnn_R50", "libra_retinanet_R50"])
def test_a_few_photographs_are_learnt_by_heart(name: str, coco_photographs: Path, tmp_path: Path) -> None:
    truth = few_photographs(coco_photographs, tmp_path)
    split = {"annotations": str(truth), "images": str(coco_photographs / "train2017")}
    protocol = Protocol.model_validate(
        {
            "name": "by_heart",
            "title": "a few photographs",
            "data": {"kind": "coco", "train": split, "val": split},
            "backbones": {"R-50": "efficientnet_lite0"},
            "batch": 2,
            "iterations": {"GeneralizedRCNN": 300, "ReplicationRetinaNet": 300},
            "overrides": {"all": SHARED, "GeneralizedRCNN": RCNN, "ReplicationRetinaNet": RETINANET},
            "checkpoint_every": 1000,
            "tables": ["libra-T1"],
        }
    )
    job = Run(load_catalog().variants[name], protocol, 0, tmp_path / "results")
    train(job)
    ap = evaluate(detect(job), truth)["metrics"]["AP"]
    last = json.loads((job.folder / "curves.jsonl").read_text().splitlines()[-1])
    assert last["iou"] > 0.85
    print(f"{name}: AP {ap:.1f} by heart")
    assert ap > 80
