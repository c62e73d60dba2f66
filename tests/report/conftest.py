"""A small catalog and synthetic runs, for the tests of this room."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from replication.catalog import Catalog, Paper, Protocol, Variant
from replication.results.files import write_json

COLUMNS = [
    {"id": "AP", "head": "AP", "metric": "AP", "criterion": "iou"},
    {"id": "AP_giou", "head": "AP (GIoU)", "metric": "AP", "criterion": "giou"},
    {"id": "AP75", "head": "AP75", "metric": "AP75", "criterion": "iou"},
]
SOURCE = {"source": ["the paper"], "seen_via": ["primary"], "benchmark": "coco"}


def row(name, label, variant, baseline, numbers, backbone="R-50", columns=COLUMNS, **more):
    return {
        "id": name, "label": label, "backbone": backbone, "variant": variant, "baseline": baseline,
        "published": dict(zip((column["id"] for column in columns), numbers, strict=True)),
    } | more  # fmt: skip


PAPER = {
    "id": "giou",
    "title": "Box losses & <such>",
    "arxiv": "1902.09630",
    "venue": "CVPR 2019",
    "tables": [
        {
            "id": "giou-T5", "caption": "Faster R-CNN with 3 losses, 50% & more_or_less", "dataset": "MS COCO 2018",
            "split": "val", "unit": "fraction", "criterion": "AP over thresholds .50:.05:.95", "columns": COLUMNS,
            "backbone": "ResNet-50-FPN", "note": "printed <twice> & differently",
            "rows": [
                row("smooth_l1", "smooth L1", "base", None, [0.360, 0.351, 0.390]),
                row("iou", "IoU", "iou", "smooth_l1", [0.368, 0.358, 0.396]),
                row("giou", "GIoU", "giou", "smooth_l1", [0.369, 0.360, 0.388]),
                row("later", "later | idea", "not_built", "smooth_l1", [0.4, None, 0.4]),
                row("other", "Other et al.", None, None, [0.3, None, None], cited=True),
            ],
        } | SOURCE,
        {
            "id": "libra-T1", "caption": "Comparison", "dataset": "MS COCO", "split": "test-dev", "test_server": True,
            "unit": "percent", "criterion": "IoU",
            "columns": [COLUMNS[0], {"id": "ms", "head": "ms", "metric": "ms_per_image", "criterion": None,
                                     "unit": "ms"}],
            "rows": [
                row("base", "Faster R-CNN", "base", None, [36.2, 131], columns=[COLUMNS[0], {"id": "ms"}]),
                row("x", "Faster R-CNN", "big", "base", [41.9, 138], "X-101-64x4d", [COLUMNS[0], {"id": "ms"}]),
            ],
        } | SOURCE,
    ],
    "claims": [
        {"id": "giou-T5/giou", "table": "giou-T5", "baseline": "smooth_l1", "row": "giou", "column": "AP75",
         "gain": -0.002, "primary": True},
    ],
    "deviations": [
        {"id": "beta", "paper_says": "smooth L1 <b>", "code_does": "beta 1", "we_do": "beta 1", "reason": "the code",
         "source": "repository", "variants": ["base"]},
    ],
}  # fmt: skip
OVERRIDES = {"all": {"INPUT.MIN_SIZE_TRAIN": [192]}, "GeneralizedRCNN": {"MODEL.FPN.OUT_CHANNELS": 64},
             "ReplicationRetinaNet": {"MODEL.RETINANET.NUM_CONVS": 2}}  # fmt: skip


@pytest.fixture
def catalog() -> Catalog:
    variants = {
        name: Variant(
            name=name, path=Path(f"{name}.yaml"), backbone="R-50", meta_architecture="GeneralizedRCNN",
            iterations=90000, masks=False,
        )
        for name in ("base", "iou", "giou", "big")
    }  # fmt: skip
    return Catalog(papers={"giou": Paper.model_validate(PAPER)}, variants=variants)


def make_protocol(**changes) -> Protocol:
    return Protocol.model_validate(
        {
            "name": "mini", "title": "digits on two cores", "note": "RoIs are few.",
            "data": {"kind": "embedded", "seed": 5, "train": 400, "val": 100, "size": [128, 192]},
            "backbones": {"R-50": "EfficientNet-Lite0"}, "batch": 8, "overrides": OVERRIDES,
            "iterations": {"GeneralizedRCNN": 300}, "seeds": 2, "tables": ["giou-T5", "libra-T1"],
            "checkpoint_every": 100,
        } | changes
    )  # fmt: skip


@pytest.fixture
def protocol() -> Protocol:
    return make_protocol()


@pytest.fixture
def coco_protocol() -> Protocol:
    """A protocol at published scale."""
    data = {
        "kind": "coco",
        "train": {"annotations": "coco/annotations/instances_train2017.json", "images": "coco/train2017"},
        "val": {"annotations": "coco/annotations/instances_val2017.json", "images": "coco/val2017"},
    }
    return make_protocol(
        name="paper", title="the papers' own", note="", benchmark="coco", data=data, backbones={}, batch=16,
        overrides={}, iterations=None,
    )  # fmt: skip


METRIC_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl")


@pytest.fixture
def results(tmp_path) -> Path:
    return tmp_path / "results"


@pytest.fixture
def add_run(results):
    """Writes one finished run; AP is given, the other metrics follow from it."""

    def add(variant, seed=0, ap=40.0, protocol="mini", curve=True, metrics=None, provenance=None, **document):
        folder = results / protocol / "runs" / variant / f"seed{seed}"
        values = dict(zip(METRIC_NAMES, (ap, ap + 20, ap + 2, ap / 2, ap, ap + 10), strict=True))
        values |= {"AR1": ap / 2, "AR10": ap + 10, "AR100": ap + 10} | (metrics or {})
        by_giou = {key: None if value is None else max(0, value - 1) for key, value in values.items()}
        body = {
            "variant": variant, "protocol": protocol, "seed": seed, "metrics": values, "giou_metrics": by_giou,
            "mask_metrics": None,
            "per_class": {}, "images": 100, "objects": 300, "area_ranges": {"small": [0, 1024]},
            "evaluator": "replication 0.1.0",
        }  # fmt: skip
        write_json(folder / "metrics.json", "metrics/1", body | document)
        made_by = {
            "commit": "0123456789abcdef", "dirty": False, "config_hash": f"c-{variant}", "data_hash": "d",
            "fingerprint": "f" * 64, "packages": {"torch": "2.11.0", "detectron2": "0.6"}, "python": "3.11.9",
            "device": {"type": "cpu", "name": "cpu"}, "cpu": "a processor (2 cores)", "threads": 1, "seed": seed,
            "resumed_at": [], "seconds": 200.0 + seed, "s_per_iter": 0.66, "started": "2026-01-01T00:00:00+00:00",
            "finished": "2026-01-01T00:03:20+00:00", "iterations": 300, "batch": 8, "lr": 0.01,
        }  # fmt: skip
        write_json(folder / "provenance.json", "provenance/1", made_by | (provenance or {}))
        if curve:
            (folder / "curves.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in curve_lines(seed, ap)))
        return folder

    return add


def curve_lines(seed: int, ap: float):
    for iteration in range(10, 301, 10):
        wave = 0.05 * math.sin(iteration + seed)
        yield {
            "iteration": iteration, "total_loss": 3 * math.exp(-iteration / 100) + wave, "lr": 0.01,
            "loss_cls": 2 * math.exp(-iteration / 100) + wave, "loss_box_reg": 0.4 + wave / 5,
            "iou": ap / 60 * (1 - math.exp(-iteration / 80)) + wave / 5, "s_per_iter": 0.66,
        }  # fmt: skip
