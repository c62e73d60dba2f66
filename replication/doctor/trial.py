"""A variant tried on two images: trained for a few iterations or by its command, tested, and evaluated."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path

from replication.catalog import Catalog, Protocol, Variant
from replication.catalog.protocols import META_ARCHITECTURES, CocoData, CocoSplit, SplitName
from replication.datasets.prepare import prepare
from replication.datasets.splits import ground_truth, load_split
from replication.doctor.findings import Finding
from replication.errors import ReplicationError
from replication.evaluation.runs import evaluate_run
from replication.formats.splits import SPLITS, objects_of
from replication.results.run import Run

IMAGES = 2
ITERATIONS = 6
"""The fewest at which every drop of the papers' learning rate has an iteration of its own."""
LIMIT = 60.0
"""Seconds for a command."""


def try_variant(catalog: Catalog, protocol: Protocol, name: str, limit: float = LIMIT) -> list[Finding]:
    """One finding: whether the variant trains, detects, and writes what can be evaluated, on two images of each split.

    Nothing of it is kept. A command runs its ``trial`` where it has one, for ``limit`` seconds at most.
    """
    variant = catalog.variant(name)
    begun = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory(prefix="replication-trial-") as folder, contextlib.redirect_stdout(sys.stderr):
            here = Path(folder)
            run = Run(variant, _small(protocol, here), 0, here / "results")
            prepare(run.protocol, run.results)
            _make(run, catalog, limit)
            boxes = len(json.loads(run.files.detections.read_bytes()))
            evaluate_run(run)
    except ReplicationError as error:
        action = "correct what the message names, then try again"
        return [Finding("error", "variants", name, f"tried on {IMAGES} images: {error}", action)]
    seconds = time.perf_counter() - begun
    text = f"trained, tested and evaluated on {IMAGES} images in {seconds:.0f} s, {boxes} detections"
    return [Finding("ok", "variants", name, text)]


def _small(protocol: Protocol, folder: Path) -> Protocol:
    """The protocol with two images of each split and a few iterations."""
    parts = {split: (_part(protocol, split, folder),) for split in SPLITS}
    return protocol.model_copy(
        update={
            "data": CocoData(kind="coco", train=parts["train"], val=parts["val"]),
            "iterations": dict.fromkeys(META_ARCHITECTURES, ITERATIONS),
            "batch": IMAGES,
            "batches": {},
            "workers": 0,
        }
    )


def _part(protocol: Protocol, split: SplitName, folder: Path) -> CocoSplit:
    """The split's first images that have objects, as a file of their own."""
    content = ground_truth(whole := load_split(protocol, split))
    held = [record["image_id"] for record in whole.records if objects_of([record])][:IMAGES]
    content["images"] = [image for image in content["images"] if image["id"] in held]
    content["annotations"] = [found for found in content["annotations"] if found["image_id"] in held]
    path = folder / f"{split}.json"
    path.write_text(json.dumps(content))
    return CocoSplit(annotations=str(path), images=str(whole.root.absolute()))


def _make(run: Run, catalog: Catalog, limit: float) -> None:
    """The run's detections, with the runs that it needs before."""
    if run.variant.command:
        from replication.training.command import detections_of_command, run_command

        run = _with(run, run.variant.model_copy(update={"command": run.variant.trial or run.variant.command}))
        run_command(run, limit=limit)
        detections_of_command(run)
        return
    from replication.inference.detect import detect
    from replication.inference.propose import propose
    from replication.training.run import train

    if run.variant.proposals_from:
        source = _with(run, catalog.variant(run.variant.proposals_from))
        train(source)
        propose(source)
    train(run.trained)
    detect(run)


def _with(run: Run, variant: Variant) -> Run:
    return Run(variant, run.protocol, run.seed, run.results)
