"""Verbs that write results in other projects' forms, or copy them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from replication.cli.verb import FILE, Setting, seed_option, tables_option, variant_option, verb, with_setting
from replication.errors import ConfigError


@verb(
    "replication export --format model-index --source https://example.org/results",
    "replication export --format metafile --tables giou-T5 --out metafile.yml",
    "replication export --format paper-kit",
    "replication export --format ro-crate --license https://spdx.org/licenses/CC-BY-4.0",
)
@tables_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["model-index", "metafile", "ro-crate", "paper-kit"]),
    required=True,
    help="Hugging Face's model cards, OpenMMLab's metafile, a research object, or texts for a paper.",
)
@click.option(
    "--source", metavar="URL", help="Where the results are published, to be named as their source by a model zoo."
)
@click.option("--license", "license_url", metavar="URL", help="Of the results in an ro-crate.  [default: none stated]")
@click.option(
    "--out", type=FILE, metavar="PATH", help="File, or folder of a crate or kit.  [default: in RESULTS/PROTOCOL/export]"
)
@with_setting
def export(
    setting: Setting,
    tables: list[str] | None,
    form: Any,
    source: str | None,
    license_url: str | None,
    out: Path | None,
) -> None:
    """Export the finished runs' results: in a model zoo's format, as a research object, or as texts for a paper."""
    from replication.export import write_export
    from replication.export.folders import write_paper_kit, write_ro_crate

    if license_url is not None and form != "ro-crate":
        raise ConfigError(f"--license: is of --format ro-crate, not of {form}; leave it out")
    if source is not None and form in ("ro-crate", "paper-kit"):
        raise ConfigError(f"--source: is of a model zoo's format, not of {form}; leave it out")
    if tables is not None and form == "ro-crate":
        raise ConfigError("--tables: a crate holds all results of the protocol; leave it out")
    catalog, protocol, results = setting.catalog, setting.protocol, setting.results
    if form == "ro-crate":
        print(*write_ro_crate(catalog, protocol, results, license_url, out), sep="\n")
    elif form == "paper-kit":
        print(*write_paper_kit(catalog, protocol, results, setting.tables(tables), out), sep="\n")
    else:
        print(write_export(catalog, protocol, results, setting.tables(tables), form, source, out))


@verb(
    "replication submission --protocol paper --variant libra_rcnn_R50",
    "replication submission --protocol paper --variant libra_rcnn_R50 --images image_info_test-dev2017.json "
    "--image-folder test2017",
)
@variant_option(required=True)
@seed_option
@click.option(
    "--images",
    type=FILE,
    metavar="IMAGE_INFO",
    help="Image info such as image_info_test-dev2017.json.  [default: the protocol's validation images]",
)
@click.option("--image-folder", type=FILE, metavar="DIR", help="Where the files of --images lie.")
@click.option("--out", type=FILE, metavar="DIR", help="[default: RESULTS/PROTOCOL/submission]")
@with_setting
def submission(
    setting: Setting, variant: str, seed: int, images: Path | None, image_folder: Path | None, out: Path | None
) -> None:
    """Write a run's detections as COCO's or VOC's test server accepts them."""
    from replication.export import algorithm, check_submittable, set_name, submit_run, write_coco

    if (images is None) != (image_folder is None):
        raise ConfigError("submission: --images and --image-folder belong together; give both or neither")
    run = setting.run(variant, seed)
    check_submittable(run.variant)
    folder = out or run.layout.submission
    if images is None or image_folder is None:
        paths = submit_run(run, folder)
    else:
        from replication.inference.foreign import detect_images

        paths = write_coco(detect_images(run, images, image_folder), set_name(images), algorithm(run), folder)
    print(*paths, sep="\n")


@verb("replication archive", "replication archive --protocol paper --out results/reference")
@click.option("--out", type=FILE, default=Path("results/reference"), metavar="DIR", help="Folder of the copy.")
@with_setting
def archive(setting: Setting, out: Path) -> None:
    """Archive a protocol's results, without weights and detections."""
    from replication.export.archive import archive

    print(archive(setting.protocol, setting.results, out))
