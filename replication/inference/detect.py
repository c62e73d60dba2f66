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
from replication.inference.model import outputs, trained_model
from replication.results.files import check_writable, read_json, write_json, write_text
from replication.results.fingerprint import settings_fingerprint
from replication.training.config import config_hash, run_config
from replication.training.devices import devices
from replication.training.run import Job, on_device


def detect(job: Job) -> Path:
    """Run ``model_final.pth`` on every validation image, one at a time; returns the path of ``detections.json``.

    Boxes are XYWH in pixels of the original image, scores in (0, 1], category ids those of ``ground_truth.json``.
    With TEST.AUG.ENABLED every image is looked at in all sizes of TEST.AUG. A model that selects levels online
    leaves ``levels.json`` too. Proposals of an RPN alone have their logit for a score and, having no class, the first
    category. A test-time variant detects with its source's weights and gets a ``provenance.json``: that of the weights,
    under its own name and config, with the source's name in ``weights_from`` and its own ``settings_fingerprint``.
    Raises ResultError when the run is not trained.
    """
    job.check_trained()
    check_writable(job.folder)
    split = load_split(job.protocol, "val")
    cfg = run_config(job.variant, job.protocol, job.seed, len(split.classes), job.folder)
    with devices(job.protocol.device) as taken:
        found = _detect_all(job, on_device(cfg, taken[0]), split)
    path = job.folder / "detections.json"
    write_text(path, json.dumps(found, allow_nan=False, separators=(",", ":")) + "\n")
    if job.variant.weights_from:
        _take_over_provenance(job, cfg)
    return path


def _take_over_provenance(job: Job, cfg: CfgNode) -> None:
    made = read_json(job.trained.folder / "provenance.json", "provenance/1")
    whose = {
        "variant": job.variant.name,
        "config_hash": config_hash(cfg),
        "weights_from": job.variant.weights_from,
        "settings_fingerprint": settings_fingerprint(job.variant),
    }
    write_json(job.folder / "provenance.json", "provenance/1", made | whose)


def _detect_all(job: Job, cfg: CfgNode, split: Split) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    model = trained_model(job, cfg)
    for image_id, output in outputs(job, model, cfg, split, "detected on"):
        if job.variant.class_agnostic:
            found += detections(as_detections(output["proposals"].to("cpu")), image_id, split.category_ids)
        else:
            found += detections(output["instances"].to("cpu"), image_id, split.category_ids)
    if selects_online(model) and not job.variant.weights_from:  # the same weights, the same levels
        write_levels(model, cfg, split.records, job.folder / "levels.json")
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
