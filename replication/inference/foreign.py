"""A trained run on other images than its protocol's, such as a test server's, whose annotations are withheld."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from replication.datasets import Split
from replication.errors import ConfigError, DataError
from replication.formats.coco import read_image_info
from replication.formats.splits import training_split
from replication.inference.detect import detections
from replication.inference.model import outputs, trained_model
from replication.results.run import Run
from replication.results.schemas import Data, read
from replication.training.config import run_config
from replication.training.devices import devices, on_device
from replication.training.identity import check_trained

PER_IMAGE = 100  # a test server takes no more; only YOLOv3, whose detections are best first, has more


def detect_images(run: Run, images: Path, folder: Path) -> list[dict[str, Any]]:
    """Run a trained detector on the images of an image-info file, which lie in ``folder``; returns COCO's results.

    They are the best 100 of each image. Raises ConfigError for runs that cannot be on other images, DataError when the
    categories are not those of the training data or images are missing, ResultError when the run is not trained.
    """
    if run.variant.proposals_from:
        raise ConfigError(
            f"--variant {run.variant.name}: is tested on the proposals of {run.variant.proposals_from}, which are of "
            "the protocol's own images; choose a variant that makes its own"
        )
    if run.protocol.data.test_server == "voc":
        raise ConfigError(
            f"--images: protocol {run.protocol.name} has data in VOC's form, whose submission is of the list data.val"
        )
    check_trained(run)
    split = training_split(images.stem, read_image_info(images), folder)
    _check_categories(run, split, images)
    cfg = run_config(run.variant, run.protocol, run.seed, len(split.classes), run.folder)
    with devices(run.protocol.device) as taken:
        cfg = on_device(cfg, taken[0])
        return [
            record
            for image_id, output in outputs(run, trained_model(run, cfg), cfg, split, "detected on")
            for record in detections(output["instances"][:PER_IMAGE].to("cpu"), image_id, split.category_ids)
        ]


def _check_categories(run: Run, split: Split, images: Path) -> None:
    """The model's classes are the training data's, in ascending order of their ids."""
    path = run.layout.data
    trained = read(path, Data)
    pairs = zip(trained.category_ids, trained.classes, strict=True)
    different = set(pairs) ^ set(zip(split.category_ids, split.classes, strict=True))
    if different:
        shown = ", ".join(f"{number} {name!r}" for number, name in sorted(different)[:5])
        raise DataError(
            f"{images}: categories: not those of the training data in {path} (id and name of {shown}); "
            "give the image info of the data set that the run was trained on"
        )
