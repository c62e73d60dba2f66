"""The plan that was in force at judging: claims, cuts, levels, seeds, tables; and its hash.

The hash does not say when the plan was made. The same hash at the commit of a run says that it has not changed since.
"""

from __future__ import annotations

from typing import Any

from replication.catalog import Catalog, Claim, Judging, Paper, Protocol
from replication.results.files import sha256_json


def registered_plan(catalog: Catalog, protocol: Protocol, judging: Judging) -> dict[str, Any]:
    """All claims of all papers with their cuts, the rules, and the protocol's seeds and tables."""
    claims = [_claim(paper, claim, judging) for paper in catalog.papers.values() for claim in paper.claims]
    return {
        "protocol": protocol.name,
        "judges": "size" if protocol.published_scale else "direction",
        "seeds": protocol.registered_seeds,
        "tables": list(protocol.tables),
        "rules": judging.model_dump(mode="json"),
        "claims": claims,
    }


def plan_hash(plan: dict[str, Any]) -> str:
    """Hex SHA-256 of a registered plan; changes with every claim and its measure, cut, level, seeds or primary mark."""
    return sha256_json(plan)


def _claim(paper: Paper, claim: Claim, judging: Judging) -> dict[str, Any]:
    """The claim, and what is measured for it."""
    table = paper.table(claim.table)
    column, row, baseline = table.column(claim.column), table.row(claim.row), table.row(claim.baseline)
    places = ("id", "table", "row", "baseline", "column", "gain", "primary")
    return {name: getattr(claim, name) for name in places} | {
        "cut": round(claim.gain * judging.cut, 10),
        "measured": [column.metric, column.criterion, column.unit, row.variant, baseline.variant],
        "published_baseline": baseline.published[column.id],
    }
