"""What each table's claims rest on under a protocol, as the protocol's file says it."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from replication.catalog.load import Catalog
from replication.catalog.papers import Claim
from replication.catalog.protocols import Mechanism, Protocol
from replication.errors import ConfigError


def mechanisms(catalog: Catalog, protocol: Protocol) -> dict[str, tuple[str, ...]]:
    """The paragraphs by table id, those of a table before those of its claims, which begin with the claim in words.

    Raises ConfigError for a table or claim that no paper of the catalog has, or that stands in two entries.
    """
    claims = {claim.id: claim for paper in catalog.papers.values() for claim in paper.claims}
    _check(protocol, "table", [table for entry in protocol.mechanisms for table in entry.tables], catalog.tables)
    _check(protocol, "claim", [claim for entry in protocol.mechanisms for claim in entry.claims], claims)
    texts: dict[str, list[str]] = {}
    for entry in protocol.mechanisms:
        for table in entry.tables:
            texts.setdefault(table, []).append(" ".join(entry.text.split()))
    for entry in protocol.mechanisms:
        for table, text in _of_claims(catalog, claims, entry):
            texts.setdefault(table, []).append(text)
    return {table: tuple(paragraphs) for table, paragraphs in texts.items()}


def _check(protocol: Protocol, kind: str, named: list[str], known: Collection[str]) -> None:
    for position, name in enumerate(named):
        if name not in known:
            raise ConfigError(
                f"protocol {protocol.name}: mechanisms: {kind} {name!r} is unknown; "
                f"`replication catalog --format json` lists the {kind}s with their ids"
            )
        if name in named[:position]:
            raise ConfigError(f"protocol {protocol.name}: mechanisms: {kind} {name!r} is listed twice")


def _of_claims(catalog: Catalog, claims: dict[str, Claim], entry: Mechanism) -> Iterator[tuple[str, str]]:
    """Table and paragraph for each table that has some of an entry's claims; a comparison stands once."""
    compared: dict[str, dict[str, None]] = {}
    for claim in (claims[name] for name in entry.claims):
        table = catalog.table(claim.table)
        words = f"{table.row(claim.row).label} over {table.row(claim.baseline).label}"
        compared.setdefault(claim.table, {})[words] = None
    for name, pairs in compared.items():
        yield name, f"{'; '.join(pairs)}: {' '.join(entry.text.split())}"
