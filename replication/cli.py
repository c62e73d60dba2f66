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
    _, protocol = _load(options)
    return evaluate_run(
        Run(protocol=protocol.name, variant=options.variant, seed=options.seed), protocol, options.results
    )


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
