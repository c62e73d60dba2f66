"""Exports that are folders: a crate of a protocol's results, and the paper kit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from replication.catalog import Catalog, Protocol, withdrawn
from replication.datasets.roots import data_root
from replication.errors import ResultError
from replication.export.archive import check_images, check_paths, check_runs, contents
from replication.export.checklist import checklist
from replication.export.paper_kit import claims_table, methods, sentences, statements
from replication.export.recorded import recorded_data
from replication.export.ro_crate import METADATA, ro_crate
from replication.report.cells import compare_all
from replication.report.verdicts import read_verdicts
from replication.results.files import read_json, reading, write_bytes, write_text
from replication.results.finished import FinishedRun
from replication.results.layout import Layout
from replication.verdicts import SCHEMA
from replication.verdicts.output import withdraw


def write_paper_kit(
    catalog: Catalog, protocol: Protocol, results: Path, tables: Sequence[str], out: Path | None = None
) -> list[Path]:
    """Write ``claims.tex``, ``methods.tex``, ``sentences.tex`` and ``checklist.md``; returns their paths.

    Raises ConfigError for an unknown table, ResultError where nothing has been judged, or other tables or runs.
    """
    layout = Layout(results, protocol.name)
    comparisons = compare_all(catalog, tables, protocol, results)
    verdicts = read_verdicts(catalog, protocol, results, comparisons)
    if verdicts is None:
        raise ResultError(f"{layout.verdicts}: no such file; run `replication verdicts` for the same tables first")
    runs = list({(run.variant, run.seed): run for one in comparisons for run in one.runs}.values())
    if not runs:
        raise ResultError(f"{layout.runs}: no finished run of a variant of {', '.join(tables)}; run the workflow first")
    with reading(layout.verdicts, "verdicts"):
        document = {**verdicts.document, "tables": list(tables)}
        files = _kit(document, verdicts.entries, protocol, runs, recorded_data(layout, runs))
    folder = out or layout.export / "paper-kit"
    for name, text in files.items():
        write_text(folder / name, text)
    return [folder / name for name in files]


def _kit(
    document: Mapping[str, Any],
    entries: Sequence[Mapping[str, Any]],
    protocol: Protocol,
    runs: Sequence[FinishedRun],
    data: str,
) -> dict[str, str]:
    stated = statements(document, entries)
    return {
        "claims.tex": claims_table(document, stated, protocol),
        "methods.tex": methods(document, stated, protocol, runs, data),
        "sentences.tex": sentences(stated),
        "checklist.md": checklist(document, entries, protocol, runs, data),
    }


def write_ro_crate(
    catalog: Catalog, protocol: Protocol, results: Path, license_url: str | None = None, out: Path | None = None
) -> list[Path]:
    """Write a folder with copies of what an archive keeps and its metadata; returns the path of the latter.

    A crate that stood there is replaced whole. Raises ResultError as ``archive`` does, and for a folder that is no
    crate.
    """
    layout = Layout(results, protocol.name)
    if not layout.evaluated:
        raise ResultError(f"{layout.runs}: no finished run; run the workflow first")
    runs = check_runs(protocol, layout)
    files = dict(contents(layout))
    check_paths(files, layout.folder, (results, data_root()))
    check_images(files, layout.folder, protocol)
    today = datetime.now(UTC).date().isoformat()
    with reading(layout.verdicts, "verdicts"):
        metadata = ro_crate(layout, runs, _entries(catalog, protocol, layout), files, today, license_url)
    folder = out or layout.export / "ro-crate"
    text = json.dumps(metadata, indent=1, ensure_ascii=False) + "\n"
    _replace(folder, {**files, Path(METADATA): text.encode()})
    return [folder / METADATA]


def _entries(catalog: Catalog, protocol: Protocol, layout: Layout) -> list[dict[str, Any]]:
    """Of ``verdicts.json``, with what has been withdrawn since; none where nothing has been judged."""
    if not layout.verdicts.exists():
        return []
    return withdraw(read_json(layout.verdicts, SCHEMA)["verdicts"], withdrawn(catalog, protocol))


def _replace(folder: Path, files: Mapping[Path, bytes]) -> None:
    """Write a crate beside the one that is there, then put it in its place."""
    if folder.exists() and not (folder / METADATA).exists():
        raise ResultError(f"{folder}: is there and is no crate, so it is not replaced; choose another with --out")
    partial, replaced = (folder.with_name(f".{folder.name}.{state}") for state in ("partial", "replaced"))
    shutil.rmtree(partial, ignore_errors=True)
    for path, content in files.items():
        write_bytes(partial / path, content)
    shutil.rmtree(replaced, ignore_errors=True)
    if folder.exists():
        folder.rename(replaced)
    partial.rename(folder)
    shutil.rmtree(replaced, ignore_errors=True)
