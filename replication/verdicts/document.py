"""Judge a results folder: read the runs, refuse to mix, and make ``verdicts.json``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from replication.catalog import Catalog, Judging, Protocol, withdrawn
from replication.errors import ConfigError, ResultError
from replication.results.files import check_writable, sha256_file, write_json
from replication.results.fingerprint import training_fingerprint
from replication.results.finished import FinishedRun, finished_runs
from replication.results.layout import Layout
from replication.verdicts.controls import control_questions, control_tables, judge_controls, withhold
from replication.verdicts.evidence import Evidence, Resampler, Runs, gather_evidence, questions, share_weights
from replication.verdicts.halves import judge_halves
from replication.verdicts.judge import Rules, judge_claims
from replication.verdicts.numbers import published_numbers
from replication.verdicts.output import (
    DIRECTION_HEAD,
    ESTIMAND_TEXTS,
    SCHEMA,
    SIZE_HEAD,
    spread_entry,
    verdict_entry,
    withdraw,
)
from replication.verdicts.pooling import spreads
from replication.verdicts.registered import plan_hashes, registered_rules
from replication.verdicts.replicates import image_replicates

RunKey = tuple[str, int]
"""Variant and seed."""


def write_verdicts(
    catalog: Catalog, protocol: Protocol, results: Path, tables: Sequence[str], judging: Judging
) -> dict[str, Any]:
    """Judge, write ``verdicts.json`` (schema ``verdicts/4``), and return its content."""
    layout = Layout(results, protocol.name)
    path = layout.verdicts
    if layout.archive.exists():
        raise ResultError(
            f"{path}: is part of an archive, which keeps no detections: judging it again would lose all intervals for "
            "new images; if that is wanted, copy the folder without its archive.json, give the copy as --results, and "
            "name the archive's tables with --tables"
        )
    check_writable(path.parent)
    document = judge(catalog, protocol, results, tables, judging)
    write_json(path, SCHEMA, document)
    return document


def judge(
    catalog: Catalog,
    protocol: Protocol,
    results: Path,
    tables: Sequence[str],
    judging: Judging,
    resample: Resampler | None = None,
    until: str | None = None,
) -> dict[str, Any]:
    """The verdicts on the claims of ``tables``, and all that they rest on.

    Runs that only tables after ``until`` show are not read, as if they had not run yet. ``resample`` defaults to the
    image bootstrap of the runs' own detections. Raises ConfigError for an unknown table or one of another benchmark,
    ResultError naming two files for runs that must not be compared: of different protocols, data, image sets,
    evaluations, training code or settings.
    """
    for name in tables:
        table = catalog.table(name)
        if protocol.benchmark not in (None, table.benchmark):
            raise ConfigError(
                f"table {name} is of benchmark {table.benchmark}, protocol {protocol.name} measures "
                f"{protocol.benchmark}; choose a table of that benchmark or another protocol"
            )
    asked, controlled = questions(catalog, tables), control_questions(catalog, protocol, tables)
    later = () if until is None else tables[tables.index(until) + 1 :]
    shown = dict.fromkeys([*tables, *control_tables(catalog, protocol, tables)])
    runs = finished_runs(protocol, results, _variants(catalog, [name for name in shown if name not in later]))
    outdated = _outdated(catalog, protocol, runs)
    resample = resample if resample is not None else image_replicates(protocol, results, judging)
    claims = [gather_evidence(question, catalog, protocol, judging, runs, resample) for question in asked]
    # A control may be broken on purpose: it says nothing of how the others vary.
    apart = {question.row.variant for question in controlled}
    trained = {name: group for name, group in runs.items() if name not in apart}
    pooled = spreads(claims, trained, judging)
    controls = judge_controls(controlled, protocol, judging, runs, pooled, resample)
    columns = {one.metric: one.column for one in asked if one.claim.primary and not one.column.lower_is_better}
    rules, reasons = Rules(judging, protocol.published_scale), withdrawn(catalog, protocol)
    registered = registered_rules(protocol, judging)
    entries = [verdict_entry(claim, rules) for claim in judge_claims(claims, rules, trained, pooled)]
    return {
        "protocol": protocol.name,
        "tables": list(tables),
        "judges": registered["judges"],
        "head": SIZE_HEAD if protocol.published_scale else DIRECTION_HEAD,
        "estimands": ESTIMAND_TEXTS,
        "rules": registered["rules"],
        "seeds_registered": registered["seeds"],
        "plan": plan_hashes(catalog, protocol, judging, tables),
        "notes": [*outdated, *filter(None, [controls.note]), *_notes(protocol, tables, runs, claims)],
        "runs": [
            {
                "variant": run.variant,
                "seed": run.seed,
                "metrics_sha256": sha256_file(run.files.metrics),
                **({"origin": run.origin} if run.origin else {}),
            }
            for group in runs.values()
            for run in group
        ],
        "spreads": {metric: spread_entry(spread, judging) for metric, spread in pooled.items()},
        "verdicts": withdraw(withhold(entries, controls), reasons),
        "controls": controls.document,
        "halves": judge_halves(list(columns.values()), trained, judging, resample),
        "numbers": published_numbers(catalog, tables, protocol, judging, runs, pooled),
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


def _notes(protocol: Protocol, tables: Sequence[str], runs: Runs, claims: Sequence[Evidence]) -> list[str]:
    """Departures from the registered plan, and what limits the verdicts."""
    notes = []
    testable = [evidence.question for evidence in claims if evidence.measurable]
    counts = {len(runs.get(row.variant or "", ())) for claim in testable for row in (claim.row, claim.baseline)}
    registered = protocol.seeds
    if runs and counts and counts != {registered}:
        span = str(min(counts)) if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
        finished = f"{span} run{'' if counts == {1} else 's'} per variant, {registered} registered"
        added = "seeds added after looking at the results make false verdicts more frequent than the stated level"
        notes.append(f"{finished}: {added}" if max(counts) > registered else f"{finished}: not all have run yet")
    if set(tables) != set(protocol.tables):
        notes.append(
            f"judged on {', '.join(tables)}; registered were {', '.join(protocol.tables)}: the families of "
            "claims, and so the verdicts, are those of the tables judged"
        )
    foreign = [f"{run.variant} seed {run.seed}" for group in runs.values() for run in group if run.origin]
    if foreign:
        notes.append(
            f"{', '.join(foreign)}: made elsewhere; that they are runs of these variants under this protocol is their "
            "importer's word, since code, settings and schedule are unknown"
        )
    compared = {evidence.question.claim.id: evidence for evidence in claims if evidence.pair is not None}
    paired = [name for name, evidence in compared.items() if share_weights(evidence.question, runs)]
    if paired:
        notes.append(
            f"{', '.join(paired)}: both rows are tests of the same trainings; the intervals are those of two trainings "
            "that share a seed, which are too wide where both tests are positively correlated"
        )
    no_images = [name for name, evidence in compared.items() if evidence.pair and not evidence.pair.has_images]
    if no_images:
        notes.append(
            f"{', '.join(no_images)}: judged for this benchmark alone, since detections or ground truth are missing"
        )
    rare = {claim.supported.of - claim.supported.classes for claim in claims if claim.supported is not None}
    if rare - {0}:
        notes.append(
            f"{max(rare)} classes have fewer than ten objects, whose variance the image bootstrap underestimates: "
            "supported_classes has each gain over the other classes"
        )
    return notes
