"""Fixtures of the verdicts' tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.verdict_papers import PAPER, ROWS

from replication.catalog import Catalog, Judging, Paper, Protocol, Variant, load_judging
from replication.results.files import write_json
from replication.results.finished import FinishedRun
from replication.results.layout import Layout
from replication.results.schemas import Metrics, Provenance


@pytest.fixture
def rng():
    return np.random.default_rng(20191)


@pytest.fixture
def judging() -> Judging:
    return load_judging()


@pytest.fixture
def catalog() -> Catalog:
    variants = {
        name: Variant(
            name=name, path=Path(f"{name}.yaml"), backbone="R-50", meta_architecture="GeneralizedRCNN",
            iterations=90000, masks=False,
        )
        for name in ("base", *ROWS, "big")
    }  # fmt: skip
    return Catalog(papers={"boxes": Paper.model_validate(PAPER)}, variants=variants)


@pytest.fixture
def protocol() -> Protocol:
    """A small one: only directions are judged."""
    return make_protocol(
        name="tiny", data={"kind": "embedded", "seed": 5, "train": 40, "val": 20, "size": [64, 64]},
        backbones={"R-50": "efficientnet_lite0"}, iterations={"GeneralizedRCNN": 300}, run_backbones=["R-50"],
    )  # fmt: skip


@pytest.fixture
def paper_protocol() -> Protocol:
    """The paper's own scale: sizes are judged."""
    split = {"annotations": "a.json", "images": "a"}
    return make_protocol(name="own_scale", benchmark="coco", data={"kind": "coco", "train": split, "val": split})


def make_protocol(**changes) -> Protocol:
    return Protocol.model_validate(
        {"title": "t", "batch": 8, "seeds": 3, "tables": ["boxes-T1"], "checkpoint_every": 100} | changes
    )


@pytest.fixture
def results(tmp_path) -> Path:
    return tmp_path / "results"


@pytest.fixture
def add_run(results):
    """Writes one finished run as the pipeline does; AP75 is AP + 2, on 0-100."""

    def add(protocol, variant, seed, ap, **changes):
        folder = results / protocol.name / "runs" / variant / f"seed{seed}"
        values = {"AP": ap, "AP50": ap + 20, "AP75": ap + 2, "APs": ap / 2, "APm": ap, "APl": ap + 10}
        whose = {"variant": variant, "protocol": protocol.name, "seed": seed}
        body = {
            "metrics": values,
            "giou_metrics": values,
            "mask_metrics": None,
            "per_class": {},
            "images": 20,
            "objects": 60,
        }
        write_json(
            folder / "metrics.json", "metrics/1", whose | body | {"area_ranges": {}} | changes.get("metrics", {})
        )
        made = {"config_hash": f"c-{variant}", "data_hash": "d", "fingerprint": "f"}
        write_json(folder / "provenance.json", "provenance/1", whose | made | changes.get("provenance", {}))
        return folder

    return add


@pytest.fixture
def world(add_run):
    """Runs of a world whose truth is known: real gains 2 AP, null none, worse loses 2, once has one run, gone none."""

    def make(protocol):
        spread = (0.1, -0.1, 0.02)
        for variant, (gain, runs) in ({"base": (0.0, 3)} | ROWS).items():
            for seed in range(runs):
                # Other offsets for each variant: runs that agree in every digit are copies.
                add_run(protocol, variant, seed, 36.0 + gain + spread[seed] + 0.003 * len(variant) * seed)

    return make


@pytest.fixture
def made(tmp_path):
    """A run of so many iterations with an AP, no files behind it."""

    def make(variant, seed, iterations=None, ap=30.0, batch=4, lr=0.001):
        values = {"AP": ap, "AP75": ap}
        metrics = Metrics(
            variant=variant, protocol="tiny", seed=seed, metrics=values, giou_metrics=values, mask_metrics=None,
            area_ranges={}, images=20, objects=60,
        )  # fmt: skip
        provenance = Provenance(
            data_hash="d", config_hash="c", fingerprint="f", batch=batch, lr=lr, iterations=iterations
        )
        return FinishedRun(variant, seed, Layout(tmp_path, "tiny").run(variant, seed), metrics, provenance)

    return make
