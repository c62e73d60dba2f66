"""The plan that was in force at judging: hashes of each paper's claims, and of the protocol's rules and seeds.

A hash does not say when the plan was made. The same hash at the commit of a run says that it has not changed since.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from replication.catalog import Catalog, Claim, Judging, Paper, Protocol, not_testable
from replication.errors import ResultError
from replication.results.files import sha256_json
from replication.results.layout import Layout
from replication.verdicts.controls import control_questions


def plan_hashes(catalog: Catalog, protocol: Protocol, judging: Judging, tables: Iterable[str]) -> dict[str, Any]:
    """Hex SHA-256 of the protocol's part (``protocol``) and of each paper's that has some of the tables (``papers``).

    A paper's hash changes with its claims, what is measured for them and which of its tables the protocol registers;
    the protocol's with the rules and the number of seeds. So a further paper changes nothing of the others'.
    """
    shown = set(tables)
    return {
        "protocol": sha256_json(registered_rules(protocol, judging)),
        "papers": {
            paper.id: sha256_json(registered_claims(catalog, paper, protocol))
            for paper in catalog.papers.values()
            if shown & {table.id for table in paper.tables}
        },
    }


def registered_rules(protocol: Protocol, judging: Judging) -> dict[str, Any]:
    """What holds for all papers."""
    return {
        "protocol": protocol.name,
        "judges": "size" if protocol.published_scale else "direction",
        "seeds": protocol.seeds,
        "rules": judging.model_dump(mode="json"),
    }


def registered_claims(catalog: Catalog, paper: Paper, protocol: Protocol) -> dict[str, Any]:
    """All claims of a paper, which of them the protocol cannot test, its controls, and those of its tables that the
    protocol judges unless others are asked for.
    """
    own, ids = {table.id for table in paper.tables}, {claim.id for claim in paper.claims}
    controls = [one for one in control_questions(catalog, protocol, ()) if one.paper.id == paper.id]
    return {
        "not_testable": sorted(ids & not_testable(catalog, protocol).keys()),
        "controls": [
            [one.table.id, one.row.variant, one.baseline.variant, one.metric, one.row.control] for one in controls
        ],
        "tables": [table for table in protocol.tables if table in own],
        "claims": [_claim(paper, claim) for claim in paper.claims],
    }


def check_plan(
    layout: Layout,
    document: Mapping[str, Any],
    catalog: Catalog,
    protocol: Protocol,
    judging: Judging,
    tables: Sequence[str],
) -> None:
    """Raise ResultError when some of the tables were not judged, or by claims or rules that have changed since.

    ``document`` is the ``verdicts.json`` of ``layout``. What it says of other papers' tables does not matter.
    """
    path = layout.verdicts
    now, then = plan_hashes(catalog, protocol, judging, tables), document["plan"]
    if now["protocol"] != then["protocol"]:
        raise ResultError(
            f"{path}: plan.protocol: configs/verdicts.yaml or the number of seeds of protocol {protocol.name} has "
            f"changed since the judging; {_advice(layout, document, tables, ())}"
        )
    owners = {table.id: paper.id for paper in catalog.papers.values() for table in paper.tables}
    missing = [table for table in tables if table not in document["tables"]]
    changed = [name for name, value in now["papers"].items() if then["papers"].get(name, value) != value]
    usable = [table for table in document["tables"] if table in owners and owners[table] not in changed]
    if missing:
        papers = ", ".join(dict.fromkeys(owners[table] for table in missing))
        raise ResultError(
            f"{path}: tables: {', '.join(missing)} of paper {papers} has not been judged; "
            f"{_advice(layout, document, tables, usable)}"
        )
    if changed:
        raise ResultError(
            f"{path}: plan.papers.{changed[0]}: the claims of {changed[0]} (papers/{changed[0]}.yaml) or its tables "
            f"under protocol {protocol.name} have changed since the judging; "
            f"{_advice(layout, document, tables, usable)}"
        )


def _advice(layout: Layout, document: Mapping[str, Any], tables: Sequence[str], usable: Sequence[str]) -> str:
    if not layout.archive.exists():
        again = f"run `replication verdicts --tables {','.join(tables)}` again"
        return f"{again}, or show other tables with --tables" if usable else again
    kept = f"show {','.join(usable)} with --tables" if usable else "restore what was changed"
    return f"an archive keeps no detections and cannot be judged again: {kept}"


def _claim(paper: Paper, claim: Claim) -> dict[str, Any]:
    """The claim, and what is measured for it."""
    table = paper.table(claim.table)
    column, row, baseline = table.column(claim.column), table.row(claim.row), table.row(claim.baseline)
    fields = ("id", "table", "row", "baseline", "column", "gain", "primary")
    return {name: getattr(claim, name) for name in fields} | {
        "measured": [column.metric, column.criterion, column.unit, row.variant, baseline.variant],
        "published_baseline": baseline.published[column.id],
    }
