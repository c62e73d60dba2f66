"""Which runs a protocol and a choice of tables need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from replication.catalog.load import Catalog
from replication.catalog.papers import BACKBONES, Row, Table
from replication.catalog.protocols import Protocol
from replication.catalog.variants import Variant
from replication.errors import ConfigError


def select(
    catalog: Catalog,
    protocol: Protocol,
    tables: Sequence[str] | None = None,
    seeds: int | None = None,
    backbones: Sequence[str] | None = None,
) -> list[tuple[Variant, int]]:
    """Variant and seed of the runs that ``tables`` need, each once.

    They come table by table, then seed by seed, baselines first, then in row order.

    ``tables``, ``seeds`` (their number; they are 0 .. seeds-1) and ``backbones`` (labels) default to the protocol's
    own. Rows that are cited or planned are left out. Raises ConfigError for an unknown table or backbone, a table of
    another benchmark than the protocol's, and when nothing is left to run.
    """
    chosen = [_table(catalog, protocol, name) for name in (protocol.tables if tables is None else tables)]
    wanted = _backbones(protocol, backbones)
    count = protocol.seeds if seeds is None else seeds
    if count < 1:
        raise ConfigError(f"seeds: expected a number of runs per variant of at least 1, found {count}")
    runs: dict[tuple[Variant, int], None] = {}
    for table in chosen:
        variants = list(_variants(catalog, table, wanted))
        for seed in range(count):
            runs.update({(variant, seed): None for variant in variants})
    if not runs:
        names = ", ".join(table.id for table in chosen) or "(none)"
        raise ConfigError(
            f"protocol {protocol.name}: no built row of tables {names} has backbone {', '.join(wanted)}; choose other "
            "backbones, or see `replication catalog` for the state of every row"
        )
    return list(runs)


def _table(catalog: Catalog, protocol: Protocol, name: str) -> Table:
    table = catalog.table(name)
    if protocol.benchmark is not None and table.benchmark != protocol.benchmark:
        fitting = ", ".join(one.id for one in catalog.tables.values() if one.benchmark == protocol.benchmark)
        raise ConfigError(
            f"protocol {protocol.name}: table {name} is of benchmark {table.benchmark}, "
            f"this protocol measures {protocol.benchmark}; its tables: {fitting}"
        )
    return table


def _backbones(protocol: Protocol, backbones: Sequence[str] | None) -> tuple[str, ...]:
    wanted = protocol.run_backbones if backbones is None else backbones
    if wanted is None:
        return BACKBONES
    unknown = [name for name in wanted if name not in BACKBONES]
    if unknown:
        raise ConfigError(
            f"protocol {protocol.name}: run_backbones: {', '.join(unknown)}: unknown; known: {', '.join(BACKBONES)}"
        )
    return tuple(wanted)


def _variants(catalog: Catalog, table: Table, backbones: Sequence[str]) -> Iterator[Variant]:
    for row in _baselines_first(table):
        if row.variant is not None and row.variant in catalog.variants and row.backbone in backbones:
            yield catalog.variants[row.variant]


def _baselines_first(table: Table) -> list[Row]:
    baselines = {row.baseline for row in table.rows}
    return sorted(table.rows, key=lambda row: row.id not in baselines)
