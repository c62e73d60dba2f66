"""What README.md, docs/results.md and docs/protocols.md show of results and protocols: no number or text is copied.

python docs/readme.py
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from replication.catalog import Column, Protocol, load_catalog, load_protocol, mechanisms, withdrawn
from replication.catalog.units import gain
from replication.report.cells import Comparison, Line, compare_all
from replication.report.claims import bounds
from replication.report.tables import measured_text, published_text
from replication.results.files import read_json, write_text
from replication.results.layout import Layout
from replication.verdicts import SCHEMA
from replication.verdicts.halves import halves_text
from replication.verdicts.output import withdraw
from replication.verdicts.rules import WITHDRAWN, WITHHELD

ROOT = Path(__file__).resolve().parents[1]
README, RESULTS, PROTOCOLS = ROOT / "README.md", ROOT / "docs" / "results.md", ROOT / "docs" / "protocols.md"
REFERENCE = ROOT / "results" / "reference"
BEGIN, END = "<!-- made by `make readme` from results/reference -->\n", "<!-- end of what `make readme` makes -->\n"


def headline_results(protocol: Protocol, results: Path) -> str:
    """Markdown for the README: of each table the primary claim with the largest published gain, and its verdict."""
    _, _, entries = _read(protocol, results)
    largest: dict[str, Mapping[str, Any]] = {}
    for entry in _distinct(entries):
        best = largest.setdefault(entry["table"], entry)
        if entry["claimed"]["gain"] > best["claimed"]["gain"]:
            largest[entry["table"]] = entry
    return _verdicts(list(largest.values()))


def reference_results(protocol: Protocol, results: Path) -> str:
    """Markdown: the primary claims with numbers and their verdicts, what is to be known of these, then published and
    measured, table by table.
    """
    document, comparisons, entries = _read(protocol, results)
    return "\n".join([_verdicts(_distinct(entries)), _notes(document), *_numbers(comparisons)])


def _notes(document: Mapping[str, Any]) -> str:
    """Where the runs are not those that were registered, and how often two halves of one variant's seeds differ."""
    notes = [*document["notes"], *filter(None, [halves_text(document["halves"])])]
    return "".join(f"- {note[0].upper()}{note[1:]}.\n" for note in notes)


def _read(protocol: Protocol, results: Path) -> tuple[dict[str, Any], list[Comparison], list[Mapping[str, Any]]]:
    document = read_json(Layout(results, protocol.name).verdicts, SCHEMA)
    catalog = load_catalog()
    comparisons = compare_all(catalog, document["tables"], protocol, results)
    return document, comparisons, list(withdraw(document["verdicts"], withdrawn(catalog, protocol)))


def explained(protocol: Protocol) -> str:
    """Markdown: what the claims of each table rest on under a protocol, tables of one text together."""
    tables: dict[str, list[str]] = {}
    for table, texts in mechanisms(load_catalog(), protocol).items():
        for text in texts:
            tables.setdefault(text, []).append(f"`{table}`")
    return "\n\n".join(f"- {', '.join(named)}: {text}" for text, named in tables.items()) + "\n"


def replace(text: str, block: str) -> str:
    """A page with another block between its two marks. Raises ValueError where they are not there."""
    before, _, rest = text.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"no block between {BEGIN.strip()} and {END.strip()}")
    return f"{before}{BEGIN}\n{block}\n{END}{after}"


def _distinct(entries: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The primary claims with numbers; the same comparison in a second table is left out."""
    claims: dict[tuple[str, str, str], Mapping[str, Any]] = {}
    for entry in entries:
        if entry["primary"] and entry["measured"] is not None:
            compared = entry["row"]["variant"], entry["baseline"]["variant"], entry["column"]["metric"]
            claims.setdefault(compared, entry)
    return list(claims.values())


def _verdicts(entries: Sequence[Mapping[str, Any]]) -> str:
    """One line per claim."""
    heads = ["claim", "metric", "published gain", "measured gain", "95% interval", "verdict"]
    return _table(heads, list(map(_verdict, entries)), ["left", "left", "right", "right", "right", "left"])


def _verdict(entry: Mapping[str, Any]) -> list[str]:
    """The reason of a verdict that is not given out is left to the text below the tables."""
    reason = "" if entry["verdict"] in (WITHDRAWN, WITHHELD) else entry["reason"]
    verdict = ", ".join([f"**{entry['verdict']}**", *entry["qualifiers"], *filter(None, [reason])])
    return [
        f"{entry['table']}: {entry['row']['label']} over {entry['baseline']['label']}",
        entry["column"]["head"],
        gain(entry["claimed"]["gain"], entry["unit"]),
        gain(entry["measured"]["gain"], entry["unit"]),
        bounds(entry),
        verdict,
    ]


def _numbers(comparisons: Sequence[Comparison]) -> list[str]:
    """A block per table, of the rows that have runs; none for tables that only repeat variants shown before."""
    shown: set[str | None] = set()
    blocks = []
    for one in comparisons:
        lines = [line for line in one.lines if line.runs]
        variants = {line.row.variant for line in lines}
        if not variants <= shown:
            blocks.append(_measured(one, lines))
        shown |= variants
    return blocks


def _measured(comparison: Comparison, lines: Sequence[Line]) -> str:
    columns = _columns(comparison)
    heads = [f"{comparison.table.id}: {comparison.table.caption}"]
    for column in columns:
        heads += [f"{column.head} published", "measured"]
    rows = [[line.row.label, *(text for column in columns for text in _texts(line, column))] for line in lines]
    return _table(heads, rows, ["left", *["right"] * (len(heads) - 1)])


def _texts(line: Line, column: Column) -> tuple[str, str]:
    cell = line.cells[column.id]
    return published_text(cell, column), measured_text(cell, column)


def _columns(comparison: Comparison) -> list[Column]:
    """AP, and whatever else the table's primary claims are of."""
    table = comparison.table
    judged = {claim.column for claim in comparison.paper.claims if claim.table == table.id and claim.primary}
    ap = next(column for column in table.columns if column.metric == "AP")
    return [column for column in table.columns if column is ap or column.id in judged]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], align: Sequence[str]) -> str:
    return tabulate(rows, heads, tablefmt="pipe", colalign=align, disable_numparse=True) + "\n"


def pages(protocol: Protocol, results: Path) -> dict[Path, str]:
    """The block of each page."""
    return {
        README: headline_results(protocol, results),
        RESULTS: reference_results(protocol, results),
        PROTOCOLS: explained(protocol),
    }


if __name__ == "__main__":
    for page, block in pages(load_protocol("mini"), REFERENCE).items():
        write_text(page, replace(page.read_text(), block))
