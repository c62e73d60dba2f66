"""Verbs that train a run and compute with what it has learned."""

from __future__ import annotations

import click

from replication.cli.verb import COUNT, Setting, seed_option, variant_option, verb, with_setting
from replication.errors import ConfigError


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
@with_setting
def train(setting: Setting, variant: str, seed: int, restart: bool, gpus: int) -> None:
    """Train one run, or continue it where it was interrupted."""
    job = setting.job(variant, seed)
    from replication.training.run import train

    print(train(job, restart, gpus))


@verb("replication detect --variant faster_rcnn_R50_giou --seed 1")
@variant_option(required=True)
@seed_option
@with_setting
def detect(setting: Setting, variant: str, seed: int) -> None:
    """Run a trained model on the validation images; write detections.json."""
    job = setting.job(variant, seed)
    from replication.inference.detect import detect

    print(detect(job))


@verb("replication proposals --variant rpn_R50")
@variant_option("The RPN, of which seed 0 is used.", default="rpn_R50")
@with_setting
def proposals(setting: Setting, variant: str) -> None:
    """Write a trained RPN's proposals, on which Fast R-CNN is trained."""
    from replication.catalog.variants import PROPOSALS_SEED

    job = setting.job(variant, PROPOSALS_SEED)
    from replication.inference.propose import propose

    print(*propose(job), sep="\n")


@verb("replication figures", "replication figures --variant faster_rcnn_R50")
@variant_option("The trained detector of figure 3; without it, figure 5 is computed.")
@click.option("--seed", type=click.IntRange(min=0), metavar="N", default=0, help="Which run of the detector.")
@with_setting
def figures(setting: Setting, variant: str | None, seed: int) -> None:
    """Compute the data of Libra R-CNN's figure 5 or, with --variant, of its figure 3."""
    if variant is None and seed:
        raise ConfigError(f"figures: --seed {seed}: figure 5 has no run; give the detector's --variant too")
    job = setting.job(variant, seed) if variant is not None else None
    from replication.inference.figures import write_balanced_l1, write_sampling

    print(write_sampling(job) if job is not None else write_balanced_l1(setting.results, setting.protocol))
