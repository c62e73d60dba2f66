"""The verb that times variants."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from replication.cli.verb import (
    COUNT,
    FILE,
    Setting,
    format_option,
    names,
    print_json,
    tables_option,
    verb,
    with_setting,
)
from replication.errors import ConfigError

if TYPE_CHECKING:
    from replication.timing.latency import Latency


def size(text: str) -> tuple[int, int]:
    """(height, width) in pixels of ``HEIGHTxWIDTH``."""
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise click.BadParameter(f"{text!r}: expected HEIGHTxWIDTH in pixels, e.g. 480x640")
    return int(height), int(width)


@verb(
    "replication time --tables fsaf-T2",
    "replication time --variants retinanet_R50,fsaf_R50 --weights random --device cuda --precision fp16 --compile",
)
@tables_option
@click.option(
    "--variants",
    type=names,
    metavar="NAMES",
    help="Comma-separated; the prefix `detectron2:` names a stock model.  [default: those of the tables with latency]",
)
@click.option("--rounds", type=COUNT, metavar="N", default=10, help="Rounds; 6 or more give an interval.")
@click.option("--images", type=COUNT, metavar="N", default=16, help="Images per round.")
@click.option("--warmup", type=COUNT, metavar="N", default=2, help="Passes over the images before timing starts.")
@click.option(
    "--training-steps",
    type=click.IntRange(min=0),
    metavar="N",
    default=2,
    help="Training steps per round, with eager fp32 or tf32 only; 0 times inference alone.",
)
@click.option(
    "--size", type=size, metavar="HEIGHTxWIDTH", help="Size of all inputs.  [default: as the protocol resizes them]"
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="[default: the protocol's]")
@click.option("--threads", type=COUNT, metavar="N", help="[default: the protocol's]")
@click.option("--precision", type=click.Choice(["fp32", "tf32", "fp16", "bf16"]), default="fp32")
@click.option("--compile", "compiled", is_flag=True, help="Apply torch.compile to backbone and heads.")
@click.option(
    "--weights",
    type=click.Choice(["auto", "trained", "random"]),
    default="auto",
    help="auto: trained weights where every variant has them, else random ones.",
)
@click.option(
    "--candidates",
    type=COUNT,
    metavar="N",
    default=200,
    help="Detections per level before NMS that random weights are set to give.",
)
@click.option("--out", type=FILE, metavar="DIR", help="[default: RESULTS/PROTOCOL/latency/DEVICE]")
@format_option
@with_setting
def time(
    setting: Setting,
    tables: list[str] | None,
    variants: list[str] | None,
    out: Path | None,
    form: str,
    **settings: Any,
) -> None:
    """Time variants, interleaved: ms per image by stage, and ms per training step."""
    from replication.planning.plan import make_plan

    chosen = variants
    if chosen is None:
        shown = tables or setting.catalog.latency_tables(setting.protocol)
        chosen = list(make_plan(setting.catalog, setting.protocol, setting.results, shown, seeds=1).timed)
    if not chosen:
        raise ConfigError("--tables: none of them has a latency column; give --variants")
    from replication.results.layout import Layout
    from replication.results.lease import lease
    from replication.timing.run import Settings, time_variants

    # Not the workflow's lock, which a workflow holds while it times.
    lock = (out or Layout(setting.results, setting.protocol.name).latency) / ".lock"
    # Progress is printed too, and must not stand in the document.
    with (
        contextlib.redirect_stdout(sys.stderr if form == "json" else sys.stdout),
        lease(lock, "these times"),
    ):
        timings = time_variants(setting.catalog, setting.protocol, setting.results, chosen, Settings(**settings), out)
    if form == "json":
        documents = [json.loads(timing.path.read_bytes()) | {"file": str(timing.path)} for timing in timings]
        print_json({"schema": "timings/1", "protocol": setting.protocol.name, "timings": documents})
    else:
        _print_table(timings)


def _print_table(timings: list[Latency]) -> None:
    from tabulate import tabulate

    from replication.timing.latency import conditions, cost_line, training_conditions

    first = timings[0]
    texts = filter(None, (conditions(first.document), training_conditions(first.document)))
    print(*texts, sep="\n", end="\n\n")
    lines = [cost_line(timing, first) for timing in timings]
    rows = list(zip(lines[0], *(line.values() for line in lines), strict=True))
    print(tabulate(rows, headers="firstrow", disable_numparse=True))
    print(f"\nRatios are to {first.variant}. Files: {first.path.parent}")
