"""What probes count, against the models' own functions, on the smoke images with weights as a training starts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

from replication.catalog import load_catalog
from replication.datasets import load_split
from replication.inference.mechanisms import probes
from replication.results.run import Run
from replication.training.augmentation import training_mapper
from replication.training.config import run_config
from replication.training.data import training_records
from replication.training.devices import on_device

VARIANTS = load_catalog().variants


def looked(
    job: Run, name: str, **keys: Any
) -> tuple[Any, list[dict[str, Any]], dict[str, dict[str, dict[str, float]]]]:
    """The model, four mapped images, and the values of each measure by its id."""
    cfg = on_device(run_config(VARIANTS[name], job.protocol, 0, 10, job.folder), torch.device("cpu"))
    cfg.defrost()
    cfg.merge_from_list([part for pair in keys.items() for part in pair])
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    mapper = training_mapper(cfg)
    items = [mapper(record) for record in training_records(load_split(job.protocol, "train").records)[:4]]
    found = probes(model, cfg, job.protocol.area_ranges)
    with torch.no_grad(), EventStorage():
        for item in items:
            for probe in found:
                probe.look(item)
    return model, items, {one["id"]: one["values"] for probe in found for one in probe.measures()}


def test_rois_spread_over_the_levels_with_the_canonical_size(job: Run) -> None:
    _, _, plain = looked(job, "faster_rcnn_R50_giou")
    model, _, small = looked(job, "faster_rcnn_R50_giou", **{"MODEL.ROI_HEADS.CANONICAL_BOX_SIZE": 14})
    assert plain["roi_levels"]["training samples"]["P2"] > 99
    assert small["roi_levels"]["training samples"]["P2"] < plain["roi_levels"]["training samples"]["P2"]
    for line in small["roi_levels"].values():
        assert sum(line.values()) == pytest.approx(100, abs=0.05)
    assert set(small["negatives"]) == {"offered", "random", "IoU-balanced"}
    candidates = small["candidates"]["candidates"]
    assert 0 < candidates["negative"] <= candidates["all"]
    rpn = model.proposal_generator
    cfg = job.protocol.overrides["GeneralizedRCNN"]
    assert rpn.post_nms_topk[False] == cfg["MODEL.RPN.POST_NMS_TOPK_TEST"], "the model is left as it was"


def test_positive_anchors_are_those_that_the_model_is_trained_on(job: Run) -> None:
    model, items, found = looked(job, "retinanet_R50")
    total = 0
    for item in items:
        with torch.no_grad():
            features = model.backbone(model.preprocess_image([item]).tensor)
            anchors = model.anchor_generator([features[name] for name in model.head_in_features])
        labels, _ = model.label_anchors(anchors, [item["instances"]])
        total += int(((labels[0] >= 0) & (labels[0] != model.num_classes)).sum())
    objects = sum(len(item["instances"]) for item in items)
    means = found["per_object"]["positive anchors"]
    assert min(means.values()) <= total / objects <= max(means.values())
    assert "levels" not in found


def test_a_rule_agrees_with_itself_and_has_cells(job: Run) -> None:
    _, _, found = looked(job, "fsaf_R50_heuristic")
    assert found["levels"] == found["levels_by_rule"]
    assert found["agreement"] == {"chosen as by rule": {"same": 100.0}}
    assert min(found["per_object"]["effective cells"].values()) >= 1
    assert "anchor_levels" not in found


@pytest.mark.parametrize(("start", "ratio"), [("identity", 0.0), ("released", None)])
def test_residual_of_the_refinement(job: Run, start: str, ratio: float | None) -> None:
    _, _, found = looked(job, "libra_rcnn_R50", **{"MODEL.BALANCED_PYRAMID.INIT": start})
    value = found["pyramid_residual"]["refinement"]["ratio"]
    assert value == ratio if ratio is not None else value > 0.1
    assert set(found["pyramid_rms"]) == {"in", "out"}
    assert found["pyramid_rms"]["in"] != found["pyramid_rms"]["out"]


def test_an_rpn_alone_has_nothing_to_measure(job: Run) -> None:
    assert looked(job, "rpn_R50")[2] == {}
