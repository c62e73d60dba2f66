"""What ``replication catalog`` prints: what the catalog holds and whether it can run yet, whole or as chosen."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from replication.catalog.folders import CONFIGS
from replication.catalog.load import Catalog
from replication.catalog.papers import Claim, Column, Paper, Row, Table
from replication.catalog.protocols import Protocol
from replication.catalog.units import number, signed
from replication.catalog.variants import Variant

SCHEMA = "catalog/1"
SHORT = 60
"""Characters of a caption or title in the overview."""
BUILT_FACTS = (
    "path",
    "meta_architecture",
    "iterations",
    "masks",
    "proposals_from",
    "weights_from",
    "losses",
    "command",
)


@dataclass(frozen=True)
class Listed:
    """What is listed: papers with the tables, rows and claims that are shown, names of variants, and protocols."""

    papers: tuple[Paper, ...]
    variants: tuple[str, ...]
    protocols: tuple[Protocol, ...]


def everything(catalog: Catalog) -> Listed:
    """The whole catalog."""
    return Listed(tuple(catalog.papers.values()), variant_names(catalog), tuple(catalog.protocols.values()))


def catalog_json(catalog: Catalog, listed: Listed | None = None) -> dict[str, Any]:
    """The catalog, or what is ``listed`` of it, as JSON-able values; rows, columns, claims and variants carry their
    ``state``.
    """
    listed = listed or everything(catalog)
    return {
        "schema": SCHEMA,
        "papers": [_paper(catalog, paper) for paper in listed.papers],
        "variants": [_variant(catalog, name) for name in listed.variants],
        "protocols": [protocol.model_dump(mode="json") for protocol in listed.protocols],
    }


def catalog_table(catalog: Catalog, listed: Listed | None = None) -> str:
    """The same for people: a block a table with its rows and published numbers, then variants, claims, and so on."""
    listed = listed or everything(catalog)
    blocks = [_summary(catalog, listed)]
    for paper in listed.papers:
        blocks.append(f"{paper.id}: {paper.title} ({paper.venue}, arXiv {paper.arxiv})")
        blocks += [_table_block(catalog, table) for table in paper.tables]
        blocks += [_claims_block(catalog, paper)] * bool(paper.claims)
        blocks += [_deviations_block(paper)] * bool(paper.deviations)
    blocks += [_variants_block(catalog, listed.variants)] * bool(listed.variants)
    blocks += [_protocols_block(listed.protocols)] * bool(listed.protocols)
    return "\n\n".join(blocks) + "\n"


def catalog_overview(catalog: Catalog) -> str:
    """A screenful: a line per table and per protocol, and how to see more."""
    tables = [_table_line(catalog, paper, table) for paper in catalog.papers.values() for table in paper.tables]
    scales = [[protocol.name, _shortened(protocol.title)] for protocol in catalog.protocols.values()]
    blocks = [
        _summary(catalog, everything(catalog)),
        tabulate(tables, ["paper", "table", "shows", "rows", "can run", "claims"], disable_numparse=True),
        tabulate(scales, ["protocol", "scale"], disable_numparse=True),
        "Rows, numbers, claims and variants: --paper, --tables, --variant, --protocol, --state, or --all.",
    ]
    return "\n\n".join(blocks) + "\n"


def _table_line(catalog: Catalog, paper: Paper, table: Table) -> list[str]:
    runnable = sum(catalog.row_state(row) == "built" for row in table.rows)
    claims = sum(claim.table == table.id for claim in paper.claims)
    return [paper.id, table.id, _shortened(table.caption), str(len(table.rows)), str(runnable), str(claims)]


def _shortened(text: str) -> str:
    return textwrap.shorten(text, SHORT, placeholder=" ...")


def _paper(catalog: Catalog, paper: Paper) -> dict[str, Any]:
    content = paper.model_dump(mode="json")
    content["tables"] = [_table(catalog, table) for table in paper.tables]
    content["claims"] = [
        claim.model_dump(mode="json") | {"state": catalog.claim_state(claim)} for claim in paper.claims
    ]
    return content


def _table(catalog: Catalog, table: Table) -> dict[str, Any]:
    content = table.model_dump(mode="json")
    content["columns"] = [column.model_dump(mode="json") | {"state": column.state} for column in table.columns]
    content["rows"] = [row.model_dump(mode="json") | {"state": catalog.row_state(row)} for row in table.rows]
    return content


def variant_names(catalog: Catalog) -> tuple[str, ...]:
    """Of all variants, built or planned: those of the tables in their order, then the others."""
    named = (row.variant for table in catalog.tables.values() for row in table.rows if row.variant is not None)
    return tuple(dict.fromkeys([*named, *catalog.variants]))


def _variant(catalog: Catalog, name: str) -> dict[str, Any]:
    rows = [f"{table.id}/{row.id}" for table in catalog.tables.values() for row in table.rows if row.variant == name]
    built: Variant | None = catalog.variants.get(name)
    facts: dict[str, Any] = dict.fromkeys(BUILT_FACTS)
    if built is not None:
        facts = built.model_dump(mode="json", exclude={"name", "path", "backbone", "trial", "code"})
        facts["path"] = _shown_path(built.path)
    state = "planned" if built is None else built.state
    return {"name": name, "state": state, "backbone": _backbone(catalog, name), "rows": rows, **facts}


def _shown_path(path: Path) -> str:
    """Of a built-in file the place within ``configs``; of a user's the path as found."""
    return path.relative_to(CONFIGS).as_posix() if path.is_relative_to(CONFIGS) else str(path)


def _backbone(catalog: Catalog, name: str) -> str:
    if name in catalog.variants:
        return catalog.variants[name].backbone
    rows = (row for table in catalog.tables.values() for row in table.rows if row.variant == name)
    return next(rows).backbone


def _summary(catalog: Catalog, listed: Listed) -> str:
    tables = [table for paper in listed.papers for table in paper.tables]
    rows = [catalog.row_state(row) for table in tables for row in table.rows]
    claims = [catalog.claim_state(claim) for paper in listed.papers for claim in paper.claims]
    states = ", ".join(f"{rows.count(state)} {state}" for state in ("built", "planned", "cited"))
    built = sum(name in catalog.variants for name in listed.variants)
    return (
        f"{len(listed.papers)} papers, {len(tables)} tables, {len(rows)} rows ({states}), "
        f"{built} variants built, {len(claims)} claims ({claims.count('built')} can be judged)"
    )


def _table_block(catalog: Catalog, table: Table) -> str:
    heads = ["row", "state", "backbone", "variant", "baseline", *map(_head, table.columns)]
    lines = [_row_line(catalog, table, row) for row in table.rows]
    facts = f"{table.id}: {table.caption}\n{table.dataset}, {table.split}; {table.unit}; benchmark {table.benchmark}"
    facts += "; beyond the paper" if table.beyond else ""
    note = f"\nNote: {table.note}" if table.note else ""
    return f"{facts}{note}\n{tabulate(lines, heads, disable_numparse=True)}"


def _head(column: Column) -> str:
    return column.head + (" (planned)" if column.state == "planned" else "")


def _row_line(catalog: Catalog, table: Table, row: Row) -> list[str]:
    numbers = [shown(row.published[column.id], column) for column in table.columns]
    return [row.label, catalog.row_state(row), row.backbone, row.variant or "", row.baseline or "", *numbers]


def shown(value: float | None, column: Column, sign: bool = False) -> str:
    """A number with the decimals that the papers print: 3 for fractions, 1 for percent, 0 for ms; '' for none."""
    if value is None:
        return ""
    return signed(value, column.unit) if sign else number(value, column.unit)


def _claims_block(catalog: Catalog, paper: Paper) -> str:
    lines = [_claim_line(catalog, claim) for claim in paper.claims]
    heads = ["claim", "state", "row", "over", "column", "gain", "primary", "as printed"]
    return f"Claims of {paper.id}\n{tabulate(lines, heads, disable_numparse=True)}"


def _claim_line(catalog: Catalog, claim: Claim) -> list[str]:
    table = catalog.tables[claim.table]
    column = table.column(claim.column)
    gain = shown(claim.gain, column, sign=True)
    names = [table.row(claim.row).label, table.row(claim.baseline).label, column.head]
    return [claim.id, catalog.claim_state(claim), *names, gain, "*" if claim.primary else "", claim.stated or ""]


def _deviations_block(paper: Paper) -> str:
    lines = [[one.id, one.paper_says, one.code_does, one.we_do, one.reason] for one in paper.deviations]
    heads = ["deviation", "paper says", "code does", "we do", "reason"]
    widths = [None, 28, 28, 28, 28]
    body = tabulate(lines, heads, tablefmt="simple_grid", maxcolwidths=widths, disable_numparse=True)
    return f"Deviations from {paper.id}\n{body}"


def _variants_block(catalog: Catalog, names: Sequence[str]) -> str:
    facts = [_variant(catalog, name) for name in names]
    keys = ["name", "state", "backbone", "meta_architecture", "iterations", "masks"]
    lines = [[one[key] for key in keys] + [len(one["rows"])] for one in facts]
    return f"Variants\n{tabulate(lines, [*keys, 'rows'], missingval='')}"


def _protocols_block(protocols: Sequence[Protocol]) -> str:
    lines = [_protocol_line(protocol) for protocol in protocols]
    heads = ["name", "title", "benchmark", "data", "batch", "seeds", "tables"]
    return f"Protocols\n{tabulate(lines, heads, missingval='')}"


def _protocol_line(protocol: Protocol) -> list[Any]:
    tables = ", ".join(protocol.tables)
    return [
        protocol.name,
        protocol.title,
        protocol.benchmark,
        protocol.data.kind,
        protocol.batch,
        protocol.seeds,
        tables,
    ]
