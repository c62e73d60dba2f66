"""What each verb of the command line does. Nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from replication.errors import ConfigError

if TYPE_CHECKING:
    from replication.catalog import Catalog, Protocol, Variant
    from replication.training.run import Job

Arguments = argparse.Namespace


def _load(options: Arguments) -> tuple[Catalog, Protocol]:
    from replication.catalog import load_catalog, load_protocol

    return load_catalog(), load_protocol(options.protocol)


def _job(options: Arguments) -> Job:
    from replication.training.run import Job

    catalog, protocol = _load(options)
    return Job(_variant(options, catalog), protocol, options.seed, options.results)


def _variant(options: Arguments, catalog: Catalog) -> Variant:
    variant = catalog.variants.get(options.variant)
    if variant is None:
        raise ConfigError(f"--variant {options.variant}: not built; known: {', '.join(sorted(catalog.variants))}")
    return variant


def catalog(options: Arguments) -> None:
    """Print the catalog."""
    import json

    from replication.catalog import catalog_json, catalog_table, load_catalog

    catalog = load_catalog()
    print(json.dumps(catalog_json(catalog), indent=1) if options.format == "json" else catalog_table(catalog))


def plan(options: Arguments) -> None:
    """Print what would run."""
    import json

    from replication.planning.plan import make_plan

    catalog, protocol = _load(options)
    plan = make_plan(catalog, protocol, options.results, options.tables, options.seeds, options.backbones)
    if options.left is not None:
        print(plan.left(max(1, options.left // protocol.threads)))
    else:
        print(json.dumps(plan.as_json(), indent=1) if options.format == "json" else plan.as_table())


def data(options: Arguments) -> None:
    """Fetch a data set."""
    from replication.datasets.download import download

    print(download(options.name, options.root, options.mirror))


def prepare(options: Arguments) -> None:
    """Make or check a protocol's data."""
    from replication.datasets import prepare

    _, protocol = _load(options)
    print(prepare(protocol, options.results))


def doctor(options: Arguments) -> int:
    """Check environment, data and weights; returns the exit code."""
    import json

    from replication.catalog import load_protocol
    from replication.doctor.check import doctor, exit_code, findings_json, findings_table

    protocol = load_protocol(options.protocol) if options.protocol else None
    findings = doctor(protocol, deep=options.deep, results=options.results)
    as_json = options.format == "json"
    print(json.dumps(findings_json(findings), indent=1) if as_json else findings_table(findings, options.verbose))
    return exit_code(findings)


def train(options: Arguments) -> None:
    """Train a run or go on with it."""
    from replication.training.run import train

    print(train(_job(options), options.restart, options.gpus))


def detect(options: Arguments) -> None:
    """Detect on the validation images."""
    from replication.inference.detect import detect

    print(detect(_job(options)))


def time(options: Arguments) -> None:
    """Time variants in turns and print what was measured."""
    from tabulate import tabulate

    from replication.planning.plan import make_plan
    from replication.timing.latency import conditions, cost_line, training_conditions

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
        training_steps=options.training_steps,
    )
    found = time_variants(catalog, protocol, options.results, names, settings, options.out)
    first = found[0]
    texts = filter(None, (conditions(first.document), training_conditions(first.document)))
    print(*texts, sep="\n", end="\n\n")
    lines = [cost_line(one, first) for one in found]
    rows = list(zip(lines[0], *(line.values() for line in lines), strict=True))
    print(tabulate(rows, headers="firstrow", disable_numparse=True))
    print(f"\nRatios are to {first.variant}. Files: {first.path.parent}")


def proposals(options: Arguments) -> None:
    """Write the proposals of a trained RPN."""
    from replication.inference.propose import propose

    print(*propose(_job(options)), sep="\n")


def figures(options: Arguments) -> None:
    """Write what one of Libra R-CNN's figures is drawn from: 5, or 3 of the detector that ``--variant`` names."""
    from replication.inference.figures import write_balanced_l1, write_sampling

    if options.variant is None and options.seed:
        raise ConfigError(f"figures: --seed {options.seed}: figure 5 has no run; give the detector's --variant too")
    if options.variant is None:
        print(write_balanced_l1(options.results, _load(options)[1]))
    else:
        print(write_sampling(_job(options)))


def evaluate(options: Arguments) -> None:
    """Evaluate a run or two files, and print the numbers."""
    from replication.evaluation_text import format_evaluation

    if (options.detections is None) == (options.variant is None):
        raise ConfigError("evaluate: give either DETECTIONS and GROUND_TRUTH, or --variant")
    result = _evaluated_run(options) if options.detections is None else _evaluated_pair(options)
    if options.out is not None:
        from replication.results.files import write_text

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


def tables(options: Arguments) -> None:
    """Write and print tables."""
    from replication.report import terminal_table, write_tables

    catalog, protocol = _load(options)
    tables = options.tables or list(protocol.tables)
    write_tables(catalog, protocol, options.results, tables)
    for table in tables:
        print(terminal_table(catalog, table, protocol, options.results), end="\n\n", flush=True)


def verdicts(options: Arguments) -> None:
    """Judge the claims, write and print the verdicts."""
    import json

    from replication.catalog import load_judging
    from replication.verdicts import SCHEMA, verdicts_table, write_verdicts

    catalog, protocol = _load(options)
    tables = options.tables or list(protocol.tables)
    document = write_verdicts(catalog, protocol, options.results, tables, load_judging())
    as_json = options.format == "json"
    print(json.dumps({"schema": SCHEMA, **document}, indent=1) if as_json else verdicts_table(document))


def report(options: Arguments) -> None:
    """Write the page."""
    from replication.report import write_report

    catalog, protocol = _load(options)
    print(write_report(catalog, protocol, options.results, options.tables or list(protocol.tables)))


def export(options: Arguments) -> None:
    """Write the finished runs' results for a model zoo."""
    from replication.export import write_export

    catalog, protocol = _load(options)
    tables = options.tables or list(protocol.tables)
    form, source, out = options.format, options.source, options.out
    print(write_export(catalog, protocol, options.results, tables, form, source, out))


def submission(options: Arguments) -> None:
    """Write what a test server takes."""
    from replication.catalog import Run
    from replication.export import algorithm, check_submittable, set_name, submit_run, write_coco

    if (options.images is None) != (options.image_folder is None):
        raise ConfigError("submission: --images and --image-folder belong together; give both or neither")
    catalog, protocol = _load(options)
    check_submittable(_variant(options, catalog))
    run = Run(protocol=protocol.name, variant=options.variant, seed=options.seed)
    out = options.out or options.results / protocol.name / "submission"
    if options.images is None:
        paths = submit_run(run, protocol, options.results, out)
    else:
        from replication.inference.foreign import detect_images

        found = detect_images(_job(options), options.images, options.image_folder)
        paths = write_coco(found, set_name(options.images), algorithm(run), out)
    print(*paths, sep="\n")


def archive(options: Arguments) -> None:
    """Copy what is worth keeping of a protocol's results."""
    from replication.export.archive import archive

    _, protocol = _load(options)
    print(archive(protocol, options.results, options.out))
