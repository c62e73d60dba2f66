"""Published and measured numbers of a table as Markdown, CSV and LaTeX, and for the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from replication.catalog import Catalog, Column, Protocol
from replication.catalog.units import TIMES, number, ratio, signed
from replication.report.cells import Cell, Comparison, Line, compare, compare_all
from replication.report.head import Head, head
from replication.results.files import write_text
from replication.results.layout import Layout
from replication.timing.latency import Summary

CSV_FIELDS = (
    "table", "protocol", "absolute_comparable", "row", "label", "backbone", "schedule", "variant", "baseline", "status",
    "column", "metric", "criterion", "unit", "published", "published_gain", "measured", "sd", "runs", "measured_gain",
    "published_ratio", "measured_low", "measured_high", "measured_ratio", "measured_ratio_low", "measured_ratio_high",
    "made_elsewhere",
)  # fmt: skip


def render_table(catalog: Catalog, table_id: str, protocol: Protocol, results: Path) -> dict[str, str]:
    """One table in the forms ``md``, ``csv`` (tidy, full precision, a line per row and column) and ``tex`` (booktabs).

    Raises ConfigError for an unknown table, ResultError for runs that must not be compared.
    """
    return _forms(catalog, compare(catalog, table_id, protocol, results))


def _forms(catalog: Catalog, comparison: Comparison) -> dict[str, str]:
    text = head(catalog, comparison)
    return {"md": markdown(comparison, text), "csv": tidy_csv(comparison), "tex": latex(comparison, text)}


def write_tables(catalog: Catalog, protocol: Protocol, results: Path, table_ids: Sequence[str]) -> list[Path]:
    """Write ``results/<protocol>/tables/<table>.{md,csv,tex}``; all tables are rendered before the first is written.

    Those of an archive go beside it (``Layout.rendered``).
    """
    comparisons = compare_all(catalog, table_ids, protocol, results)
    rendered = {one.table.id: _forms(catalog, one) for one in comparisons}
    layout = Layout(results, protocol.name).rendered
    paths = []
    for table_id, forms in rendered.items():
        for form, text in forms.items():
            paths.append(layout.table(table_id, form))
            write_text(paths[-1], text)
    return paths


def terminal_table(catalog: Catalog, table_id: str, protocol: Protocol, results: Path, width: int = 110) -> str:
    """One table as plain text no wider than ``width``: columns that cannot be measured yet are left out."""
    comparison = compare(catalog, table_id, protocol, results)
    text = head(catalog, comparison)
    columns = [column for column in comparison.table.columns if column.state == "built"]
    blocks = [_plain(comparison, group) for group in _groups(comparison, columns or comparison.table.columns, width)]
    lines = [text.title, dict(text.facts)["Measured"], *filter(None, [text.warning]), *text.withdrawn, *text.untestable]
    return "\n".join(lines) + "\n\n" + "\n\n".join(blocks) + "\n"


def markdown(comparison: Comparison, text: Head) -> str:
    """GitHub-flavoured Markdown: the head as a list, then the table."""
    facts = "".join(f"- **{name}:** {_inline(value)}\n" for name, value in text.facts)
    warning = f"> **{_inline(text.warning)}**\n\n" if text.warning else ""
    heads, rows = grid(comparison, comparison.table.columns)
    cells = [[_inline(value) for value in row] for row in rows]
    body = tabulate(cells, heads, tablefmt="pipe", colalign=_alignment(heads), disable_numparse=True)
    return f"## {_inline(text.title)}\n\n{warning}{facts}\n{body}\n"


def latex(comparison: Comparison, text: Head) -> str:
    """A booktabs ``table`` float; the packages it needs are named in a comment."""
    heads, rows = grid(comparison, comparison.table.columns)
    body = tabulate(rows, heads, tablefmt="latex_booktabs", colalign=_alignment(heads), disable_numparse=True)
    notes = " ".join(filter(None, (text.warning, *(f"{name}: {value}." for name, value in text.facts))))
    return (
        "% \\usepackage{booktabs,graphicx}\n"
        "\\begin{table}\n\\centering\n"
        f"\\caption{{{escape_latex(text.title)}}}\n\\label{{tab:{comparison.table.id}}}\n"
        f"\\resizebox{{\\linewidth}}{{!}}{{%\n{_math(body)}}}\n\n"
        f"\\smallskip\\raggedright\\footnotesize {escape_latex(notes)}\n"
        "\\end{table}\n"
    )


def tidy_csv(comparison: Comparison) -> str:
    """One line per row and column, numbers in the column's unit at full precision, empty where there is none."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, CSV_FIELDS, lineterminator="\n")
    writer.writeheader()
    for line in comparison.lines:
        for column in comparison.table.columns:
            record = _csv_record(comparison, line, column)
            writer.writerow({name: _no_formula(value) for name, value in record.items()})
    return buffer.getvalue()


def _no_formula(value: object) -> object:
    """Text that a spreadsheet would run as a formula gets the apostrophe by which it shows the text instead."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _csv_record(comparison: Comparison, line: Line, column: Column) -> dict[str, object]:
    row, cell = line.row, line.cells[column.id]
    return {
        "table": comparison.table.id,
        "protocol": comparison.protocol.name,
        "absolute_comparable": comparison.protocol.published_scale and not comparison.table.test_server,
        "row": row.id,
        "label": row.label,
        "backbone": row.backbone,
        "schedule": row.schedule,
        "variant": row.variant,
        "baseline": row.baseline,
        "status": cell.status,
        "column": column.id,
        "metric": column.metric,
        "criterion": column.criterion,
        "unit": column.unit,
        "published": cell.published,
        "published_gain": cell.published_gain,
        "measured": cell.measured,
        "sd": cell.sd,
        "runs": len(line.runs),
        "measured_gain": cell.measured_gain,
        "published_ratio": cell.published_ratio,
        **_ends("measured", cell.interval),
        "measured_ratio": cell.measured_ratio.median if cell.measured_ratio else None,
        **_ends("measured_ratio", cell.measured_ratio),
        "made_elsewhere": sum(bool(run.origin) for run in line.runs),
    }


def _ends(name: str, summary: Summary | None) -> dict[str, float | None]:
    return {f"{name}_low": summary.low, f"{name}_high": summary.high} if summary else {}


def grid(comparison: Comparison, columns: Sequence[Column]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of text: method, what else tells rows apart, published and measured per column, runs, status."""
    keys = [key for key in ("backbone", "schedule") if varies(comparison, key)]
    heads = ["method", *keys]
    for column in columns:
        heads += [f"{column.head} published", f"{column.head} measured"]
    rows = []
    for line in comparison.lines:
        cells = [line.row.label, *(getattr(line.row, key) or "-" for key in keys)]
        for column in columns:
            cell = line.cells[column.id]
            cells += [published_text(cell, column), measured_text(cell, column)]
        rows.append([*cells, line.count or "-", line.status])
    return [*heads, "runs", "status"], rows


def varies(comparison: Comparison, key: str) -> bool:
    """Whether the rows differ in a field."""
    return len({getattr(line.row, key) for line in comparison.lines}) > 1


def published_text(cell: Cell, column: Column) -> str:
    """The printed number and its gain, e.g. ``0.369 (+0.009)``; of latency its ratio, e.g. ``107 (x0.817)``."""
    if cell.published is None:
        return "-"
    if column.lower_is_better:
        return number(cell.published, column.unit) + _in_parentheses(ratio_text(cell.published_ratio))
    return number(cell.published, column.unit) + _gain(cell.published_gain, column)


def measured_text(cell: Cell, column: Column) -> str:
    """Mean, sample standard deviation and gain, e.g. ``41.2 ± 0.3 (+0.8)``; the status where there is no number."""
    if cell.measured is None:
        return "-" if cell.status == "not measured" else cell.status
    if column.lower_is_better:
        return f"{cell.measured:.1f}" + _in_parentheses(ratio_text(cell.measured_ratio))
    spread = f" ± {number(cell.sd, column.unit)}" if cell.sd is not None else ""
    return number(cell.measured, column.unit) + spread + _gain(cell.measured_gain, column)


def ratio_text(value: float | Summary | None) -> str:
    """A ratio to the baseline, with its interval where there is one; empty for None."""
    if value is None:
        return ""
    return TIMES + (ratio(value) if isinstance(value, float) else ratio(value.median, value.low, value.high))


def _in_parentheses(text: str) -> str:
    return f" ({text})" if text else ""


def _gain(value: float | None, column: Column) -> str:
    """A difference in parentheses; empty for None."""
    return "" if value is None else f" ({signed(value, column.unit)})"


def _groups(comparison: Comparison, columns: Sequence[Column], width: int) -> list[list[Column]]:
    """Columns in order, in as few blocks as fit the width."""
    groups: list[list[Column]] = [[]]
    for column in columns:
        wider = [*groups[-1], column]
        if groups[-1] and max(map(len, _plain(comparison, wider).splitlines())) > width:
            groups.append([column])
        else:
            groups[-1] = wider
    return groups


def _plain(comparison: Comparison, columns: Sequence[Column]) -> str:
    heads, rows = grid(comparison, columns)
    broken = [name.replace(" published", "\npublished").replace(" measured", "\nmeasured") for name in heads]
    return tabulate(rows, broken, colalign=_alignment(heads), disable_numparse=True)


def _alignment(heads: Sequence[str]) -> list[str]:
    return ["left" if name in ("method", "backbone", "schedule", "status") else "right" for name in heads]


def _inline(text: str) -> str:
    """Text that Markdown shows as it is."""
    for character in ("\\", "|", "*", "_", "<", "`"):
        text = text.replace(character, f"\\{character}")
    return text.replace("](", "]\\(")  # a link; an interval's bracket is none


_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "×": r"$\times$", "−": r"$-$", "–": "--", "Δ": r"$\Delta$", "α": r"$\alpha$", "γ": r"$\gamma$",  # noqa: RUF001
    "≥": r"$\geq$", "≤": r"$\leq$", "→": r"$\to$",
}  # fmt: skip


def escape_latex(text: str) -> str:
    """Text that LaTeX sets as it is."""
    return "".join(_LATEX.get(character, character) for character in text)


def _math(body: str) -> str:
    """What tabulate's own escaping leaves to do: signs beyond ASCII, and hyphens that are minus signs."""
    for character, command in _LATEX.items():
        if not character.isascii():
            body = body.replace(character, command)
    return body.replace("(-", "($-$")
