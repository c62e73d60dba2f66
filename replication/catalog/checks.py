"""Cross-references inside the catalog. Each check yields messages ``place: what is wrong``; none raises."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from replication.catalog.papers import BACKBONES, Claim, Column, Paper, Row, Table
from replication.catalog.variants import Variant, resolve

LIMITS = {"fraction": 1.0, "percent": 100.0, "ms": math.inf}


def check_paper(paper: Paper, stem: str) -> Iterator[str]:
    """Everything that can be wrong within one paper's file, whose name without suffix is ``stem``."""
    if paper.id != stem:
        yield f"id: is {paper.id!r} but the file is named {stem!r}; make them equal"
    yield from _twice("tables", (table.id for table in paper.tables))
    yield from _twice("claims", (claim.id for claim in paper.claims))
    yield from _twice("deviations", (deviation.id for deviation in paper.deviations))
    yield from _twice("figure_data", (data.name for data in paper.figure_data))
    for table in paper.tables:
        yield from _check_table(table)
    tables = {table.id: table for table in paper.tables}
    for claim in paper.claims:
        yield from _check_claim(claim, tables)
    yield from _check_primaries(paper.claims)


def check_papers(papers: Mapping[Path, Paper], variants: Mapping[str, Variant]) -> Iterator[tuple[Path, str]]:
    """What can be wrong between papers, or papers and built variants, as (file at fault, message)."""
    homes: dict[str, Path] = {}
    backbones = {name: (variant.backbone, str(variant.path)) for name, variant in variants.items()}
    for path, paper in papers.items():
        for table in paper.tables:
            if homes.setdefault(table.id, path) != path:
                yield path, f"tables: id {table.id!r} is also used in {homes[table.id]}; ids must be unique"
            for row in table.rows:
                yield from ((path, message) for message in _check_backbone(table, row, backbones))
    for path, paper in papers.items():
        for deviation in paper.deviations:
            unknown = [name for name in deviation.variants if name not in backbones]
            if unknown:
                yield (
                    path,
                    f"deviation {deviation.id}: variants: no row and no file names {', '.join(unknown)}",
                )
        for data in paper.figure_data:
            if data.variant is not None and data.variant not in variants:
                yield path, f"figure_data[{data.name}]: variant: {data.variant!r} is not a built variant"


def check_variant(variant: Variant, variants: Mapping[str, Variant]) -> Iterator[str]:
    """What can be wrong with the other variants that one names."""
    proposals = variants.get(variant.proposals_from)
    if variant.proposals_from and (proposals is None or not proposals.class_agnostic or proposals.weights_from):
        yield (
            f"DATASETS.PROPOSALS_FROM: {variant.proposals_from!r} is not a built variant that is an RPN alone and "
            "trained itself"
        )
    if variant.weights_from:
        yield from (f"MODEL.WEIGHTS_FROM: {message}" for message in _check_weights(variant, variants))


def _check_weights(variant: Variant, variants: Mapping[str, Variant]) -> Iterator[str]:
    """A test-time variant's weights must be those of its own detector, from a training."""
    source = variants.get(variant.weights_from)
    if source is None:
        yield f"{variant.weights_from!r} is not a built variant; {_known(sorted(variants))}"
    elif source.command:
        yield f"{variant.weights_from!r} is a command, whose weights nothing here can read; name another variant"
    elif source.weights_from:
        yield f"{source.name!r} uses the weights of {source.weights_from!r} itself; name a variant that is trained"
    else:
        own, theirs = (dict(_leaves(resolve(one.path))) for one in (variant, source))
        keys = sorted(key for key in own.keys() | theirs.keys() if own.get(key) != theirs.get(key))
        trained = [key for key in keys if not key.startswith("TEST.")]
        if trained:
            yield (
                f"{', '.join(trained)}: differs from {source.name}, whose weights it uses: a test-time variant may set "
                "TEST only; start from that variant's file, or leave MODEL.WEIGHTS_FROM out to train this one"
            )


def _leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The plain values of a config by their whole key, as ``SOLVER.MAX_ITER``."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _check_backbone(table: Table, row: Row, backbones: dict[str, tuple[str, str]]) -> Iterator[str]:
    """A variant's backbone is what its file, or the first row that names it, says; ``backbones`` learns from rows."""
    place = f"table {table.id}: row {row.id}"
    if row.variant is not None:
        known, where = backbones.setdefault(row.variant, (row.backbone, place))
        if known != row.backbone:
            yield f"{place}: backbone: {row.backbone!r}, but variant {row.variant} has {known!r} in {where}"


def _twice(place: str, ids: Iterable[str]) -> Iterator[str]:
    for name, count in Counter(ids).items():
        if count > 1:
            yield f"{place}: id {name!r} is used {count} times; ids must be unique"


def _known(ids: Iterable[str]) -> str:
    return "known: " + ", ".join(ids)


def _check_table(table: Table) -> Iterator[str]:
    place = f"table {table.id}"
    yield from _twice(f"{place}: columns", (column.id for column in table.columns))
    yield from _twice(f"{place}: rows", (row.id for row in table.rows))
    rows = {row.id: row for row in table.rows}
    if table.baseline is not None and table.baseline not in rows:
        yield f"{place}: baseline: there is no row {table.baseline!r}; {_known(rows)}"
    for column in table.columns:
        if (column.unit == "ms", column.criterion is None) != (column.lower_is_better, column.lower_is_better):
            yield f"{place}: column {column.id}: ms_per_image is in unit ms with criterion null, and nothing else is"
    for row in table.rows:
        yield from (f"{place}: row {row.id}: {message}" for message in _check_row(row, rows, table.columns))
        yield from (f"{place}: row {row.id}: {message}" for message in _check_beyond(row, table.beyond))


def _check_row(row: Row, rows: Mapping[str, Row], columns: Iterable[Column]) -> Iterator[str]:
    if row.cited and row.variant is not None:
        yield f"variant: {row.variant!r}, but a cited row is never run; remove 'variant' or 'cited'"
    if not row.cited and row.variant is None:
        yield "variant: an own row names the variant that measures it; add it, or mark the row 'cited: true'"
    if not row.cited and row.backbone not in BACKBONES:
        yield f"backbone: {row.backbone!r} is not a known label; {_known(BACKBONES)}"
    yield from _check_baseline(row, rows)
    units = {column.id: column.unit for column in columns}
    for name in units.keys() - row.published.keys():
        yield f"published: column {name!r} is missing; write null where the paper prints nothing"
    for name in row.published.keys() - units.keys():
        yield f"published: {name!r} is not a column of this table; {_known(units)}"
    for name, value in row.published.items():
        limit = LIMITS[units.get(name, "ms")]
        if value is not None and not 0 < value <= limit:
            yield f"published.{name}: {value} is outside 0 to {limit:g} for unit {units.get(name, 'ms')}"


def _check_beyond(row: Row, beyond: bool) -> Iterator[str]:
    if beyond and any(value is not None for value in row.published.values()):
        yield "published: the paper has no such table; leave it out, or remove 'beyond' from the table"
    if row.control is not None and not beyond:
        yield "control: a paper's own row is no control; put it into a table of its own with 'beyond: true'"
    if row.control is not None and row.baseline is None:
        yield "control: needs a baseline that it is judged against"


def _check_baseline(row: Row, rows: Mapping[str, Row]) -> Iterator[str]:
    if row.baseline is None:
        return
    if row.baseline not in rows:
        yield f"baseline: there is no row {row.baseline!r}; {_known(rows)}"
    elif row.baseline == row.id:
        yield "baseline: is the row itself; leave it out for a row that claims no improvement"
    elif row.cited or rows[row.baseline].cited:
        yield f"baseline: {row.baseline!r}: a cited row is not measured, so no difference can be shown"


def _check_claim(claim: Claim, tables: Mapping[str, Table]) -> Iterator[str]:
    place = f"claim {claim.id}"
    if claim.table not in tables:
        yield f"{place}: table: there is no table {claim.table!r}; {_known(tables)}"
        return
    table = tables[claim.table]
    place = f"{place}: table {claim.table}"
    if table.beyond:
        yield f"{place}: is beyond the paper, which claims nothing there"
    rows = {row.id: row for row in table.rows}
    columns = {column.id for column in table.columns}
    wrong = [(field, name) for field, name in (("row", claim.row), ("baseline", claim.baseline)) if name not in rows]
    for field, name in wrong:
        yield f"{place}: {field}: there is no row {name!r}; {_known(rows)}"
    if claim.column not in columns:
        yield f"{place}: row {claim.row}: column: there is no column {claim.column!r}; {_known(sorted(columns))}"
    elif not wrong:
        yield from (
            f"{place}: row {claim.row}: {message}"
            for message in _check_gain(claim, rows[claim.row], rows[claim.baseline])
        )


def _check_gain(claim: Claim, row: Row, baseline: Row) -> Iterator[str]:
    if row.id == baseline.id:
        yield "baseline: a row cannot gain over itself"
    if row.cited or baseline.cited:
        yield "baseline: a claim needs two rows that we can run, and one of these is cited"
    new, old = row.published.get(claim.column), baseline.published.get(claim.column)
    if new is None or old is None:
        yield f"column: {claim.column!r} has no number in one of the two rows"
    elif not math.isclose(new - old, claim.gain, abs_tol=1e-6):
        yield f"gain: {claim.gain:g}, but the rows give {new:g} - {old:g} = {new - old:.6g} in {claim.column}"


def _check_primaries(claims: Iterable[Claim]) -> Iterator[str]:
    claims = list(claims)
    primaries = Counter({(claim.table, claim.baseline, claim.row): 0 for claim in claims})
    primaries.update((claim.table, claim.baseline, claim.row) for claim in claims if claim.primary)
    for (table, baseline, row), count in primaries.items():
        if count < 1:
            yield f"claims: table {table}: row {row}: primary: no claim over {baseline} is primary, at least 1 must be"
    yield from _twice("claims: table, baseline, row, column", map(_claim_key, claims))


def _claim_key(claim: Claim) -> str:
    return f"{claim.table}, {claim.baseline}, {claim.row}, {claim.column}"
