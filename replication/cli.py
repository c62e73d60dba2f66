"""``python -m replication <verb>``: every step of the pipeline, usable without the workflow.

Exit codes: 0 done, 1 a bug (with a traceback), 2 the user's input or machine, with one message that says what to do,
130 interrupted. Nothing heavy is imported before a verb needs it.
"""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from replication.errors import ConfigError, ReplicationError

if TYPE_CHECKING:
    from replication.catalog import Catalog, Protocol
    from replication.training.run import Job

Arguments = argparse.Namespace


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        code: int = options.handler(options) or 0
        return code
    except ReplicationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: what is finished is kept; run the same command again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT):
            raise
        where = error.filename or options.results
        print(f"error: {where}: {error.strerror}; free disk space or choose a writable folder", file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m replication",
        description="Do the gains claimed by detection papers hold up? Every step of the pipeline is a verb.",
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add_catalog(verbs)
    _add_data(verbs)
    _add_runs(verbs)
    _add_results(verbs)
    return top


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    handler: Callable[[Arguments], int | None],
    text: str,
    protocol: bool = True,
) -> argparse.ArgumentParser:
    verb = verbs.add_parser(name, help=text, description=text)
    verb.set_defaults(handler=handler, results=Path("results"))
    if protocol:
        verb.add_argument("--protocol", default="mini", help="name in configs/protocols or path of a .yaml file")
        verb.add_argument("--results", type=Path, default=Path("results"), help="folder of all results")
    return verb


def _tables_option(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--tables", type=_names, help="comma-separated table ids; default: the protocol's")


def _selection(verb: argparse.ArgumentParser) -> None:
    _tables_option(verb)
    verb.add_argument("--seeds", type=_at_least(1), help="runs of each variant; default: the protocol's")
    verb.add_argument("--backbones", type=_names, help="the papers' backbones to run; default: the protocol's")


def _run(verb: argparse.ArgumentParser, required: bool = True) -> None:
    verb.add_argument("--variant", required=required, help="see `python -m replication catalog`")
    verb.add_argument("--seed", type=_at_least(0), default=0)


def _at_least(least: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        number = int(text)
        if number < least:
            raise argparse.ArgumentTypeError(f"{number} is less than {least}")
        return number

    whole.__name__ = "whole number"  # argparse names it in "invalid whole number value"
    return whole


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"{text!r}: expected HEIGHTxWIDTH in pixels, e.g. 480x640")
    return int(height), int(width)


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _format(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--format", choices=("table", "json"), default="table")


def _add_catalog(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = _verb(verbs, "catalog", _catalog, "print papers, tables, rows, variants, claims and their state", False)
    _format(verb)
    verb = _verb(verbs, "plan", _plan, "say what would run, why, and how long it takes")
    _selection(verb)
    _format(verb)


def _add_data(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = _verb(verbs, "data", _data, "download a data set from its official address and unpack it", False)
    verb.add_argument("name", choices=("coco2017", "voc2007", "voc2012"))
    verb.add_argument("--root", type=Path, help="default: $DETECTRON2_DATASETS or ./datasets")
    verb.add_argument("--mirror", help="address of a folder that serves the same files")
    verb = _verb(verbs, "prepare", _prepare, "make or check a protocol's data and write its manifest and ground truth")
    verb = _verb(verbs, "doctor", _doctor, "check environment, data and weights; exit 2 on errors, 0 on warnings")
    verb.set_defaults(protocol=None)
    verb.add_argument("--deep", action="store_true", help="decode every image of large data sets too")
    _format(verb)


def _add_runs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = _verb(verbs, "train", _train, "train one run, or go on with it where it stopped")
    _run(verb)
    verb.add_argument("--restart", action="store_true", help="discard what the run's folder holds")
    verb.add_argument("--gpus", type=_at_least(1), default=1, help="processes, one a GPU, that share the batch")
    verb = _verb(verbs, "detect", _detect, "run a trained model on the validation images")
    _run(verb)
    verb = _verb(verbs, "proposals", _proposals, "write a trained RPN's proposals, on which Fast R-CNN is trained")
    verb.add_argument("--variant", default="rpn_R50", help="the RPN; default: %(default)s")
    verb.set_defaults(seed=0)  # PROPOSALS_SEED, which is not imported before a verb needs it

    verb = _verb(verbs, "figures", _figures, "compute what Libra R-CNN's figures 3 and 5 show, from a trained detector")
    verb.add_argument("--variant", default="faster_rcnn_R50", help="the detector; default: %(default)s")
    verb.add_argument("--seed", type=_at_least(0), default=0)
    _add_time(verbs)


def _add_time(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = _verb(verbs, "time", _time, "time variants in turns: ms an image, model and post-processing apart")
    _tables_option(verb)
    verb.add_argument("--variants", type=_names, help="default: of the tables with latency; detectron2:NAME is its own")
    verb.add_argument("--rounds", type=_at_least(1), default=10, help="6 or more give an interval; default: 10")
    verb.add_argument("--images", type=_at_least(1), default=16, help="images a round; default: 16")
    verb.add_argument("--warmup", type=_at_least(1), default=2, help="passes before the clock starts; default: 2")
    verb.add_argument("--size", type=_size, help="HEIGHTxWIDTH of all inputs; default: as the protocol resizes them")
    verb.add_argument("--device", choices=("auto", "cpu", "cuda"), help="default: the protocol's")
    verb.add_argument("--threads", type=_at_least(1), help="default: the protocol's")
    verb.add_argument("--precision", choices=("fp32", "tf32", "fp16", "bf16"), default="fp32")
    verb.add_argument("--compile", action="store_true", help="torch.compile backbone and heads; default: eager")
    verb.add_argument(
        "--weights", choices=("auto", "trained", "random"), default="auto", help="auto: trained if all are"
    )
    verb.add_argument("--candidates", type=_at_least(1), default=200, help="a level, for random weights; default: 200")
    verb.add_argument("--out", type=Path, help="folder; default: RESULTS/PROTOCOL/latency/DEVICE")


def _add_results(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = _verb(verbs, "evaluate", _evaluate, "AP of a run, or of any COCO detections against a COCO ground truth")
    verb.add_argument("detections", type=Path, nargs="?", help="COCO result file; without it --variant names a run")
    verb.add_argument("ground_truth", type=Path, nargs="?", help="COCO annotation file")
    _run(verb, required=False)
    criteria = ("iou", "giou", "giou_paper", "voc07", "voc", "voc07_giou", "voc_giou")
    verb.add_argument("--criterion", choices=criteria, help="what makes a detection true; default: iou")
    verb.add_argument("--against", type=Path, metavar="OTHER_DETECTIONS", help="detections to compare with, paired")
    text = "resamplings of the images for intervals, with --seed; default: 2000 with --against, else none"
    verb.add_argument("--bootstrap", type=_at_least(0), metavar="N", help=text)
    verb.add_argument("--verify", action="store_true", help="compute again with pycocotools, fail above 1e-12")
    verb.add_argument("--out", type=Path, help="also write the numbers to this JSON file")
    _format(verb)
    verb = _verb(verbs, "verdicts", _verdicts, "judge the papers' claims by the finished runs and write verdicts.json")
    _tables_option(verb)
    _format(verb)
    for name, handler, text in (
        ("tables", _tables, "render measured beside published numbers as Markdown, CSV and LaTeX"),
        ("report", _report, "render one HTML page with tables, curves and provenance"),
    ):
        verb = _verb(verbs, name, handler, text)
        _tables_option(verb)


def _load(options: Arguments) -> tuple[Catalog, Protocol]:
    from replication.catalog import load_catalog, load_protocol

    return load_catalog(), load_protocol(options.protocol)


def _job(options: Arguments) -> Job:
    from replication.training.run import Job

    catalog, protocol = _load(options)
    variant = catalog.variants.get(options.variant)
    if variant is None:
        raise ConfigError(f"--variant {options.variant}: not built; known: {', '.join(sorted(catalog.variants))}")
    return Job(variant, protocol, options.seed, options.results)


def _catalog(options: Arguments) -> None:
    import json

    from replication.catalog import catalog_json, catalog_table, load_catalog

    catalog = load_catalog()
    print(json.dumps(catalog_json(catalog), indent=1) if options.format == "json" else catalog_table(catalog))


def _plan(options: Arguments) -> None:
    import json

    from replication.plan import make_plan

    catalog, protocol = _load(options)
    plan = make_plan(catalog, protocol, options.results, options.tables, options.seeds, options.backbones)
    print(json.dumps(plan.as_json(), indent=1) if options.format == "json" else plan.as_table())


def _data(options: Arguments) -> None:
    from replication.datasets.download import download

    print(download(options.name, options.root, options.mirror))


def _prepare(options: Arguments) -> None:
    from replication.datasets import prepare

    _, protocol = _load(options)
    print(prepare(protocol, options.results))


def _doctor(options: Arguments) -> int:
    import json

    from replication.catalog import load_protocol
    from replication.datasets.doctor import doctor, exit_code, findings_json, findings_table

    protocol = load_protocol(options.protocol) if options.protocol else None
    findings = doctor(protocol, deep=options.deep, results=options.results)
    print(json.dumps(findings_json(findings), indent=1) if options.format == "json" else findings_table(findings))
    return exit_code(findings)


def _train(options: Arguments) -> None:
    from replication.training.run import train

    print(train(_job(options), options.restart, options.gpus))


def _detect(options: Arguments) -> None:
    from replication.training.detect import detect

    print(detect(_job(options)))


def _time(options: Arguments) -> None:
    from tabulate import tabulate

    from replication.plan import make_plan
    from replication.timing.latency import conditions, details, ratio_text

    catalog, protocol = _load(options)
    names = options.variants
    if names is None:
        tables = options.tables or catalog.latency_tables(protocol)
        names = make_plan(catalog, protocol, options.results, tables, seeds=1).timed
    if not names:
        raise ConfigError("--tables: none of them has a latency column; give --variants")
    from replication.timing.run import Settings, time_variants

    settings = Settings(
        rounds=options.rounds,
        images=options.images,
        warmup=options.warmup,
        size=options.size,
        device=options.device,
        threads=options.threads,
        precision=options.precision,
        compiled=options.compile,
        weights=options.weights,
        candidates=options.candidates,
    )
    found = time_variants(catalog, protocol, options.results, names, settings, options.out)
    lines = [details(one) | {"ratio": ratio_text(one.ratio_to(found[0]))} for one in found]
    print(f"{conditions(found[0].document)}\n\n{tabulate(lines, headers='keys', disable_numparse=True)}")
    print(f"\nratio: to {found[0].variant}. Files: {found[0].path.parent}")


def _proposals(options: Arguments) -> None:
    from replication.training.propose import propose

    print(*propose(_job(options)), sep="\n")


def _figures(options: Arguments) -> None:
    from replication.training.figures import write_figures

    print(*write_figures(_job(options)), sep="\n")


def _evaluate(options: Arguments) -> None:
    from replication.evaluation import format_evaluation

    if (options.detections is None) == (options.variant is None):
        raise ConfigError("evaluate: give either DETECTIONS and GROUND_TRUTH, or --variant")
    result = _evaluated_run(options) if options.detections is None else _evaluated_pair(options)
    if options.out is not None:
        from replication.files import write_text

        write_text(options.out, format_evaluation(result, "json"))
    for warning in result["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    print(format_evaluation(result, options.format), end="")


def _evaluated_run(options: Arguments) -> dict[str, Any]:
    from replication.catalog import Run
    from replication.evaluation import evaluate_run

    for name in ("criterion", "against", "bootstrap", "verify"):
        if getattr(options, name) not in (None, False):
            raise ConfigError(f"evaluate: --{name} is for two files: give the run's DETECTIONS and GROUND_TRUTH")
    catalog, protocol = _load(options)
    variant = catalog.variants.get(options.variant)
    run = Run(protocol=protocol.name, variant=options.variant, seed=options.seed)
    return evaluate_run(run, protocol, options.results, variant is not None and variant.class_agnostic)


def _evaluated_pair(options: Arguments) -> dict[str, Any]:
    from replication.evaluation import Options, evaluate

    if options.ground_truth is None:
        raise ConfigError("evaluate: GROUND_TRUTH is missing: the COCO annotation file of the detections' images")
    replicates = options.bootstrap
    if replicates is None:
        replicates = 2000 if options.against is not None else 0
    if replicates == 1:
        raise ConfigError("evaluate: --bootstrap 1: a standard error needs at least 2 replicates")
    chosen = Options(
        criterion=options.criterion or "iou",
        against=options.against,
        replicates=replicates,
        seed=options.seed,
        verify=options.verify,
    )
    return evaluate(options.detections, options.ground_truth, chosen)


def _tables(options: Arguments) -> None:
    from replication.report import terminal_table, write_tables

    catalog, protocol = _load(options)
    tables = options.tables or list(protocol.tables)
    write_tables(catalog, protocol, options.results, tables)
    for table in tables:
        print(terminal_table(catalog, table, protocol, options.results), end="\n\n", flush=True)


def _verdicts(options: Arguments) -> None:
    import json

    from replication.catalog import load_judging
    from replication.verdicts import SCHEMA, verdicts_table, write_verdicts

    catalog, protocol = _load(options)
    tables = options.tables or list(protocol.tables)
    document = write_verdicts(catalog, protocol, options.results, tables, load_judging())
    as_json = options.format == "json"
    print(json.dumps({"schema": SCHEMA, **document}, indent=1) if as_json else verdicts_table(document))


def _report(options: Arguments) -> None:
    from replication.report import write_report

    catalog, protocol = _load(options)
    print(write_report(catalog, protocol, options.results, options.tables or list(protocol.tables)))
