"""Which part of the catalog is asked for: filters by paper, table, variant, protocol and state; all must hold."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from replication.catalog.listing import Listed, variant_names
from replication.catalog.load import Catalog
from replication.catalog.papers import Claim, Paper, Row, State, Table
from replication.catalog.protocols import Protocol
from replication.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Filters:
    """What is asked for; an empty filter lets everything through. ``protocol`` chooses the tables that it plans."""

    papers: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    protocol: Protocol | None = None
    state: State | None = None

    def __bool__(self) -> bool:
        return self != Filters()


def listed(catalog: Catalog, filters: Filters) -> Listed:
    """The part of the catalog that passes all filters.

    Claims are those of the rows that are left; deviations are shown of whole papers, and where they are of a chosen
    variant. Protocols are the chosen one, or those that plan a table that is left. ConfigError for an unknown name, and
    where nothing passes.
    """
    _check(catalog, filters)
    papers = [_paper(catalog, paper, filters) for paper in catalog.papers.values()]
    papers = [paper for paper in papers if paper.tables]
    variants = _variants(catalog, papers, filters)
    if not papers and not variants:
        raise ConfigError("catalog: nothing passes all of these filters; leave one out")
    tables = {table.id for paper in papers for table in paper.tables}
    protocols = [one for one in catalog.protocols.values() if tables & set(one.tables)]
    return Listed(tuple(papers), variants, (filters.protocol,) if filters.protocol else tuple(protocols))


def _check(catalog: Catalog, filters: Filters) -> None:
    _known("paper", filters.papers, catalog.papers)
    _known("table", filters.tables, catalog.tables)
    _known("variant", filters.variants, variant_names(catalog))


def _known(kind: str, names: Sequence[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            close = did_you_mean(name, known)
            raise ConfigError(f"{kind} {name!r} is unknown; {close}known: {', '.join(known)}")


def _paper(catalog: Catalog, paper: Paper, filters: Filters) -> Paper:
    """The paper with what passes; without tables where nothing does."""
    tables = [_table(catalog, table, filters) for table in paper.tables if _asked(paper, table, filters)]
    tables = [table for table in tables if table.rows]
    rows = {(table.id, row.id) for table in tables for row in table.rows}
    claims = [claim for claim in paper.claims if _shown(catalog, claim, rows, filters)]
    return paper.model_copy(
        update={"tables": tuple(tables), "claims": tuple(claims), "deviations": _deviations(paper, filters)}
    )


def _asked(paper: Paper, table: Table, filters: Filters) -> bool:
    planned = filters.protocol.tables if filters.protocol else ()
    return (
        (not filters.papers or paper.id in filters.papers)
        and (not filters.tables or table.id in filters.tables)
        and (filters.protocol is None or table.id in planned)
    )


def _table(catalog: Catalog, table: Table, filters: Filters) -> Table:
    return table.model_copy(update={"rows": tuple(row for row in table.rows if _passes(catalog, row, filters))})


def _passes(catalog: Catalog, row: Row, filters: Filters) -> bool:
    named = not filters.variants or row.variant in filters.variants
    return named and filters.state in (None, catalog.row_state(row))


def _shown(catalog: Catalog, claim: Claim, rows: Collection[tuple[str, str]], filters: Filters) -> bool:
    """A claim on a row that is left, or with it as the baseline."""
    of_rows = (claim.table, claim.row) in rows or (claim.table, claim.baseline) in rows
    return of_rows and filters.state in (None, catalog.claim_state(claim))


def _deviations(paper: Paper, filters: Filters) -> tuple[object, ...]:
    if filters.variants:
        return tuple(one for one in paper.deviations if set(one.variants) & set(filters.variants))
    return () if filters.tables or filters.protocol or filters.state else paper.deviations


def _variants(catalog: Catalog, papers: Sequence[Paper], filters: Filters) -> tuple[str, ...]:
    """Those of the rows that are left; those asked for also where no row has them."""
    if filters.variants and not (filters.papers or filters.tables or filters.protocol):
        shown = set(filters.variants)
    else:
        shown = {row.variant for paper in papers for table in paper.tables for row in table.rows if row.variant}
    built = {None: shown, "built": shown & set(catalog.variants), "planned": shown - set(catalog.variants)}
    kept = built.get(filters.state, set())
    return tuple(name for name in variant_names(catalog) if name in kept)
