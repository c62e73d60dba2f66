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
)
@tables_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["model-index", "metafile"]),
    required=True,
    help="Hugging Face's model cards, or OpenMMLab's metafile.",
)
@click.option("--source", metavar="URL", help="Where the results are published, to be named as their source.")
@click.option("--out", type=FILE, metavar="FILE", help="[default: in RESULTS/PROTOCOL/export]")
@with_setting
def export(setting: Setting, tables: list[str] | None, form: Any, source: str | None, out: Path | None) -> None:
    """Export the finished runs' results in a model zoo's format."""
    from replication.export import write_export

    chosen = setting.tables(tables)
    print(write_export(setting.catalog, setting.protocol, setting.results, chosen, form, source, out))


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
