"""Verbs that say what there is and what would run."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from replication.cli.verb import (
    COUNT,
    Setting,
    complete,
    configs_option,
    format_option,
    names,
    print_json,
    protocol_option,
    tables_option,
    verb,
    with_setting,
)

if TYPE_CHECKING:
    from replication.planning.plan import Plan


@verb(
    "replication catalog",
    "replication catalog --paper giou --state built",
    "replication catalog --variant fsaf_R50_joint",
    "replication catalog --configs my_configs --format json",
)
@click.option("--paper", "papers", type=names, metavar="IDS", help="Only these papers, comma-separated.")
@click.option(
    "--tables", type=names, metavar="IDS", shell_complete=complete("tables"), help="Only these tables, comma-separated."
)
@click.option(
    "--variant",
    "variants",
    type=names,
    metavar="NAMES",
    shell_complete=complete("variants"),
    help="Only these variants and the rows that they measure, comma-separated.",
)
@protocol_option("Only the tables that this protocol plans.", default=None)
@click.option(
    "--state",
    type=click.Choice(["built", "planned", "cited"]),
    help="Only rows, claims and variants that can run, cannot run yet, or are quoted from others.",
)
@click.option("--all", "whole", is_flag=True, help="Print everything, not one screenful.")
@configs_option
@format_option
def catalog(
    papers: list[str] | None,
    tables: list[str] | None,
    variants: list[str] | None,
    protocol: str | None,
    state: Any,
    whole: bool,
    configs: Sequence[Path],
    form: str,
) -> None:
    """List papers, tables, rows, variants, protocols and claims, and the state of each.

    Without filters: a line per table and protocol. Filters are combined; JSON holds all that passes them.
    """
    from replication.catalog import (
        catalog_json,
        catalog_overview,
        catalog_table,
        config_folders,
        load_catalog,
        load_protocol,
    )
    from replication.catalog.filters import Filters, listed

    folders = config_folders(configs)
    catalog = load_catalog(*folders)
    scale = load_protocol(protocol, folders) if protocol else None
    filters = Filters(tuple(papers or ()), tuple(tables or ()), tuple(variants or ()), scale, state)
    chosen = listed(catalog, filters) if filters else None
    if form == "json":
        print_json(catalog_json(catalog, chosen))
    elif chosen or whole:
        print(catalog_table(catalog, chosen))
    else:
        print(catalog_overview(catalog))


@verb(
    "replication plan --protocol paper --tables giou-T5,giou-T7",
    "replication plan --seeds 3 --backbones R-50 --format json",
    "replication plan --protocol paper --gpus 16",
    "replication plan --protocol my_protocol.yaml --measure",
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
@click.option(
    "--measure",
    is_flag=True,
    help="Where no time is known, train a few iterations of one variant per architecture and backbone first; nothing "
    "of it is kept.",
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
    measure: bool,
    form: str,
) -> None:
    """List what would run, why, and how long it takes."""
    from replication.planning.output import plan_json, plan_left, plan_table
    from replication.planning.plan import make_plan

    plan = make_plan(setting.catalog, setting.protocol, setting.results, tables, seeds, backbones)
    if measure:
        plan = _measured(plan)
    if left is not None:
        print(plan_left(plan, max(1, left // setting.protocol.threads)))
    elif form == "json":
        print_json(plan_json(plan, gpus))
    else:
        print(plan_table(plan, gpus))


def _measured(plan: Plan) -> Plan:
    """The plan with times of trainings in a temporary folder."""
    from replication.planning.measured import measured, unknown_costs

    if not unknown_costs(plan):
        return plan
    from replication.training.measure import seconds_per_iteration

    with tempfile.TemporaryDirectory(prefix="replication-plan-") as folder, contextlib.redirect_stdout(sys.stderr):
        return measured(plan, lambda run: seconds_per_iteration(replace(run, results=Path(folder))))
