"""A paper of the user's own to start from: three commented files that load and run as they are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from replication.catalog.folders import KINDS, config_folders
from replication.catalog.load import load_catalog
from replication.catalog.schema import paper_schema, protocol_schema, variant_schema
from replication.errors import ConfigError

SCHEMAS = {"paper": paper_schema, "variant": variant_schema, "protocol": protocol_schema}
"""The schemas that lie beside the files, for editors."""

PAPER = """\
# yaml-language-server: $schema=../schemas/paper.json
# A paper: its tables as printed, its claims, and where you knowingly differ from it. See docs/extending.md.
id: {name}  # also the name of this file
title: "Title of the paper"
arxiv: "0000.00000"
venue: where and when

tables:
  - id: {name}-T1  # unique among all papers
    caption: what the table compares
    dataset: MS COCO 2017  # as the paper says it
    benchmark: coco  # or voc2007: decides how AP is computed
    split: val2017
    unit: percent  # of the printed numbers; fraction where it prints 0.375
    criterion: mean AP over IoU thresholds .50:.05:.95
    backbone: ResNet-50-FPN
    schedule: 1x
    source: [where the numbers were read]
    seen_via: [primary]  # the paper itself; else repo, or copy
    columns:
      - {{id: AP, head: AP, metric: AP, criterion: iou}}
      - {{id: AP75, head: AP75, metric: AP75, criterion: iou}}
    baseline: baseline  # the row that the others are compared with
    rows:
      # `published` holds the printed numbers, null where there is none. `variant` is a file in variants/, yours or one
      # that is built in: `replication catalog` lists them.
      - id: baseline
        label: Baseline
        backbone: R-50
        variant: faster_rcnn_R50_giou
        published: {{AP: null, AP75: null}}
      - id: ours
        label: Ours
        backbone: R-50
        variant: {name}_R50
        published: {{AP: null, AP75: null}}

# A gain that the paper states, once both rows have their number: `gain` is what the two give. Exactly one column of two
# rows is primary.
claims: []
#  - {{id: {name}-T1-ours-AP, table: {name}-T1, row: ours, baseline: baseline, column: AP, gain: 1.2, primary: true}}

deviations: []
#  - id: {name}-schedule
#    paper_says: 12 epochs
#    code_does: 90,000 iterations
#    we_do: 90,000 iterations
#    reason: that is what gave the published numbers
#    source: file and line
#    variants: [{name}_R50]
"""

VARIANT = """\
# yaml-language-server: $schema=../schemas/variant.json
# A detector: what differs from the file that it starts from, here a built-in one. Keys are those of Detectron2, and of
# the built-in variants.
_BASE_: faster_rcnn_R50_giou.yaml
MODEL:
  ROI_BOX_HEAD:
    BBOX_REG_LOSS_WEIGHT: 12.0  # an example: put what your method changes here
    # A loss of your own: a file losses/mine.py that has
    #   @box_reg_loss("mine", on="boxes")
    #   def mine(pred, target, reduction="none"): ...
    # BBOX_REG_LOSS_TYPE: mine
# A detector of another framework is a command in place of all of the above:
# run: python train.py --seed {{seed}} --data {{train_annotations}} {{train_images}} --out {{detections}}
# code: [train.py]
# backbone: R-50
"""

PROTOCOL = """\
# yaml-language-server: $schema=../schemas/protocol.json
# The scale at which the variants are run: minutes on a CPU, on generated scenes. See docs/protocols.md.
name: {name}  # also the name of this file, and of the folder of results
title: generated scenes, EfficientNet-Lite backbones, images of 128 px
data:
  kind: embedded
  seed: 0
  train: 200
  val: 100
  size: [96, 128]
# Data of your own; relative paths are under $DETECTRON2_DATASETS. kind: voc and kind: yolo are read, too.
# data:
#   kind: coco
#   train: {{annotations: mine/train.json, images: mine/train}}
#   val: {{annotations: mine/val.json, images: mine/val}}
area_ranges:  # in square pixels; without this, COCO's
  small: [0, 256]
  medium: [256, 1024]
  large: [1024, 1.0e+10]
backbones:  # what stands for the papers' backbones; leave it out on a GPU with ImageNet ResNets
  R-50: efficientnet_lite0
run_backbones: [R-50]
batch: 4
iterations:  # of the papers' 1x schedule
  GeneralizedRCNN: 200
  ReplicationRetinaNet: 200
seeds: 3
tables: [{name}-T1]
checkpoint_every: 50
overrides:
  all:
    INPUT.MIN_SIZE_TRAIN: [128]
    INPUT.MAX_SIZE_TRAIN: 160
    INPUT.MIN_SIZE_TEST: 128
    INPUT.MAX_SIZE_TEST: 160
    MODEL.FPN.OUT_CHANNELS: 64
    SOLVER.OPTIMIZER: adamw
    SOLVER.BASE_LR: 0.001
    SOLVER.WARMUP_ITERS: 20
  GeneralizedRCNN:
    MODEL.ANCHOR_GENERATOR.SIZES: [[8], [16], [32], [64], [128]]
    MODEL.RPN.BOUNDARY_THRESH: -1
    MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE: 64
    MODEL.ROI_BOX_HEAD.FC_DIM: 256
"""


def write_starter(name: str, folder: Path) -> list[Path]:
    """Write paper, variant and protocol ``name`` into ``folder``, with their schemas; returns the three paths.

    Raises ConfigError for a name that is no identifier or taken, before anything is written; no file of the user's is
    replaced.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ConfigError(f"{name!r}: expected small letters, digits and _, a letter first: it names files and folders")
    texts = {
        folder / "papers" / f"{name}.yaml": PAPER,
        folder / "variants" / f"{name}_R50.yaml": VARIANT,
        folder / "protocols" / f"{name}.yaml": PROTOCOL,
    }
    _check_new(name, folder, texts)
    for path, text in texts.items():
        _write(path, text.format(name=name))
    for kind, schema in SCHEMAS.items():
        _write(folder / "schemas" / f"{kind}.json", json.dumps(schema(), indent=1) + "\n")
    return list(texts)


def _check_new(name: str, folder: Path, texts: dict[Path, str]) -> None:
    for path in texts:
        if path.exists():
            raise ConfigError(f"{path}: exists and is not replaced; choose another name or folder")
    held = any(any((folder / kind).glob("*.yaml")) for kind in KINDS)
    catalog = load_catalog(*config_folders([folder] if held else []))
    taken: dict[str, Any] = {
        f"paper {name!r}": name in catalog.papers,
        f"protocol {name!r}": name in catalog.protocols,
        f"variant '{name}_R50'": f"{name}_R50" in catalog.variants,
        f"table '{name}-T1'": f"{name}-T1" in catalog.tables,
    }
    for what, there in taken.items():
        if there:
            raise ConfigError(f"{what}: there is one already; choose another name")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot write: {error.strerror}; choose another folder") from error
