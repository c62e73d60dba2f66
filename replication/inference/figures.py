"""What Libra R-CNN's figures 3 and 5 show, computed from a trained run and from the loss itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetMapper
from detectron2.structures import pairwise_iou
from fvcore.nn import smooth_l1_loss
from torch import Tensor

from replication.catalog import Protocol
from replication.datasets import load_split
from replication.detectors.libra.sampling import choose_balanced, iou_bins
from replication.detectors.losses import balanced_l1_loss
from replication.errors import ConfigError
from replication.inference.model import trained_model
from replication.results.files import write_json
from replication.training.config import run_config
from replication.training.data import MappedRecords, training_records
from replication.training.devices import devices
from replication.training.run import Job, on_device

SCHEMA = "figure/1"
IMAGES = 200  # of the training split, enough for shares within a percent
BINS = 10  # of the histograms, over [0, foreground threshold): 0.05 wide in all papers' detectors
SAMPLER_BINS = 3  # K of the IoU-balanced sampler
CURVES = ((0.2, 1.0), (0.3, 1.0), (0.5, 1.0), (1.0, 1.0))  # alpha and gamma of figure 5


def write_sampling(job: Job) -> Path:
    """Write figure 3's data, ``results/<protocol>/figures/libra_sampling.json``, from a trained detector.

    Raises ConfigError when the variant has no second stage, ResultError when it is not trained.
    """
    if job.variant.meta_architecture != "GeneralizedRCNN" or job.variant.proposals_from:
        raise ConfigError(f"--variant {job.variant.name}: figure 3 needs a detector with an RPN and a second stage")
    job.check_trained()
    return _write(job.results, job.protocol, "libra_sampling", sampling(job))


def write_balanced_l1(results: Path, protocol: Protocol) -> Path:
    """Write figure 5's data, ``results/<protocol>/figures/libra_balanced_l1.json``; no run is needed for it."""
    return _write(results, protocol, "libra_balanced_l1", balanced_l1())


def _write(results: Path, protocol: Protocol, name: str, content: dict[str, Any]) -> Path:
    path = results / protocol.name / "figures" / f"{name}.json"
    write_json(path, SCHEMA, content)
    return path


def sampling(job: Job) -> dict[str, Any]:
    """Histograms of the IoU of negatives among a trained detector's proposals on its training images (figure 3).

    ``candidates``: all of them. ``random`` and ``iou_balanced``: as many as a training step takes, drawn either way.
    ``hard``: as many again, those with the highest classification loss under the trained head.
    """
    split = load_split(job.protocol, "train")
    records = training_records(split.records)[:IMAGES]
    cfg = run_config(job.variant, job.protocol, job.seed, len(split.classes), job.folder)
    below = float(cfg.MODEL.ROI_HEADS.IOU_THRESHOLDS[0])
    counts: dict[str, Counter[int]] = {}
    with devices(job.protocol.device) as taken, torch.no_grad():
        cfg = on_device(cfg, taken[0])
        model = trained_model(job, cfg)
        rpn = model.proposal_generator
        rpn.pre_nms_topk[False], rpn.post_nms_topk[False] = rpn.pre_nms_topk[True], rpn.post_nms_topk[True]
        mapped = MappedRecords(records, DatasetMapper(cfg, is_train=True), job.seed)
        for position in range(len(records)):
            item = mapped[position, position]
            if isinstance(item, Exception):
                raise item
            torch.manual_seed(job.seed * IMAGES + position)
            for name, overlaps in _negatives(model, item, below).items():
                counts.setdefault(name, Counter()).update(iou_bins(overlaps, below, BINS).tolist())
    return {
        "variant": job.variant.name,
        "seed": job.seed,
        "images": len(records),
        "edges": np.linspace(0, below, BINS + 1).round(4).tolist(),
        "counts": {name: [found[k] for k in range(BINS)] for name, found in counts.items()},
        **job.identity(),
    }


def _negatives(model: Any, item: dict[str, Any], below: float) -> dict[str, Tensor]:
    """IoU of the negatives of one image: all, and those that each way of sampling takes."""
    images = model.preprocess_image([item])
    features = model.backbone(images.tensor)
    proposals = model.proposal_generator(images, features, None)[0][0]
    overlaps = pairwise_iou(item["instances"].gt_boxes.to(model.device), proposals.proposal_boxes).max(dim=0).values
    heads = model.roi_heads
    pooled = heads.box_pooler([features[name] for name in heads.box_in_features], [proposals.proposal_boxes])
    scores, _ = heads.box_predictor(heads.box_head(pooled))
    loss = -scores.log_softmax(dim=1)[:, -1]
    negative = overlaps < below
    objects = len(item["instances"])  # ground truth is added to the proposals, and is positive
    positives = min(int((~negative).sum()) + objects, int(heads.batch_size_per_image * heads.positive_fraction))
    overlaps, loss = overlaps[negative], loss[negative]
    wanted = min(heads.batch_size_per_image - positives, len(overlaps))
    at_random = torch.randperm(len(overlaps), device=overlaps.device)[:wanted]
    balanced = choose_balanced(iou_bins(overlaps, below, SAMPLER_BINS), wanted // SAMPLER_BINS, wanted)
    hard = loss.argsort(descending=True)[:wanted]
    chosen = {"random": at_random, "iou_balanced": balanced, "hard": hard}
    return {"candidates": overlaps} | {name: overlaps[index] for name, index in chosen.items()}


def balanced_l1() -> dict[str, Any]:
    """Loss and gradient over the regression error of smooth L1 and of balanced L1, by autograd (figure 5)."""
    error = torch.linspace(0, 2, 201, dtype=torch.float64)
    lines = [{"label": "smooth L1", **_line(error, lambda x: smooth_l1_loss(x, torch.zeros_like(x), 1.0))}]
    for alpha, gamma in CURVES:

        def loss(x: Tensor, alpha: float = alpha, gamma: float = gamma) -> Tensor:
            return balanced_l1_loss(x, torch.zeros_like(x), alpha, gamma)

        lines.append({"label": f"balanced L1, \u03b1 = {alpha:g}, \u03b3 = {gamma:g}", **_line(error, loss)})
    return {"error": error.tolist(), "lines": lines}


def _line(error: Tensor, loss: Any) -> dict[str, list[float]]:
    x = error.clone().requires_grad_()
    values = loss(x)
    (gradient,) = torch.autograd.grad(values.sum(), x)
    return {"loss": values.tolist(), "gradient": gradient.tolist()}
