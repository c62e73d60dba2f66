"""Verbs that train a run and compute with what it has learned."""

from __future__ import annotations

import json
from pathlib import Path

import click

from replication.cli.verb import COUNT, FILE, Setting, seed_option, variant_option, verb, with_setting
from replication.errors import ConfigError


@verb(
    "replication train --variant faster_rcnn_R50_giou --seed 1",
    "replication train --protocol paper --variant fsaf_R50_joint --gpus 8",
)
@variant_option(required=True)
@seed_option
@click.option("--restart", is_flag=True, help="Discard the run's folder and train from the start.")
@click.option(
    "--gpus", type=COUNT, metavar="N", default=1, help="Number of GPUs that share the batch, one process each."
)
@click.option("--wait", is_flag=True, help="Wait for another process that trains the run instead of refusing.")
@click.option("--replace", is_flag=True, help="Discard a finished run of other code, settings or data.")
@with_setting
def train(setting: Setting, variant: str, seed: int, restart: bool, gpus: int, wait: bool, replace: bool) -> None:
    """Train one run, or continue it where it was interrupted."""
    run = setting.run(variant, seed)
    if run.variant.command:
        from replication.training.command import run_command

        print(run_command(run, restart, gpus, wait, replace))
        return
    from replication.training.devices import keep_memory
    from replication.training.run import train

    keep_memory()
    print(train(run, restart, gpus, wait, replace))


@verb(
    "replication detect --variant faster_rcnn_R50_giou --seed 1",
    "replication detect --protocol paper --variant yolov3_D53_giou --weights yolov3.weights "
    "--images instances_val2017.json --image-folder val2017 --out yolov3.json",
)
@variant_option(required=True)
@seed_option
@click.option(
    "--weights", type=FILE, metavar="FILE", help="Darknet file of a YOLOv3 to test in place of a trained run."
)
@click.option("--images", type=FILE, metavar="IMAGE_INFO", help="Images to test --weights on: COCO's JSON.")
@click.option("--image-folder", type=FILE, metavar="DIR", help="Where the files of --images lie.")
@click.option("--out", type=FILE, metavar="FILE", help="Where to write the detections of --weights.")
@with_setting
def detect(
    setting: Setting,
    variant: str,
    seed: int,
    weights: Path | None,
    images: Path | None,
    image_folder: Path | None,
    out: Path | None,
) -> None:
    """Run a trained model on the validation images; write detections.json.

    With --weights a model that was trained elsewhere is run on the images of --images instead.
    """
    run = setting.run(variant, seed)
    if weights is None and images is None and image_folder is None and out is None:
        if run.variant.command:
            from replication.training.command import detections_of_command

            print(detections_of_command(run))
            return
        from replication.inference.detect import detect
        from replication.training.devices import keep_memory

        keep_memory()
        print(detect(run))
        return
    if weights is None or images is None or image_folder is None or out is None:
        raise ConfigError("detect: --weights, --images, --image-folder and --out belong together; give all or none")
    from replication.inference.weights import detect_with_weights
    from replication.results.files import check_writable, write_text

    check_writable(out.parent)
    records = detect_with_weights(run.variant, run.protocol, weights, images, image_folder)
    write_text(out, json.dumps(records, allow_nan=False, separators=(",", ":")) + "\n")
    print(out)


@verb("replication proposals --variant rpn_R50")
@variant_option("The RPN, of which seed 0 is used.", default="rpn_R50")
@with_setting
def proposals(setting: Setting, variant: str) -> None:
    """Write a trained RPN's proposals, on which Fast R-CNN is trained."""
    from replication.catalog.variants import PROPOSALS_SEED

    run = setting.run(variant, PROPOSALS_SEED)
    from replication.inference.propose import propose

    print(*propose(run), sep="\n")


@verb("replication figures --paper libra_rcnn --name sampling")
@click.option("--paper", metavar="ID", required=True, help="The paper; `replication catalog` lists them.")
@click.option("--name", metavar="NAME", required=True, help="One of the paper's figure_data.")
@with_setting
def figures(setting: Setting, paper: str, name: str) -> None:
    """Compute the data of a figure that only one paper has."""
    from replication.inference.figures import write_figure_data

    print(write_figure_data(setting.catalog, setting.protocol, setting.results, paper, name))
