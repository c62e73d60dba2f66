"""The part of a protocol's results that a repository keeps: numbers, provenance, pictures; no weights."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from replication.catalog import Protocol
from replication.datasets.roots import data_root
from replication.errors import ResultError
from replication.results.files import read_json, reading, write_bytes
from replication.results.finished import FinishedRun, curve, finished_runs, thinned
from replication.results.layout import Layout
from replication.results.schemas import Archive, Data, Levels, Mechanism, read, write
from replication.verdicts import SCHEMA as VERDICTS_SCHEMA
from replication.verdicts import misjudged

IMAGE = b"data:image/jpeg"
"""Begins every photograph that a page carries; its figures are drawn."""
LIMIT = 30 * 2**20  # bytes of a whole archive


def archive(protocol: Protocol, results: Path, out: Path) -> Path:
    """Copy the finished runs of a protocol, and what was made of them, into ``out/<protocol>``; returns that folder.

    A run is finished when it has a ``metrics.json``. Files keep their bytes, except that of ``curves.jsonl`` at most
    CURVE_LINES lines stay, the first and the last among them. ``archive.json`` lists every file with its SHA-256; an
    archive that stood there before is replaced at the end. Raises ResultError when nothing is finished, when runs are
    broken or do not belong together, when the verdicts are of other runs, when the whole is larger than LIMIT, when a
    file names a folder of this machine or holds images of others' data, or when the target is no archive or has runs
    that are not here; then nothing is written.
    """
    layout, kept = Layout(results, protocol.name), Layout(out, protocol.name)
    source, target = layout.folder, kept.folder
    runs = len(layout.evaluated)
    if not runs:
        raise ResultError(f"{layout.runs}: no finished run; run the workflow first")
    replaced = target.with_name(f".{target.name}.replaced")
    if replaced.exists() and not target.exists():  # by a call that was killed between its two renames
        replaced.rename(target)
    check_runs(protocol, layout)
    _check_kept(layout, kept)
    files = dict(contents(layout))
    size = sum(map(len, files.values()))
    if size > LIMIT:
        largest = max(files, key=lambda path: len(files[path]))
        raise ResultError(
            f"{source}: {size / 2**20:.0f} MiB to archive, more than {LIMIT / 2**20:.0f}; the largest file is "
            f"{largest} with {len(files[largest]) / 2**20:.1f} MiB: archive fewer tables or runs"
        )
    if target.exists() and not kept.archive.exists():
        raise ResultError(f"{target}: not an archive of this project, so it is not replaced; choose another with --out")
    check_paths(files, source, (results, data_root()))
    check_images(files, source, protocol)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for path, content in files.items():
        write_bytes(partial / path, content)
    listed = {str(path): hashlib.sha256(content).hexdigest() for path, content in files.items()}
    write(partial / kept.archive.name, Archive, {"protocol": protocol.name, "runs": runs, "files": listed})
    shutil.rmtree(replaced, ignore_errors=True)
    if target.exists():
        target.rename(replaced)
    partial.rename(target)
    shutil.rmtree(replaced, ignore_errors=True)
    return target


def check_runs(protocol: Protocol, layout: Layout) -> list[FinishedRun]:
    """The finished runs. ResultError unless they are whole and of one kind, and the verdicts theirs."""
    variants = [files.folder.parent.name for files in layout.evaluated]
    runs = [run for group in finished_runs(protocol, layout.results, variants).values() for run in group]
    if layout.data.exists():
        read(layout.data, Data)
    for run in runs:
        curve(run)
        if run.files.levels.exists():
            read(run.files.levels, Levels)
        if run.files.mechanism.exists():
            read(run.files.mechanism, Mechanism)
    verdicts = layout.verdicts
    if verdicts.exists():
        document = read_json(verdicts, VERDICTS_SCHEMA)
        with reading(verdicts, "verdicts"):
            wrong = misjudged(document, runs, {run["variant"] for run in document["runs"]})
        if wrong:
            variant, seed = wrong[0]
            raise ResultError(
                f"{verdicts}: runs: {variant} seed {seed} is not the one that was judged; run "
                "`replication verdicts`, `tables` and `report` again"
            )
    return runs


def _check_kept(layout: Layout, kept: Layout) -> None:
    """None of the runs that were archived before is dropped."""
    here = {files.folder.relative_to(layout.folder) for files in layout.evaluated}
    missing = [own for files in kept.evaluated if (own := files.folder.relative_to(kept.folder)) not in here]
    if missing:
        raise ResultError(
            f"{kept.folder}: holds {len(missing)} runs that are not in {layout.folder}, such as {missing[0]}: "
            "they would be deleted; archive elsewhere with --out, or delete the folder first"
        )


def check_paths(files: Mapping[Path, bytes], source: Path, folders: Iterable[Path]) -> None:
    """An archive is read elsewhere: ResultError for what names folders of this machine."""
    for folder in {str(folder.resolve()).encode() for folder in folders}:
        for path, content in files.items():
            if folder in content:
                raise ResultError(
                    f"{source / path}: names {folder.decode()}, a folder of this machine; make the file again with a "
                    "relative --results, and with data in a relative path under $DETECTRON2_DATASETS"
                )


def check_images(files: Mapping[Path, bytes], source: Path, protocol: Protocol) -> None:
    """What is archived is passed on: ResultError for a page with images of data that this project does not make."""
    if protocol.data.kind == "embedded":
        return
    for path, content in files.items():
        if path.suffix == ".html" and IMAGE in content:
            raise ResultError(
                f"{source / path}: holds images of the data, which may not be yours to pass on; render it without "
                f"them: DETECTRON2_DATASETS=/nowhere replication report --protocol {protocol.name}"
            )


def contents(layout: Layout) -> Iterator[tuple[Path, bytes]]:
    """Relative path and bytes of what is kept."""
    for path in layout.archived:
        yield path.relative_to(layout.folder), path.read_bytes()
    for files in layout.evaluated:
        for path in (files.metrics, files.provenance, files.levels, files.mechanism, files.curves):
            if path.exists():
                content = path.read_bytes()
                kept = b"".join(thinned(content.splitlines(keepends=True))) if path == files.curves else content
                yield path.relative_to(layout.folder), kept
