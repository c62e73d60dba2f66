"""``mechanism.json``: how a trained detector exercises what the papers' claims rest on, on training images."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.utils.events import EventStorage

from replication.catalog import AreaRanges
from replication.datasets import load_split
from replication.inference.mechanisms.dense import Dense
from replication.inference.mechanisms.pyramid import Pyramid
from replication.inference.mechanisms.tally import Probe
from replication.inference.mechanisms.two_stage import TwoStage
from replication.results.run import Run
from replication.results.schemas import Mechanism, write
from replication.training.augmentation import training_mapper
from replication.training.config import mask_format
from replication.training.data import MappedRecords, training_records
from replication.training.identity import proposals_of

IMAGES = 100  # enough for shares within a few percent, in seconds


def write_mechanism(run: Run, model: Any, cfg: CfgNode) -> None:
    """Look at the first training images as the trained model does in a training step, and write ``mechanism.json``.

    The model is left as it was. Nothing is written for one that no measure is for.
    """
    found = probes(model, cfg, run.protocol.area_ranges)
    if not found:
        return
    split = load_split(run.protocol, "train")
    records = training_records(split.records)[:IMAGES]
    cfg = cfg.clone()
    cfg.defrost()
    cfg.INPUT.MASK_FORMAT = mask_format(records, run.variant)
    mapped = MappedRecords(records, training_mapper(cfg), run.seed, proposals_of(run, "train", records))
    with torch.no_grad(), EventStorage():
        for position in range(len(records)):
            item = mapped[position, position]
            if isinstance(item, Exception):
                raise item
            torch.manual_seed(run.seed * IMAGES + position)
            for probe in found:
                probe.look(item)
    measures = [measure for probe in found for measure in probe.measures()]
    write(run.files.mechanism, Mechanism, {"images": len(records), "measures": measures})


def probes(model: Any, cfg: CfgNode, areas: AreaRanges) -> list[Probe]:
    """What there is to measure in a model."""
    kinds = (Pyramid, TwoStage, Dense)
    return [probe for kind in kinds if (probe := kind.of(model, cfg, areas)) is not None]
