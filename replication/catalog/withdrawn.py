"""Verdicts that a protocol's file withdraws: its runs must not be used for or against these claims."""

from __future__ import annotations

from replication.catalog.load import Catalog
from replication.catalog.protocols import Protocol
from replication.errors import ConfigError


def withdrawn(catalog: Catalog, protocol: Protocol) -> dict[str, str]:
    """The reason by claim id. Raises ConfigError for a claim that no paper of the catalog has, or that stands twice."""
    known = {claim.id for paper in catalog.papers.values() for claim in paper.claims}
    reasons: dict[str, str] = {}
    for entry in protocol.withdrawn:
        for claim in entry.claims:
            if claim not in known:
                raise ConfigError(
                    f"protocol {protocol.name}: withdrawn: claim {claim!r} is unknown; `replication catalog "
                    "--format json` lists the claims with their ids"
                )
            if claim in reasons:
                raise ConfigError(f"protocol {protocol.name}: withdrawn: claim {claim!r} is listed twice")
            reasons[claim] = " ".join(entry.reason.split())
    return reasons
