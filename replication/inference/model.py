"""A trained run's model and its outputs, image by image; what detections and proposals are made from."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import Instances

from replication.datasets import Split
from replication.detectors.multi_scale import DenseDetectorWithTTA
from replication.results.run import Run
from replication.training.curves import say
from replication.training.data import val_loader
from replication.training.devices import out_of_memory, prepare_process
from replication.training.identity import proposals_of, trained_weights
from replication.training.precision import products

SECONDS_BETWEEN_LINES = 15.0
MEMORY_ADVICE = (
    "lower INPUT.MIN_SIZE_TEST and INPUT.MAX_SIZE_TEST in the protocol's overrides, wait until nothing else uses the "
    "device, or use one with more memory"
)


def trained_model(run: Run, cfg: CfgNode) -> Any:
    """The finished model of a run, for inference, in the memory layout that it was trained in.

    A test-time variant's has the weights of its source's run.
    """
    prepare_process(run.protocol)
    model = build_model(cfg).eval().to(memory_format=torch.channels_last)
    model.load_state_dict(trained_weights(run, cfg.MODEL.DEVICE))
    return model


def outputs(run: Run, model: Any, cfg: CfgNode, split: Split, what: str) -> Iterator[tuple[int, dict[str, Instances]]]:
    """Image id and the model's output for every image of a split, one at a time.

    A line now and then says ``what`` is done.
    """
    predictor = DenseDetectorWithTTA(cfg, model) if cfg.TEST.AUG.ENABLED else model
    started = last = time.perf_counter()
    loader = val_loader(cfg, split.records, proposals_of(run, split.name, split.records))
    rounded = cfg.SOLVER.PRECISION == "tf32"
    with torch.no_grad(), out_of_memory(MEMORY_ADVICE), products(rounded):
        for done, batch in enumerate(loader, 1):
            yield batch[0]["image_id"], predictor(batch)[0]
            now = time.perf_counter()
            if now - last > SECONDS_BETWEEN_LINES or done == len(split.records):
                last = now
                left = (now - started) / done * (len(split.records) - done)
                say(f"{run.label}: {what} {done}/{len(split.records)} images, {left:.0f} s left")
