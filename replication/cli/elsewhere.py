"""Verbs for results that come from elsewhere: runs of other programs, folders of other people, and their checking."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from replication.cli.verb import (
    FILE,
    Setting,
    configs_option,
    format_option,
    load_setting,
    print_json,
    seed_option,
    variant_option,
    verb,
    with_setting,
)
from replication.errors import ConfigError


@verb(
    "replication import-run --variant faster_rcnn_R50_giou --seed 1 --detections giou_seed1.bbox.json",
    "replication import-run --protocol paper --configs mine --variant my_detector --seed 0 --detections out.json "
    '--made-by "mmdetection 3.3, commit 44ebd17"',
)
@variant_option("Which variant the run is of: a built one, or one that a row of your own paper names.", required=True)
@seed_option
@click.option("--detections", type=FILE, metavar="FILE", required=True, help="Detections on the validation images.")
@click.option("--made-by", metavar="TEXT", help="What made them: program, version, commit.")
@click.option("--curves", type=FILE, metavar="FILE", help="Training curve: JSON with `iteration` on each line.")
@with_setting
def import_run(
    setting: Setting, variant: str, seed: int, detections: Path, made_by: str | None, curves: Path | None
) -> None:
    """Import detections of a detector that was trained elsewhere as a run, and evaluate them.

    DETECTIONS are of any form that `evaluate` takes. The run is marked as made elsewhere and is never trained over.
    """
    from replication.evaluation.elsewhere import import_run

    catalog, protocol, results = setting.catalog, setting.protocol, setting.results
    done = import_run(catalog, protocol, results, variant, seed, detections, made_by, curves)
    for warning in done.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    ap = done.metrics.get("AP")
    numbers = "" if ap is None else f": AP {ap:.2f}"
    print(f"{done.folder}{numbers}{' (imported before)' if done.already else ''}")


@verb("replication merge results_of_ann results_of_bob --out results_of_both")
@click.argument("folders", type=FILE, nargs=-1, required=True, metavar="DIR [DIR]...")
@click.option("--out", type=FILE, required=True, metavar="DIR", help="New folder for the results of all.")
def merge(folders: Sequence[Path], out: Path) -> None:
    """Merge results folders of several people or machines into one.

    Every finished run is copied once, with its provenance. Different runs under one name, or on different data, are
    refused.
    """
    from replication.results.merge import merge

    done = merge(folders, out)
    for note in done.notes:
        print(f"note: {note}", file=sys.stderr)
    counts = ", ".join(f"{count} runs of protocol {protocol}" for protocol, count in done.runs.items())
    print(f"{done.out}: {counts}")


@verb("replication verify results", "replication verify results --against results/reference --format json")
@click.argument("folder", type=FILE)
@click.option("--against", type=FILE, metavar="DIR", help="Other results or an archive, whose numbers to compare.")
@configs_option
@format_option
def verify(folder: Path, against: Path | None, configs: Sequence[Path], form: str) -> int:
    """Verify a results folder, an archive or merged results: hashes, numbers, verdicts.

    Detections that are stored are evaluated again and claims judged again; numbers that the papers, or --against,
    report are compared with the prediction interval of the runs. Exit code 1 where something does not verify.
    """
    from replication.catalog import load_judging
    from replication.cli.verification_text import verification_text
    from replication.results.merge import protocols_in
    from replication.verdicts.verification import SCHEMA, verify_results

    protocols, shared = protocols_in(folder), protocols_in(against) if against is not None else []
    if against is not None and not set(protocols) & set(shared):
        raise ConfigError(f"--against {against}: has no runs of {', '.join(protocols)}, which {folder} has")
    found = []
    for name in protocols:
        setting = load_setting(name, folder, configs)
        other = against if name in shared else None
        found.append(verify_results(setting.catalog, setting.protocol, folder, load_judging(), other))
    if form == "json":
        verified = all(one.holds for one in found)
        print_json({"schema": SCHEMA, "verified": verified, "protocols": [one.to_dict() for one in found]})
    else:
        print("\n\n".join(map(verification_text, found)))
    return 0 if all(one.holds for one in found) else 1
