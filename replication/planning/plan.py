"""Which runs a protocol and a choice of tables need, in the order in which they are started. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from replication.catalog import Catalog, Protocol, Variant, mechanisms, select
from replication.catalog.variants import PROPOSALS_SEED
from replication.planning.costs import Cost, iteration_cost
from replication.results.elsewhere import elsewhere
from replication.results.layout import Layout
from replication.results.run import Run


@dataclass(frozen=True)
class Plan:
    """All runs of a protocol and a choice of tables. ``runs`` holds what others need before them, each run once.

    ``measured`` are costs by variant, for those that no other is known of.
    """

    protocol: Protocol
    catalog: Catalog
    results: Path
    tables: tuple[str, ...]
    runs: tuple[Run, ...]
    measured: Mapping[str, Cost] = field(default_factory=dict)

    def cost(self, variant: str) -> Cost | None:
        """That of a training iteration: of a run, recorded, or measured for this plan; None where none is known."""
        return iteration_cost(self.layout, variant, self.catalog.folders) or self.measured.get(variant)

    @property
    def layout(self) -> Layout:
        """Where the protocol's results lie."""
        return Layout(self.results, self.protocol.name)

    @property
    def variants(self) -> list[Variant]:
        """The variants of the runs, each once, in order."""
        return list(dict.fromkeys(run.variant for run in self.runs))

    @cached_property
    def elsewhere(self) -> list[Run]:
        """The planned runs that were made elsewhere: finished, and without weights."""
        return [run for run in self.runs if elsewhere(run.files) is not None]

    @property
    def trainings(self) -> list[Run]:
        """The planned runs that are trained: all but those of test-time variants, and those made elsewhere."""
        return [run for run in self.runs if not run.variant.weights_from and run not in self.elsewhere]

    @property
    def shown(self) -> list[Run]:
        """The planned runs that any of the tables shows: all but those that only serve others."""
        return list(dict.fromkeys(run for table in self.tables for run in self.runs_of(table)))

    def runs_of(self, table: str) -> list[Run]:
        """The planned runs that one table shows."""
        shown = {row.variant for row in self.catalog.table(table).rows}
        return [run for run in self.runs if run.variant.name in shown]

    def runs_until(self, table: str) -> list[Run]:
        """The planned runs that the table, or one before it, shows."""
        tables = self.tables[: self.tables.index(table) + 1]
        return list(dict.fromkeys(run for one in tables for run in self.runs_of(one)))

    @property
    def interim(self) -> list[str]:
        """The tables with primary claims that can be judged before the last runs are finished."""
        return [
            table
            for table in self.tables
            if any(one.primary and one.table == table for one in self.catalog.papers[self.paper_of(table)].claims)
            and set(self.runs_until(table)) != set(self.shown)
        ]

    def paper_of(self, name: str) -> str:
        """See ``Catalog.paper_of``."""
        return self.catalog.paper_of(name)

    @property
    def figure_data(self) -> list[Path]:
        """The files that the papers' own figures are drawn from, of every paper with a table in the plan.

        Only where their run is planned anyway: a training for a figure alone would cost as much as a row of a table.
        """
        planned, shown = {(run.variant.name, run.seed) for run in self.trainings}, set(self.tables)
        return [
            self.layout.figure_data(paper.id, data.name)
            for paper in self.catalog.papers.values()
            if shown & {table.id for table in paper.tables}
            for data in paper.figure_data
            if data.variant is None or (data.variant, data.seed) in planned
        ]

    @property
    def timed(self) -> tuple[str, ...]:
        """Variants of the chosen tables whose rows are timed, each once."""
        return tuple(dict.fromkeys(name for table in self.tables for name in self.timed_in(table)))

    def timed_in(self, table: str) -> list[str]:
        """Planned variants of one table, in row order; none when its rows are not timed.

        Test-time variants are left out: a test in several views cannot be timed. So are commands, and variants whose
        first run was made elsewhere: they have no weights here.
        """
        record = self.catalog.table(table)
        planned = {run.variant.name for run in self.trainings if run.seed == 0 and not run.variant.command}
        return [row.variant for row in record.rows if record.timed and row.variant in planned]

    @property
    def timed_runs(self) -> list[Run]:
        """The runs whose weights are timed: the first seed's."""
        return [run for run in self.runs if run.variant.name in self.timed and run.seed == 0]


def make_plan(
    catalog: Catalog,
    protocol: Protocol,
    results: Path,
    tables: Sequence[str] | None = None,
    seeds: int | None = None,
    backbones: Sequence[str] | None = None,
) -> Plan:
    """The plan of a protocol; what is None is the protocol's own.

    Raises ConfigError for what cannot be chosen, and for a protocol that explains a table that there is not.
    """
    mechanisms(catalog, protocol)
    chosen = tuple(tables or protocol.tables)
    needed = [
        Run(variant, protocol, seed, results) for variant, seed in select(catalog, protocol, chosen, seeds, backbones)
    ]
    return Plan(protocol, catalog, results, chosen, tuple(_with_sources(catalog, needed)))


def _with_sources(catalog: Catalog, runs: Sequence[Run]) -> dict[Run, None]:
    """The runs in order, each once, with the runs whose proposals or weights one needs before it."""
    ordered: dict[Run, None] = {}
    for run in runs:
        if run.variant.proposals_from:
            source = catalog.variants[run.variant.proposals_from]
            ordered[Run(source, run.protocol, PROPOSALS_SEED, run.results)] = None
        ordered[run.trained] = None
        ordered[run] = None
    return ordered
