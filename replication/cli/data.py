"""Verbs for data: fetch it, make or check it, find what is wrong with it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from replication.cli.verb import (
    FILE,
    Setting,
    configs_option,
    format_option,
    print_json,
    protocol_option,
    results_option,
    variant_option,
    verb,
    with_setting,
)
from replication.errors import ConfigError

if TYPE_CHECKING:
    from replication.catalog import Protocol


@verb("replication data coco2017", "replication data voc2007 --root /datasets")
@click.argument("name", type=click.Choice(["coco2017", "voc2007", "voc2012", "mini"]))
@click.option(
    "--root", type=FILE, metavar="DIR", help="Where to unpack.  [default: $DETECTRON2_DATASETS or ./datasets]"
)
@click.option("--mirror", metavar="URL", help="Address of a folder that serves the same files.")
def data(name: str, root: Path | None, mirror: str | None) -> None:
    """Download a data set from its official address, verify and unpack it; `mini` is generated instead."""
    if name == "mini":
        if root is not None or mirror is not None:
            raise ConfigError("data mini: is generated under $DETECTRON2_DATASETS; give no --root and no --mirror")
        print(_mini_scenes())
        return
    from replication.datasets.download import download

    print(download(name, root, mirror))


@verb("replication weights --protocol paper")
@with_setting
def weights(setting: Setting) -> None:
    """Download and verify the backbone weights that a protocol's runs start from."""
    from replication.datasets.backbones import needed_weights
    from replication.datasets.weights import weights_path

    for name in needed_weights(setting.protocol):
        print(weights_path(name))


def _mini_scenes() -> Path:
    """Make the scenes of the protocol ``mini``; their folder, which has them in COCO's and in VOC's form."""
    from replication.catalog import EmbeddedData, load_protocol
    from replication.datasets.embedded import make_embedded

    scenes = load_protocol("mini").data
    assert isinstance(scenes, EmbeddedData)
    return make_embedded(scenes)


@verb("replication prepare", "replication prepare --protocol my_protocol.yaml")
@with_setting
def prepare(setting: Setting) -> None:
    """Make or check a protocol's data; write its manifest and ground truth."""
    from replication.datasets import prepare

    _announce(setting.protocol)
    print(prepare(setting.protocol, setting.results))


@verb(
    "replication doctor",
    "replication doctor --protocol my_protocol.yaml --deep",
    "replication doctor --protocol my_protocol.yaml --variant my_variant",
)
@protocol_option(default=None)
@variant_option("Train and test this variant on two images of the protocol, in about a minute.  [protocol: mini]")
@results_option
@configs_option
@click.option("--deep", is_flag=True, help="Decode every image, also of large data sets.")
@click.option("-v", "--verbose", is_flag=True, help="Also show the checks that passed.")
@format_option
def doctor(
    protocol: str | None,
    variant: str | None,
    results: Path,
    configs: Sequence[Path],
    deep: bool,
    verbose: bool,
    form: str,
) -> int:
    """Check the environment and, with --protocol, its data, variants and weights.

    The exit code is 2 where there are errors, 0 where there are only warnings.
    """
    from replication.catalog import config_folders, load_catalog, load_protocol
    from replication.doctor.check import doctor, exit_code, findings_json, findings_table

    folders = config_folders(configs)
    catalog = load_catalog(*folders)
    if variant is not None:
        from replication.doctor.trial import try_variant

        findings = try_variant(catalog, load_protocol(protocol or "mini", folders), variant)
        verbose = True
    else:
        chosen = load_protocol(protocol, folders) if protocol else None
        if chosen is not None:
            _announce(chosen)
        findings = doctor(chosen, deep=deep, results=results, catalog=catalog)
    if form == "json":
        print_json(findings_json(findings))
    else:
        print(findings_table(findings, verbose))
    return exit_code(findings)


def _announce(protocol: Protocol) -> None:
    from replication.datasets.prepare import announcement

    if line := announcement(protocol):
        print(line, file=sys.stderr, flush=True)
