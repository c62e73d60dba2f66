"""A trained run on other images than its protocol's, such as a test server's, whose annotations are withheld."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from replication.catalog import VocData
from replication.datasets import Prepared, Split
from replication.errors import ConfigError, DataError
from replication.formats.image_info import read_image_info
from replication.inference.detect import detections
from replication.inference.model import outputs, trained_model
from replication.training.config import run_config
from replication.training.devices import devices
from replication.training.run import Job, on_device

PER_IMAGE = 100  # a test server takes no more; only YOLOv3, whose detections are best first, has more


def detect_images(job: Job, images: Path, folder: Path) -> list[dict[str, Any]]:
    """Run a trained detector on the images of an image-info file, which lie in ``folder``; returns COCO's results.

    They are the best 100 of each image. Raises ConfigError for runs that cannot be on other images, DataError when the
    categories are not those of the training data or images are missing, ResultError when the run is not trained.
    """
    if job.variant.proposals_from:
        raise ConfigError(
            f"--variant {job.variant.name}: is tested on the proposals of {job.variant.proposals_from}, which are of "
            "the protocol's own images; choose a variant that makes its own"
        )
    if isinstance(job.protocol.data, VocData):
        raise ConfigError(
            f"--images: protocol {job.protocol.name} has data in VOC's form, whose submission is of the list data.val"
        )
    job.check_trained()
    split = read_image_info(images, folder)
    _check_categories(job, split, images)
    cfg = run_config(job.variant, job.protocol, job.seed, len(split.classes), job.folder)
    with devices(job.protocol.device) as taken:
        cfg = on_device(cfg, taken[0])
        return [
            record
            for image_id, output in outputs(job, trained_model(job, cfg), cfg, split, "detected on")
            for record in detections(output["instances"][:PER_IMAGE].to("cpu"), image_id, split.category_ids)
        ]


def _check_categories(job: Job, split: Split, images: Path) -> None:
    """The model's classes are the training data's, in ascending order of their ids."""
    path = job.results / job.protocol.name / "data.json"
    trained = Prepared.read(path).manifest
    pairs = zip(trained["category_ids"], trained["classes"], strict=True)
    different = set(pairs) ^ set(zip(split.category_ids, split.classes, strict=True))
    if different:
        shown = ", ".join(f"{number} {name!r}" for number, name in sorted(different)[:5])
        raise DataError(
            f"{images}: categories: not those of the training data in {path} (id and name of {shown}); "
            "give the image info of the data set that the run was trained on"
        )
