"""Reading the folders of papers, variants and protocols whole, checked against each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import Field

from replication.catalog.checks import check_paper, check_papers, check_variant
from replication.catalog.folders import CONFIGS, named_files
from replication.catalog.losses import own_losses
from replication.catalog.papers import Claim, Paper, Row, State, Table, read_paper
from replication.catalog.protocols import Protocol
from replication.catalog.records import Record, parse, read_yaml
from replication.catalog.variants import Variant, read_variants
from replication.errors import ConfigError, did_you_mean


class Catalog(Record):
    """Papers by id, built variants by name, protocols by name; ``folders`` are those that they were read from."""

    papers: dict[str, Paper]
    variants: dict[str, Variant]
    protocols: dict[str, Protocol] = Field(default_factory=dict)
    folders: tuple[Path, ...] = (CONFIGS,)

    @property
    def tables(self) -> dict[str, Table]:
        """All tables by id, in the order of the papers' files."""
        return {table.id: table for paper in self.papers.values() for table in paper.tables}

    def table(self, table_id: str) -> Table:
        """The table of that id; ConfigError naming the known ones when there is none."""
        if table_id not in self.tables:
            close = did_you_mean(table_id, self.tables)
            raise ConfigError(f"table {table_id!r} is unknown; {close}known tables: {', '.join(self.tables)}")
        return self.tables[table_id]

    def variant(self, name: str) -> Variant:
        """The built variant of that name; ConfigError naming the known ones when there is none."""
        if name not in self.variants:
            close = did_you_mean(name, self.variants)
            raise ConfigError(f"variant {name!r} is not built; {close}known: {', '.join(sorted(self.variants))}")
        return self.variants[name]

    def paper_of(self, name: str) -> str:
        """The id of the paper that a table, or a figure ``<table>_<kind>`` or ``<paper>_<kind>``, belongs to.

        KeyError when there is none.
        """
        owners = {table.id: paper.id for paper in self.papers.values() for table in paper.tables}
        owners |= {paper: paper for paper in self.papers}
        # Ids may hold underscores too, so that a paper `giou_v2` must win over a paper `giou`.
        for known in sorted(owners, key=len, reverse=True):
            if name == known or name.startswith(f"{known}_"):
                return owners[known]
        raise KeyError(f"no paper has a table or figure {name!r}")

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


def load_catalog(*folders: Path) -> Catalog:
    """Read and check all of ``folders`` (default: the built-in one), which form one catalog.

    Raises ConfigError listing every problem, a line each, with file and field; one that names both files for a name
    that is defined twice.
    """
    folders = folders or (CONFIGS,)
    papers = {path: read_paper(path) for path in named_files(folder / "papers" for folder in folders).values()}
    if not papers:
        raise ConfigError(f"{', '.join(str(folder / 'papers') for folder in folders)}: no paper files (*.yaml) there")
    losses = own_losses(folder for folder in folders if folder != CONFIGS)
    variants = read_variants(*(folder / "variants" for folder in folders), losses=losses)
    problems = list(_problems(papers, variants))
    if problems:
        raise ConfigError("\n".join(problems))
    return Catalog(
        papers={paper.id: paper for paper in papers.values()},
        variants=variants,
        protocols={name: _read_protocol(path) for name, path in _protocol_files(folders).items()},
        folders=folders,
    )


def load_protocol(name: str, folders: Iterable[Path] = (CONFIGS,)) -> Protocol:
    """The protocol of that name in one of the ``folders``, or the file of that path (ends in .yaml or .yml).

    A file's own name must not be that of a protocol in the folders: the two would share a results folder.
    """
    known = _protocol_files(folders)
    if name in known:
        return _read_protocol(known[name])
    path = Path(name)
    if path.suffix not in (".yaml", ".yml") or not path.exists():
        raise ConfigError(
            f"protocol {name!r} does not exist; {did_you_mean(name, known)}known protocols: "
            f"{', '.join(sorted(known))}; for your own give the path of a .yaml file"
        )
    protocol = parse(Protocol, read_yaml(path), path)
    other = known.get(protocol.name)
    if other is not None and other.resolve() != path.resolve():
        raise ConfigError(
            f"{path}: name: {protocol.name!r} is already defined in {other}, and both would share one results folder; "
            "choose another name"
        )
    return protocol


def _problems(papers: dict[Path, Paper], variants: dict[str, Variant]) -> Iterator[str]:
    for path, paper in papers.items():
        yield from (f"{path}: {message}" for message in check_paper(paper, path.stem))
    yield from (f"{path}: {message}" for path, message in check_papers(papers, variants))
    for variant in variants.values():
        yield from (f"{variant.path}: {message}" for message in check_variant(variant, variants))


def _protocol_files(folders: Iterable[Path]) -> dict[str, Path]:
    return named_files(folder / "protocols" for folder in folders)


def _read_protocol(path: Path) -> Protocol:
    protocol = parse(Protocol, read_yaml(path), path)
    if protocol.name != path.stem:
        raise ConfigError(f"{path}: name: is {protocol.name!r} but the file is named {path.stem!r}")
    return protocol
