"""The verbs that compare arms of one's own: ``compare`` and ``register``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from replication.cli.evaluation import CRITERIA
from replication.cli.verb import FILE, HELP, Verb, examples, verb
from replication.errors import ConfigError
from replication.results.metrics import METRICS

if TYPE_CHECKING:
    from replication.verdicts.arms import Arms
    from replication.verdicts.comparison_records import ArmComparison

FORMATS = ("table", "json", "markdown", "latex", "html")
SEVERAL = ("--a", "--b", "--metric")
TERMS = ("type", "criterion", "claimed", "practical", "alpha", "estimand", "paired", "bootstrap", "seed", "baseline")
"""Options that a claim fixes."""


class _Compare(Verb):
    """A verb whose options ``--a``, ``--b`` and ``--metric`` take all values up to the next option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, after each further value has its option before it."""
        spread: list[str] = []
        option: str | None = None
        for place, argument in enumerate(args):
            if argument.startswith("-"):
                option = argument if argument in SEVERAL else None
            elif option is not None and args[place - 1] != option:
                spread.append(option)
            spread.append(argument)
        return super().parse_args(ctx, spread)


@click.command(
    cls=_Compare,
    context_settings=HELP,
    epilog=examples(
        "replication compare truth.json --a A_seed*.json --b B_seed*.json",
        "replication compare truth.json --a A*.json --b B*.json --claimed 1.2 --practical 0.5 --metric AP AP75 APs",
        "replication compare truth.json --arm 'plain=plain_*.json' --arm 'ours=ours_*.json' --arm 'all=all_*.json'",
        "replication compare truth.json --a A*.json --b B*.json --format html --images val2017 --out page.html",
        "replication compare --claim claim.json",
    ),
)
@click.argument("truth", type=FILE, required=False)
@click.option("--a", "a", type=str, multiple=True, metavar="FILES", help="Detections of arm A, the baseline.")
@click.option("--b", "b", type=str, multiple=True, metavar="FILES", help="Detections of arm B.")
@click.option("--arm", "named", type=str, multiple=True, metavar="NAME=GLOB", help="An arm by name; repeatable.")
@click.option("--baseline", metavar="NAME", help="Arm that the others are compared with.  [default: the first]")
@click.option(
    "--metric", type=click.Choice(METRICS), multiple=True, help="Metrics, the first of which is judged.  [default: AP]"
)
@click.option("--criterion", type=click.Choice(CRITERIA), default="iou", help="Overlap that decides which boxes match.")
@click.option("--type", type=click.Choice(["bbox", "segm"]), default="bbox", help="Compare boxes or masks.")
@click.option("--claimed", type=float, metavar="GAIN", help="Claimed gain in AP; judged against half of it.")
@click.option("--practical", type=float, metavar="GAIN", help="Smallest gain in AP of practical relevance.")
@click.option("--alpha", type=float, default=0.05, help="Significance level of the verdict.")
@click.option(
    "--estimand",
    type=click.Choice(["new images", "this benchmark"]),
    default="new images",
    help="Scope of the verdict: other runs and other images, or other runs on these images.",
)
@click.option("--paired", is_flag=True, help="Pair the runs of all arms by their seed.")
@click.option("--bootstrap", type=click.IntRange(min=100), default=2000, metavar="COUNT", help="Bootstrap resamples.")
@click.option("--seed", type=click.IntRange(min=0), default=0, metavar="N", help="Random seed of the bootstrap.")
@click.option("--claim", type=FILE, metavar="FILE", help="Judge a registered claim, which fixes all of the above.")
@click.option("--images", type=FILE, metavar="DIR", help="Image folder; shows the images on which arms differ most.")
@click.option("--cache", type=FILE, metavar="DIR", help="Folder of cached evaluations.  [default: in ~/.cache]")
@click.option("--no-cache", is_flag=True, help="Neither read nor write the cache.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", help="Output format.")
@click.option("--out", type=FILE, metavar="FILE", help="Write to this file instead of standard output.")
@click.pass_context
def compare(
    ctx: click.Context,
    /,
    truth: Path | None,
    a: Sequence[str],
    b: Sequence[str],
    named: Sequence[str],
    baseline: str | None,
    metric: Sequence[str],
    claim: Path | None,
    images: Path | None,
    cache: Path | None,
    no_cache: bool,
    form: str,
    out: Path | None,
    **terms: Any,
) -> None:
    """Test whether one detector is better than another, from several runs of each on the ground truth TRUTH.

    Exit code 0 whatever the verdict.
    """
    arms = _arms(a, b, named)
    if images is not None and form != "html":
        raise ConfigError("--images: only --format html shows images")
    if claim is not None:
        comparison, found = _claimed(ctx, claim, truth, arms, cache, no_cache)
    else:
        comparison, found = _compared(truth, _ordered(arms, baseline), metric or ("AP",), cache, no_cache, **terms)
    for warning in comparison.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    text = _rendered(comparison, found, form, images)
    if out is None:
        sys.stdout.write(text)
        return
    from replication.results.files import write_text

    write_text(out, text)
    print(comparison.sentence)


def _arms(a: Sequence[str], b: Sequence[str], named: Sequence[str]) -> dict[str, list[Path]]:
    """Files of each arm by name, in the order of the command line."""
    arms = {name: [Path(file) for file in _expanded(files)] for name, files in (("A", a), ("B", b)) if files}
    for text in named:
        name, equals, pattern = text.partition("=")
        if not (name and equals and pattern):
            raise ConfigError(f"--arm {text}: expected NAME=GLOB, such as ours='ours_seed*.json'")
        if name in arms:
            raise ConfigError(f"--arm {name}: the name is given twice; give each arm a name of its own")
        arms[name] = [Path(file) for file in _expanded([pattern])]
    for name, files in arms.items():
        if not files:
            raise ConfigError(f"arm {name}: no file matches; check the pattern")
    return arms


def _expanded(patterns: Sequence[str]) -> list[str]:
    """Files that patterns match, in the order of the numbers in their names; a name without signs stands for itself."""
    import glob
    import re

    files: list[str] = []
    for pattern in patterns:
        found = glob.glob(pattern) if glob.has_magic(pattern) and not Path(pattern).exists() else [pattern]
        files += sorted(found, key=lambda file: [part.zfill(20) for part in re.split(r"(\d+)", file)])
    return files


def _ordered(arms: Mapping[str, list[Path]], baseline: str | None) -> dict[str, list[Path]]:
    """The arms, the baseline first."""
    if baseline is None:
        return dict(arms)
    if baseline not in arms:
        raise ConfigError(f"--baseline {baseline}: no such arm; arms: {', '.join(arms)}")
    return {baseline: arms[baseline], **{name: files for name, files in arms.items() if name != baseline}}


def _compared(
    truth: Path | None,
    arms: Mapping[str, Sequence[Path]],
    metrics: Sequence[str],
    cache: Path | None,
    no_cache: bool,
    criterion: Any,
    type: str,
    bootstrap: int,
    seed: int,
    **judged: Any,
) -> tuple[ArmComparison, Arms]:
    from replication.verdicts.arms import Resampling
    from replication.verdicts.comparison import compare_arms
    from replication.verdicts.comparison_records import Options

    if truth is None:
        raise ConfigError("compare: TRUTH is missing: the ground truth that the detections are of")
    options = Options(metrics=tuple(dict.fromkeys(metrics)), **judged)
    found = _read(truth, arms, Resampling(criterion, bootstrap, seed, type == "segm"), cache, no_cache)
    return compare_arms(found, options), found


def _claimed(
    ctx: click.Context,
    path: Path,
    truth: Path | None,
    given: Mapping[str, Sequence[Path]],
    cache: Path | None,
    no_cache: bool,
) -> tuple[ArmComparison, Arms]:
    """Judge a registered claim by its own terms; what else is given must agree with them."""
    from replication.verdicts.registration import check_files, check_terms, judge_claim, present_runs, read_claim

    registered = read_claim(path)
    chosen = (name for name in TERMS if ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE)
    asked = {"bootstrap_seed" if name == "seed" else name: ctx.params[name] for name in chosen}
    if ctx.params["metric"]:
        asked["metric"] = ", ".join(ctx.params["metric"])
    check_terms(registered, asked)
    look, arms = present_runs(registered)
    check_files(registered, arms, given)
    if truth is not None and truth.resolve() != registered.truth.resolve():
        raise ConfigError(f"{path}: ground_truth: registered is {registered.truth}, given {truth}")
    found = _read(registered.truth, arms, registered.resampling, cache, no_cache)
    return judge_claim(registered, look, arms, found), found


def _read(truth: Path, arms: Mapping[str, Sequence[Path]], resampling: Any, cache: Path | None, no_cache: bool) -> Arms:
    """Evaluate the runs, with a line of progress on a terminal."""
    from tqdm import tqdm

    from replication.verdicts.arm_cache import Cache, default_folder
    from replication.verdicts.arm_reading import read_arms

    keep = None if no_cache else Cache(cache or default_folder())
    with tqdm(total=sum(map(len, arms.values())), unit="run", leave=False, disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.update(done - bar.n)

        return read_arms(truth, arms, resampling, keep, progress)


def _rendered(comparison: ArmComparison, arms: Arms, form: Any, images: Path | None) -> str:
    if form == "json":
        import json

        return json.dumps(comparison.to_dict(), indent=1, allow_nan=False) + "\n"
    if form == "html":
        from replication.report.comparison_page import comparison_page

        return comparison_page(comparison, arms, images)
    from replication.report.comparison import format_comparison

    return format_comparison(comparison, form)


@verb("replication register claim.yaml")
@click.argument("claim", type=FILE)
def register(claim: Path) -> None:
    """Register CLAIM (a YAML file) before its runs exist; judge it by `compare --claim`."""
    from replication.verdicts.registration import read_claim
    from replication.verdicts.registration import register as write

    written = read_claim(write(claim))
    looks = ", ".join(f"{one.runs} runs per arm at {100 * one.level:.2g}%" for one in written.looks)
    print(f"{written.path}\nhash {written.hash}\nregistered {written.registered.isoformat()}\nlooks: {looks}")
    terms = written.claim
    there = [name for name in terms.names if not written.existing.keys().isdisjoint(terms.files(name))]
    if there:
        print(f"warning: runs of {', '.join(there)} exist already: the claim is registered after them", file=sys.stderr)
