"""Claims that a protocol's file takes out: verdicts that are withdrawn, and claims that it cannot test."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from replication.catalog.load import Catalog
from replication.catalog.protocols import Exclusion, Protocol
from replication.errors import ConfigError


def withdrawn(catalog: Catalog, protocol: Protocol) -> dict[str, str]:
    """By claim id why its verdict must not be used. Raises ConfigError for names unknown or listed twice."""
    return _reasons(catalog, protocol, "withdrawn", protocol.withdrawn)


def not_testable(catalog: Catalog, protocol: Protocol) -> dict[str, str]:
    """By claim id why the protocol cannot test it. Raises ConfigError as ``withdrawn``, also for a claim of both."""
    reasons = _reasons(catalog, protocol, "not_testable", protocol.not_testable)
    both = sorted(reasons.keys() & withdrawn(catalog, protocol))
    if both:
        raise ConfigError(
            f"protocol {protocol.name}: not_testable: claim {both[0]!r} is withdrawn, too; remove one of them"
        )
    return reasons


def _reasons(catalog: Catalog, protocol: Protocol, key: str, exclusions: Sequence[Exclusion]) -> dict[str, str]:
    reasons: dict[str, str] = {}
    for entry in exclusions:
        for claim in _claims(catalog, protocol, key, entry):
            if claim in reasons:
                raise ConfigError(f"protocol {protocol.name}: {key}: claim {claim!r} is listed twice")
            reasons[claim] = " ".join(entry.reason.split())
    return reasons


def _claims(catalog: Catalog, protocol: Protocol, key: str, entry: Exclusion) -> Iterable[str]:
    """Ids of the claims that are named, and of all on the tables that are named."""
    claims = {claim.id: claim.table for paper in catalog.papers.values() for claim in paper.claims}
    tables = {table.id for paper in catalog.papers.values() for table in paper.tables}
    for kind, names, known in (("claim", entry.claims, claims.keys()), ("table", entry.tables, tables)):
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"protocol {protocol.name}: {key}: {kind} {name!r} is unknown; `replication catalog "
                    "--format json` lists the claims with their ids and tables"
                )
    return [*entry.claims, *(claim for claim, table in claims.items() if table in entry.tables)]
