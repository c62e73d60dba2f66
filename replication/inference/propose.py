"""Writing fixed proposals: a trained RPN run over both splits, once a protocol (``replication.training.proposals``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from replication.datasets import Split, load_split
from replication.errors import ConfigError
from replication.formats.splits import SPLITS, SplitName
from replication.inference.model import outputs, trained_model
from replication.results.files import check_writable, replacing, sha256_file
from replication.results.run import Run
from replication.results.schemas import Proposals, write
from replication.training.config import run_config
from replication.training.devices import devices, on_device
from replication.training.identity import check_trained, identity


def propose(run: Run) -> list[Path]:
    """Run a trained RPN over both splits, without augmentation; returns the paths of the two ``<split>.json``.

    Training images get at most MODEL.RPN.POST_NMS_TOPK_TRAIN proposals, validation images POST_NMS_TOPK_TEST.
    Raises ConfigError when the variant is no RPN, ResultError when it is not trained.
    """
    if not run.variant.class_agnostic:
        raise ConfigError(f"--variant {run.variant.name}: is not an RPN alone; choose one, for example rpn_R50")
    check_trained(run)
    check_writable(run.layout.proposals(run.variant.name, "val").manifest.parent)
    with devices(run.protocol.device) as taken:
        return [_write(run, load_split(run.protocol, name), name, taken[0]) for name in SPLITS]


def _write(run: Run, split: Split, name: SplitName, on: torch.device) -> Path:
    cfg = run_config(run.variant, run.protocol, run.seed, len(split.classes), run.folder, features=run.layout.features)
    cfg = on_device(cfg, on)
    model = trained_model(run, cfg)
    rpn: Any = model.proposal_generator
    if name == "train":  # Detectron2 keeps both limits by whether the model is in training, which this one is not
        rpn.pre_nms_topk[False], rpn.post_nms_topk[False] = rpn.pre_nms_topk[True], rpn.post_nms_topk[True]
    files = run.layout.proposals(run.variant.name, name)
    counts = []
    with replacing(files.rows) as file:
        for _, output in outputs(run, model, cfg, split, f"{name} proposals of"):
            found = output["proposals"].to("cpu")
            rows = torch.cat([found.proposal_boxes.tensor, found.objectness_logits[:, None]], dim=1)
            file.write(rows.numpy().astype("<f4").tobytes())
            counts.append(len(rows))
    content = {
        "variant": run.variant.name,
        "protocol": run.protocol.name,
        "seed": run.seed,
        "split": name,
        "at_most": rpn.post_nms_topk[False],
        **identity(run),
        "sha256": sha256_file(files.rows),
        "image_ids": [record["image_id"] for record in split.records],
        "counts": counts,
    }
    write(files.manifest, Proposals, content)
    return files.manifest
