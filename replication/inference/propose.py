"""Writing fixed proposals: a trained RPN run over both splits, once a protocol (``replication.training.proposals``)."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch

from replication.datasets import Split, load_split
from replication.errors import ConfigError, ReplicationError
from replication.formats.splits import SPLITS, SplitName
from replication.inference.model import outputs, trained_model
from replication.results.files import sha256_file, write_json
from replication.training.config import run_config
from replication.training.devices import devices
from replication.training.proposals import SCHEMA, proposals_path
from replication.training.run import Job, on_device


def propose(job: Job) -> list[Path]:
    """Run a trained RPN over both splits, without augmentation; returns the paths of the two ``<split>.json``.

    Training images get at most MODEL.RPN.POST_NMS_TOPK_TRAIN proposals, validation images POST_NMS_TOPK_TEST.
    Raises ConfigError when the variant is no RPN, ResultError when it is not trained.
    """
    if not job.variant.class_agnostic:
        raise ConfigError(f"--variant {job.variant.name}: is no RPN alone; choose one, for example rpn_R50")
    job.check_trained()
    with devices(job.protocol.device) as taken:
        return [_write(job, load_split(job.protocol, name), name, taken[0]) for name in SPLITS]


def _write(job: Job, split: Split, name: SplitName, on: torch.device) -> Path:
    cfg = on_device(run_config(job.variant, job.protocol, job.seed, len(split.classes), job.folder), on)
    model = trained_model(job, cfg)
    rpn: Any = model.proposal_generator
    if name == "train":  # Detectron2 keeps both limits by whether the model is in training, which this one is not
        rpn.pre_nms_topk[False], rpn.post_nms_topk[False] = rpn.pre_nms_topk[True], rpn.post_nms_topk[True]
    path = proposals_path(job.results, job.protocol.name, job.variant.name, name)
    counts = []
    with _whole_or_not(path.with_suffix(".f32")) as file:
        for _, output in outputs(job, model, cfg, split, f"{name} proposals of"):
            found = output["proposals"].to("cpu")
            rows = torch.cat([found.proposal_boxes.tensor, found.objectness_logits[:, None]], dim=1)
            file.write(rows.numpy().astype("<f4").tobytes())
            counts.append(len(rows))
    content = {
        "variant": job.variant.name,
        "protocol": job.protocol.name,
        "seed": job.seed,
        "split": name,
        "at_most": rpn.post_nms_topk[False],
        **job.identity(),
        "sha256": sha256_file(path.with_suffix(".f32")),
        "image_ids": [record["image_id"] for record in split.records],
        "counts": counts,
    }
    write_json(path, SCHEMA, content)
    return path


@contextlib.contextmanager
def _whole_or_not(path: Path) -> Iterator[BinaryIO]:
    """A binary file that appears under its name when all of it has been written."""
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise ReplicationError(
            f"{path}: cannot write: {error.strerror or error}. "
            "Free disk space or choose a writable folder, then run again."
        ) from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
