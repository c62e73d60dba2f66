"""Verbs for a paper of the user's own: files to start from, and schemas for editors."""

from __future__ import annotations

from pathlib import Path

import click

from replication.cli.verb import FILE, verb

KINDS = ("paper", "variant", "protocol", "claim", "costs")


@verb("replication new-paper my_paper --to my_configs")
@click.argument("name")
@click.option("--to", "folder", type=FILE, metavar="DIR", required=True, help="Folder of configs; it may hold others.")
def new_paper(name: str, folder: Path) -> None:
    """Write a commented paper, a variant and a protocol of that name to start from."""
    from replication.catalog.starter import write_starter

    for path in write_starter(name, folder):
        print(path)
    print(f"next: replication plan --configs {folder} --protocol {name}")


@verb("replication schema paper", "replication schema protocol")
@click.argument("kind", type=click.Choice(KINDS))
def schema(kind: str) -> None:
    """Print the JSON Schema of a kind of file, for editors.

    Kinds: paper, variant and protocol of a folder of configs, its costs.yaml, and the claim.yaml of `register`.
    """
    from replication.catalog.schema import paper_schema, protocol_schema, record_schema, variant_schema
    from replication.cli.verb import print_json

    if kind == "claim":
        from replication.verdicts.registration import Claim

        print_json(record_schema(Claim))
    elif kind == "costs":
        from replication.planning.costs import Costs

        print_json(record_schema(Costs))
    else:
        print_json({"paper": paper_schema, "variant": variant_schema, "protocol": protocol_schema}[kind]())
