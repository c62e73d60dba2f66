"""Known-bad detectors under `mini`: three seeds each, judged as if a paper had claimed that they are better."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path

import pytest

from replication.catalog import Catalog, Paper, Protocol, load_catalog, load_judging, load_protocol
from replication.catalog.variants import Variant
from replication.datasets import prepare
from replication.evaluation.runs import evaluate_run
from replication.inference.detect import detect
from replication.results.run import Run
from replication.training.run import train
from replication.verdicts import judge

SOUND = "faster_rcnn_R50_smooth_l1"
BROKEN = ("control_untrained", "control_wrong_sign")
SEEDS = 3
ITERATIONS = 250  # of mini's 550: the broken ones need no more to be seen


def paper(names: list[str]) -> Paper:
    """A paper that claims half a point for each."""
    rows = [{"id": name, "label": name, "backbone": "R-50", "variant": name} for name in (SOUND, *names)]
    for row, ap in zip(rows, (36.0, 36.5, 36.5), strict=True):
        row["published"] = {"AP": ap}
    claim = {"table": "controls-T1", "baseline": SOUND, "column": "AP", "gain": 0.5, "primary": True}
    return Paper.model_validate(
        {
            "id": "controls",
            "title": "Known-bad detectors",
            "arxiv": "none",
            "venue": "none",
            "tables": [
                {
                    "id": "controls-T1",
                    "caption": "controls",
                    "dataset": "none",
                    "benchmark": "coco",
                    "split": "none",
                    "unit": "percent",
                    "criterion": "AP",
                    "source": ["made up"],
                    "seen_via": ["made up"],
                    "columns": [{"id": "AP", "head": "AP", "metric": "AP", "criterion": "iou"}],
                    "baseline": SOUND,
                    "rows": rows,
                }
            ],
            "claims": [claim | {"id": name, "row": name} for name in names],
            "deviations": [],
        }
    )


def run(variant: Variant, protocol: Protocol, seed: int, results: Path) -> float:
    """AP of one run, from nothing."""
    job = Run(variant, protocol, seed, results)
    train(job)
    detect(job)
    found = evaluate_run(job)
    return float(found["metrics"]["AP"])


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_detectors_with_a_broken_box_regression_are_told_from_a_sound_one(tmp_path: Path) -> None:
    mini = load_protocol("mini")
    assert mini.iterations is not None
    shorter = mini.iterations | {"GeneralizedRCNN": ITERATIONS}
    protocol = mini.model_copy(update={"name": "controls", "iterations": shorter, "tables": ("controls-T1",)})
    catalog = load_catalog()
    variants = [catalog.variants[name] for name in (SOUND, *BROKEN)]
    results = tmp_path / "results"
    prepare(protocol, results)
    jobs = [(variant, protocol, seed, results) for variant, seed in product(variants, range(SEEDS))]
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        scores = list(pool.map(run, *zip(*jobs, strict=True)))
    for (variant, _, seed, _), ap in zip(jobs, scores, strict=True):
        print(f"{variant.name} seed {seed}: AP {ap:.1f}")
    papers = {"controls": paper(list(BROKEN))}
    made = Catalog(papers=papers, variants={one.name: one for one in variants}, protocols={protocol.name: protocol})
    document = judge(made, protocol, results, ["controls-T1"], load_judging())
    assert {one["id"]: one["verdict"] for one in document["verdicts"]} == dict.fromkeys(BROKEN, "loss")
