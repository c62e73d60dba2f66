"""Verbs that train a run and compute with what it has learned."""

from __future__ import annotations

import click

from replication.cli.verb import COUNT, Setting, seed_option, variant_option, verb, with_setting


@verb(
    "replication train --variant faster_rcnn_R50_giou --seed 1",
    "replication train --protocol paper --variant fsaf_R50_joint --gpus 8",
)
@variant_option(required=True)
@seed_option
@click.option("--restart", is_flag=True, help="Discard what the run's folder holds.")
@click.option(
    "--gpus", type=COUNT, metavar="N", default=1, help="Number of processes, one per GPU, that share the batch."
)
@click.option("--wait", is_flag=True, help="Wait for another process that trains the run instead of refusing.")
@click.option("--replace", is_flag=True, help="Discard a finished run of other code, settings or data.")
@with_setting
def train(setting: Setting, variant: str, seed: int, restart: bool, gpus: int, wait: bool, replace: bool) -> None:
    """Train one run, or continue it where it was interrupted."""
    run = setting.run(variant, seed)
    from replication.training.run import train

    print(train(run, restart, gpus, wait, replace))


@verb("replication detect --variant faster_rcnn_R50_giou --seed 1")
@variant_option(required=True)
@seed_option
@with_setting
def detect(setting: Setting, variant: str, seed: int) -> None:
    """Run a trained model on the validation images; write detections.json."""
    run = setting.run(variant, seed)
    from replication.inference.detect import detect

    print(detect(run))


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
    """Compute the data that one of a paper's own figures is drawn from."""
    from replication.inference.figures import write_figure_data

    print(write_figure_data(setting.catalog, setting.protocol, setting.results, paper, name))
