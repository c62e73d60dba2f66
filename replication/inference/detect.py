"""Inference of a trained run on the validation split: ``detections.json`` in COCO's result format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import Instances
from pycocotools import mask as rle

from replication.datasets import Split, load_split
from replication.inference.levels import selects_online, write_levels
from replication.inference.mechanisms import write_mechanism
from replication.inference.model import outputs, trained_model
from replication.results.files import check_writable, load_json, write_text
from replication.results.fingerprint import settings_fingerprint
from replication.results.run import Run
from replication.results.schemas import Provenance, write
from replication.training.config import config_hash, run_config
from replication.training.devices import devices, on_device
from replication.training.identity import check_trained


def detect(run: Run) -> Path:
    """Run ``model_final.pth`` on every validation image, one at a time; returns the path of ``detections.json``.

    Boxes are XYWH in pixels of the original image, scores in (0, 1], category ids those of ``ground_truth.json``.
    With TEST.AUG.ENABLED every image is looked at in all sizes of TEST.AUG. A model that selects levels online
    leaves ``levels.json`` too, and one whose mechanisms can be measured ``mechanism.json``.
    Proposals of an RPN alone have their logit for a score and, having no class, the first
    category. A test-time variant detects with its source's weights and gets a ``provenance.json``: that of the weights,
    under its own name and config, with the source's name in ``weights_from`` and its own ``settings_fingerprint``.
    Raises ResultError when the run is not trained.
    """
    check_trained(run)
    check_writable(run.folder)
    split = load_split(run.protocol, "val")
    cfg = run_config(run.variant, run.protocol, run.seed, len(split.classes), run.folder, features=run.layout.features)
    with devices(run.protocol.device) as taken:
        found = _detect_all(run, on_device(cfg, taken[0]), split)
    path = run.files.detections
    write_text(path, json.dumps(found, allow_nan=False, separators=(",", ":")) + "\n")
    if run.variant.weights_from:
        _take_over_provenance(run, cfg)
    return path


def _take_over_provenance(run: Run, cfg: CfgNode) -> None:
    made = load_json(run.trained.files.provenance)
    whose = {
        "variant": run.variant.name,
        "config_hash": config_hash(cfg),
        "weights_from": run.variant.weights_from,
        "settings_fingerprint": settings_fingerprint(run.variant),
    }
    write(run.files.provenance, Provenance, made | whose)


def _detect_all(run: Run, cfg: CfgNode, split: Split) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    model = trained_model(run, cfg)
    for image_id, output in outputs(run, model, cfg, split, "detected on"):
        if run.variant.class_agnostic:
            found += detections(as_detections(output["proposals"].to("cpu")), image_id, split.category_ids)
        else:
            found += detections(output["instances"].to("cpu"), image_id, split.category_ids)
    if selects_online(model) and not run.variant.weights_from:  # the same weights, the same levels
        write_levels(model, cfg, split.records, run.files.levels)
    if not run.variant.weights_from:
        write_mechanism(run, model, cfg)
    return found


def as_detections(proposals: Instances) -> Instances:
    """Proposals in the fields of detections: the logit as score, class 0."""
    return Instances(
        proposals.image_size,
        pred_boxes=proposals.proposal_boxes,
        scores=proposals.objectness_logits,
        pred_classes=torch.zeros(len(proposals), dtype=torch.long),
    )


def detections(instances: Instances, image_id: int, category_ids: tuple[int, ...]) -> list[dict[str, Any]]:
    """COCO result records of one image's predictions (boxes XYXY -> XYWH, masks (N, H, W) -> RLE)."""
    boxes = instances.pred_boxes.tensor.double().numpy()
    boxes[:, 2:] -= boxes[:, :2]
    records = [
        {"image_id": image_id, "category_id": category_ids[label], "bbox": box, "score": score}
        for box, score, label in zip(
            boxes.tolist(), instances.scores.double().tolist(), instances.pred_classes.tolist(), strict=True
        )
    ]
    if instances.has("pred_masks"):
        masks = np.asfortranarray(instances.pred_masks.numpy().astype(np.uint8).transpose(1, 2, 0))
        for record, encoded in zip(records, rle.encode(masks), strict=True):
            record["segmentation"] = {"size": encoded["size"], "counts": encoded["counts"].decode("ascii")}
    return records
