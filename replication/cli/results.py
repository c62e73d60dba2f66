"""Verbs that say what the finished runs show."""

from __future__ import annotations

import click

from replication.cli.verb import (
    Setting,
    complete,
    format_option,
    print_json,
    print_written,
    tables_option,
    verb,
    with_setting,
)


@verb(
    "replication verdicts",
    "replication verdicts --protocol paper --tables giou-T5 --format json",
    "replication verdicts --interim giou-T5",
)
@tables_option
@click.option(
    "--interim",
    metavar="ID",
    shell_complete=complete("tables"),
    help="Judge this one of the tables before the runs of those after it, which are not read; print, write nothing.",
)
@format_option
@with_setting
def verdicts(setting: Setting, tables: list[str] | None, interim: str | None, form: str) -> None:
    """Judge the papers' claims by the finished runs; write verdicts.json."""
    from replication.catalog import load_judging
    from replication.verdicts import SCHEMA, verdicts_table, write_verdicts
    from replication.verdicts.interim import SCHEMA as INTERIM_SCHEMA
    from replication.verdicts.interim import judge_interim

    chosen, judging = setting.tables(tables), load_judging()
    common = setting.catalog, setting.protocol, setting.results, chosen
    if interim is None:
        schema, document = SCHEMA, write_verdicts(*common, judging)
    else:
        schema, document = INTERIM_SCHEMA, judge_interim(*common, interim, judging)
    if form == "json":
        print_json({"schema": schema, **document})
    else:
        print(*filter(None, [document.get("interim")]), verdicts_table(document), sep="\n\n")


@verb("replication tables --tables giou-T5", "replication tables --results results/reference --format json")
@tables_option
@format_option
@with_setting
def tables(setting: Setting, tables: list[str] | None, form: str) -> None:
    """Render tables of published and measured numbers as Markdown, CSV and LaTeX; print them.

    With --format json the files that were written are printed instead.
    """
    from replication.report import terminal_table, write_tables

    catalog, protocol, results, chosen = setting.catalog, setting.protocol, setting.results, setting.tables(tables)
    paths = write_tables(catalog, protocol, results, chosen)
    if form == "json":
        print_written(setting, paths)
        return
    for table in chosen:
        print(terminal_table(catalog, table, protocol, results), end="\n\n", flush=True)


@verb("replication report", "replication report --protocol paper --tables giou-T5,giou-T7")
@tables_option
@format_option
@with_setting
def report(setting: Setting, tables: list[str] | None, form: str) -> None:
    """Render one HTML page with verdicts, tables, curves and provenance, and its figures as SVG files.

    Prints the path of the page and up to three headline verdicts: of each paper its largest claim that was measured.
    The page of an archive is written beside the archive, into the folder rendered.
    """
    from replication.report import headlines, write_report
    from replication.results.layout import Layout

    chosen = setting.tables(tables)
    page = write_report(setting.catalog, setting.protocol, setting.results, chosen)
    if form == "json":
        figures = Layout(setting.results, setting.protocol.name).rendered.svg
        print_written(setting, [page, *sorted(figures.glob("*.svg"))])
    else:
        print(page, *headlines(setting.catalog, setting.protocol, setting.results, chosen), sep="\n")
