"""Judging a results folder: reads the runs, refuses to mix, and makes ``verdicts.json``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from replication.catalog import Catalog, Judging, Protocol
from replication.errors import ConfigError, ResultError
from replication.results.files import sha256_file, write_json
from replication.results.fingerprint import training_fingerprint
from replication.results.finished import FinishedRun, finished_runs
from replication.results.layout import Layout
from replication.verdicts.cases import Case, Replicates, Runs, make_case, questions, share_weights
from replication.verdicts.judge import Rules, judge_cases, spreads
from replication.verdicts.numbers import published_numbers
from replication.verdicts.output import DIRECTION_HEAD, LEGEND, SCHEMA, SIZE_HEAD, spread_entry, verdict_entry
from replication.verdicts.registered import plan_hash, registered_plan
from replication.verdicts.replicates import image_replicates

RunKey = tuple[str, int]
"""Variant and seed."""


def write_verdicts(
    catalog: Catalog, protocol: Protocol, results: Path, tables: Sequence[str], judging: Judging
) -> dict[str, Any]:
    """Judge, write ``verdicts.json`` (schema ``verdicts/1``), and return what it holds."""
    layout = Layout(results, protocol.name)
    path = layout.verdicts
    if layout.archive.exists():
        raise ResultError(
            f"{path}: is part of an archive, which keeps no detections: judging it again would lose all intervals for "
            "new images; to do it all the same, copy the folder without its archive.json and give the copy as --results"
        )
    document = judge(catalog, protocol, results, tables, judging)
    write_json(path, SCHEMA, document)
    return document


def judge(
    catalog: Catalog,
    protocol: Protocol,
    results: Path,
    tables: Sequence[str],
    judging: Judging,
    replicates: Replicates | None = None,
) -> dict[str, Any]:
    """The verdicts on the claims of ``tables``, and all that they rest on.

    ``replicates`` defaults to the image bootstrap of the runs' own detections. Raises ConfigError for an unknown table
    or one of another benchmark, ResultError naming two files for runs that must not be compared: of different
    protocols, data, image sets, evaluations, training code or settings.
    """
    for name in tables:
        table = catalog.table(name)
        if protocol.benchmark not in (None, table.benchmark):
            raise ConfigError(
                f"table {name} is of benchmark {table.benchmark}, protocol {protocol.name} measures "
                f"{protocol.benchmark}; choose a table of that benchmark or another protocol"
            )
    asked = questions(catalog, tables)
    runs = finished_runs(protocol, results, _variants(catalog, tables))
    outdated = _outdated(catalog, protocol, runs)
    source = replicates if replicates is not None else image_replicates(protocol, results, judging)
    cases = [make_case(one, catalog, protocol, judging, runs, source) for one in asked]
    found = spreads(cases, runs, judging)
    rules = Rules(judging, protocol.published_scale)
    plan = registered_plan(catalog, protocol, judging)
    return {
        "protocol": protocol.name,
        "tables": list(tables),
        "judges": plan["judges"],
        "head": SIZE_HEAD if protocol.published_scale else DIRECTION_HEAD,
        "estimands": LEGEND,
        "rules": plan["rules"],
        "seeds_registered": protocol.registered_seeds,
        "plan_hash": plan_hash(plan),
        "notes": [*outdated, *_notes(protocol, tables, runs, cases)],
        "runs": [
            {"variant": run.variant, "seed": run.seed, "metrics_sha256": sha256_file(run.files.metrics)}
            for group in runs.values()
            for run in group
        ],
        "spreads": {metric: spread_entry(spread, judging) for metric, spread in found.items()},
        "verdicts": [verdict_entry(one, rules) for one in judge_cases(cases, rules, found)],
        "numbers": published_numbers(catalog, tables, protocol, judging, runs, found),
    }


def misjudged(document: Mapping[str, Any], runs: Iterable[FinishedRun], variants: Collection[str]) -> list[RunKey]:
    """Of some variants the runs, as (variant, seed), that were not judged as they are now, and those that are gone."""
    judged = {
        (run["variant"], run["seed"], run["metrics_sha256"]) for run in document["runs"] if run["variant"] in variants
    }
    here = {(run.variant, run.seed, sha256_file(run.files.metrics)) for run in runs if run.variant in variants}
    return sorted({(variant, seed) for variant, seed, _ in judged ^ here})


def _outdated(catalog: Catalog, protocol: Protocol, runs: Runs) -> list[str]:
    """A note when all runs were trained by other code or settings than these; ResultError when only some were."""
    made: dict[bool, FinishedRun] = {}
    for run in (run for group in runs.values() for run in group if run.variant in catalog.variants):
        recorded = run.provenance.training_fingerprint
        if recorded is not None:
            made[recorded == training_fingerprint(catalog.variants[run.variant], protocol)] = run
    if len(made) == 2:
        raise ResultError(
            f"{made[False].files.provenance}: training_fingerprint: was trained by other code, or under other settings "
            f"of protocol {protocol.name} or of the variant, than {made[True].files.provenance}; train it again"
        )
    what = f"all runs were trained by other code, or under other settings of protocol {protocol.name}, than these"
    return [what] if False in made else []


def _variants(catalog: Catalog, tables: Sequence[str]) -> list[str]:
    rows = (row for name in tables for row in catalog.table(name).rows)
    return list(dict.fromkeys(row.variant for row in rows if row.variant is not None))


def _notes(protocol: Protocol, tables: Sequence[str], runs: Runs, cases: Sequence[Case]) -> list[str]:
    """What a reader of the verdicts must know besides."""
    notes = []
    asked = {row.variant for case in cases if case.measurable for row in (case.question.row, case.question.baseline)}
    counts = {len(runs.get(variant or "", ())) for variant in asked}
    registered = protocol.registered_seeds
    if runs and counts and counts != {registered}:
        span = str(min(counts)) if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
        found = f"{span} run{'' if counts == {1} else 's'} a variant, {registered} registered"
        added = "seeds added after a look at the results make firm verdicts more frequent than the stated level"
        notes.append(f"{found}: {added}" if max(counts) > registered else f"{found}: not all have run yet")
    if set(tables) != set(protocol.tables):
        notes.append(
            f"judged on {', '.join(tables)}; registered were {', '.join(protocol.tables)}: the families of "
            "claims, and so the verdicts, are those of the tables judged"
        )
    paired = [case.question.claim.id for case in cases if case.pair is not None and share_weights(case.question, runs)]
    if paired:
        notes.append(
            f"{', '.join(paired)}: both rows are tests of the same trainings, so their runs are paired by seed; the "
            "intervals are those of independent runs, wider than need be where both tests rise and fall together"
        )
    alone = [case.question.claim.id for case in cases if case.pair is not None and not case.pair.has_images]
    if alone:
        notes.append(
            f"{', '.join(alone)}: answered for this benchmark alone, since detections or ground truth are not there"
        )
    rare = {one.supported.of - one.supported.classes for one in cases if one.supported is not None}
    if rare - {0}:
        notes.append(
            f"{max(rare)} classes have fewer than ten objects, and resampling images cannot see all that they vary by: "
            "supported_classes has each gain over the others"
        )
    return notes
