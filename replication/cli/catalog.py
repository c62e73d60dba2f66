"""Verbs that say what there is and what would run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from replication.cli.verb import (
    COUNT,
    Setting,
    configs_option,
    format_option,
    names,
    print_json,
    tables_option,
    verb,
    with_setting,
)


@verb("replication catalog", "replication catalog --configs my_configs --format json")
@configs_option
@format_option
def catalog(configs: Sequence[Path], form: str) -> None:
    """List papers, tables, rows, variants, protocols and claims, and the state of each."""
    from replication.catalog import catalog_json, catalog_table, config_folders, load_catalog

    catalog = load_catalog(*config_folders(configs))
    if form == "json":
        print_json(catalog_json(catalog))
    else:
        print(catalog_table(catalog))


@verb(
    "replication plan --protocol paper --tables giou-T5,giou-T7",
    "replication plan --seeds 3 --backbones R-50 --format json",
    "replication plan --protocol paper --gpus 16",
)
@tables_option
@click.option(
    "--seeds",
    type=COUNT,
    metavar="COUNT",
    help="Number of runs per variant, seeds 0 to COUNT - 1.  [default: the protocol's]",
)
@click.option(
    "--backbones", type=names, metavar="NAMES", help="The papers' backbones to run.  [default: the protocol's]"
)
@click.option("--gpus", type=COUNT, metavar="N", help="Also say how long the rest takes on N GPUs, one per training.")
@click.option(
    "--left", type=COUNT, metavar="CORES", help="Print only one line: the remaining training time on CORES cores."
)
@format_option
@with_setting
def plan(
    setting: Setting,
    tables: list[str] | None,
    seeds: int | None,
    backbones: list[str] | None,
    gpus: int | None,
    left: int | None,
    form: str,
) -> None:
    """List what would run, why, and how long it takes."""
    from replication.planning.output import plan_json, plan_left, plan_table
    from replication.planning.plan import make_plan

    plan = make_plan(setting.catalog, setting.protocol, setting.results, tables, seeds, backbones)
    if left is not None:
        print(plan_left(plan, max(1, left // setting.protocol.threads)))
    elif form == "json":
        print_json(plan_json(plan, gpus))
    else:
        print(plan_table(plan, gpus))
