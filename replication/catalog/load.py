"""Reading ``configs/`` whole: papers, variants and protocols, checked against each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from replication.catalog.checks import check_paper, check_papers, check_variant
from replication.catalog.papers import Claim, Paper, Row, State, Table, read_paper
from replication.catalog.protocols import Protocol
from replication.catalog.records import CONFIGS, Record, parse, read_yaml
from replication.catalog.variants import Variant, read_variants
from replication.errors import ConfigError


class Catalog(Record):
    """Papers by id, built variants by name, the shipped protocols by name."""

    papers: dict[str, Paper]
    variants: dict[str, Variant]
    protocols: dict[str, Protocol] = Field(default_factory=dict)

    @property
    def tables(self) -> dict[str, Table]:
        """All tables by id, in the order of the papers' files."""
        return {table.id: table for paper in self.papers.values() for table in paper.tables}

    def table(self, table_id: str) -> Table:
        """The table of that id; ConfigError naming the known ones when there is none."""
        if table_id not in self.tables:
            raise ConfigError(f"table {table_id!r} is unknown; known tables: {', '.join(self.tables)}")
        return self.tables[table_id]

    def latency_tables(self, protocol: Protocol) -> list[str]:
        """The protocol's tables whose rows are timed or, if it has none, all of its benchmark."""
        shown = [name for name, table in self.tables.items() if table.timed]
        own = [name for name in protocol.tables if name in shown]
        return own or [name for name in shown if protocol.benchmark in (None, self.tables[name].benchmark)]

    def row_state(self, row: Row) -> State:
        """``cited`` is never run; ``planned`` has a variant that no file builds yet; ``built`` can run."""
        if row.variant is None:
            return "cited"
        return "built" if row.variant in self.variants else "planned"

    def claim_state(self, claim: Claim) -> State:
        """``built`` when both rows can run and the column can be measured."""
        table = self.tables[claim.table]
        rows = (table.row(claim.row), table.row(claim.baseline))
        ready = all(self.row_state(row) == "built" for row in rows)
        return "built" if ready and table.column(claim.column).state == "built" else "planned"


def load_catalog(configs: Path = CONFIGS) -> Catalog:
    """Read and check all of ``configs``; ConfigError lists every problem, a line each, with file and field."""
    paths = sorted((configs / "papers").glob("*.yaml"))
    if not paths:
        raise ConfigError(f"{configs / 'papers'}: no paper files (*.yaml) there")
    papers = {path: read_paper(path) for path in paths}
    variants = read_variants(configs / "variants")
    problems = list(_problems(papers, variants, configs))
    if problems:
        raise ConfigError("\n".join(problems))
    return Catalog(
        papers={paper.id: paper for paper in papers.values()},
        variants=variants,
        protocols=_protocols(configs / "protocols"),
    )


def _problems(papers: dict[Path, Paper], variants: dict[str, Variant], configs: Path) -> Iterator[str]:
    for path, paper in papers.items():
        for message in check_paper(paper, path.stem):
            yield f"{path}: {message}"
    for stem, message in check_papers(papers.values(), variants):
        yield f"{configs / 'papers' / stem}.yaml: {message}"
    for variant in variants.values():
        yield from (f"{variant.path}: {message}" for message in check_variant(variant, variants))


def _protocols(folder: Path) -> dict[str, Protocol]:
    protocols = {path: parse(Protocol, read_yaml(path), path) for path in sorted(folder.glob("*.yaml"))}
    for path, protocol in protocols.items():
        if protocol.name != path.stem:
            raise ConfigError(f"{path}: name: is {protocol.name!r} but the file is named {path.stem!r}")
    return {protocol.name: protocol for protocol in protocols.values()}
