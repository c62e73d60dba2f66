"""What of a protocol's results is worth keeping in a repository: numbers, provenance, pictures; no weights."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from replication.catalog import Protocol
from replication.datasets.roots import data_root
from replication.errors import ResultError
from replication.results.files import read_json, write_bytes, write_json
from replication.results.finished import ARCHIVE_MANIFEST, finished_runs
from replication.verdicts import SCHEMA as VERDICTS_SCHEMA
from replication.verdicts import misjudged, verdicts_path

SCHEMA = "archive/1"
LIMIT = 30 * 2**20  # bytes of a whole archive
CURVE_LINES = 50

_WHOLE = (
    "data.json",
    "verdicts.json",
    "report.html",
    "tables/*",
    "figures/*.json",
    "figures/svg/*.svg",
    "latency/*/*.json",
)
_RUN = ("metrics.json", "provenance.json", "levels.json")


def archive(protocol: Protocol, results: Path, out: Path) -> Path:
    """Copy the finished runs of a protocol, and what was made of them, into ``out/<protocol>``; returns that folder.

    A run is finished when it has a ``metrics.json``. Files keep their bytes, except that of ``curves.jsonl`` at most
    CURVE_LINES lines stay, the first and the last among them. ``archive.json`` lists every file with its SHA-256; an
    archive that stood there before is replaced at the end. Raises ResultError when nothing is finished, when runs are
    broken or do not belong together, when the verdicts are of other runs, when the whole is larger than LIMIT, when a
    file names a folder of this machine, or when the target is no archive or has runs that are not here; then nothing is
    written.
    """
    source, target = results / protocol.name, out / protocol.name
    files = dict(_contents(source))
    runs = sum(path.name == "metrics.json" for path in files)
    if not runs:
        raise ResultError(f"{source / 'runs'}: no finished run; run the workflow first")
    _check_runs(protocol, results, files, target)
    size = sum(map(len, files.values()))
    if size > LIMIT:
        largest = max(files, key=lambda path: len(files[path]))
        raise ResultError(
            f"{source}: {size / 2**20:.0f} MiB to archive, more than {LIMIT / 2**20:.0f}; the largest file is "
            f"{largest} with {len(files[largest]) / 2**20:.1f} MiB: archive fewer tables or runs"
        )
    if target.exists() and not (target / ARCHIVE_MANIFEST).exists():
        raise ResultError(f"{target}: holds no archive of ours, so it is not replaced; choose another with --out")
    _check_paths(files, source, (results, data_root()))
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for path, content in files.items():
        write_bytes(partial / path, content)
    listed = {str(path): hashlib.sha256(content).hexdigest() for path, content in files.items()}
    write_json(partial / ARCHIVE_MANIFEST, SCHEMA, {"protocol": protocol.name, "runs": runs, "files": listed})
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    return target


def _check_runs(protocol: Protocol, results: Path, files: Mapping[Path, bytes], target: Path) -> None:
    """The runs are whole and of one kind, the verdicts theirs, and none of those kept before is lost."""
    variants = [path.parts[1] for path in files if path.name == "metrics.json"]
    runs = [run for group in finished_runs(protocol, results, variants).values() for run in group]
    verdicts = verdicts_path(protocol, results)
    if verdicts.exists():
        document = read_json(verdicts, VERDICTS_SCHEMA)
        wrong = misjudged(document, runs, {run["variant"] for run in document["runs"]})
        if wrong:
            variant, seed = wrong[0]
            raise ResultError(
                f"{verdicts}: runs: {variant} seed {seed} is not the one that was judged; run "
                "`replication verdicts`, `tables` and `report` again"
            )
    kept = sorted(target.glob("runs/*/seed*/metrics.json"))
    lost = [path.relative_to(target) for path in kept if path.relative_to(target) not in files]
    if lost:
        raise ResultError(
            f"{target}: holds {len(lost)} runs that are not in {results / protocol.name}, such as {lost[0].parent}: "
            "they would be lost; archive elsewhere with --out, or delete the folder first"
        )


def _check_paths(files: Mapping[Path, bytes], source: Path, folders: Iterable[Path]) -> None:
    """An archive is read elsewhere: refuse what names folders of this machine."""
    for folder in {str(folder.resolve()).encode() for folder in folders}:
        for path, content in files.items():
            if folder in content:
                raise ResultError(
                    f"{source / path}: names {folder.decode()}, a folder of this machine; make the file again with a "
                    "relative --results, and with data in a relative path under $DETECTRON2_DATASETS"
                )


def _contents(source: Path) -> Iterator[tuple[Path, bytes]]:
    """Relative path and bytes of what is kept."""
    for pattern in _WHOLE:
        for path in sorted(source.glob(pattern)):
            yield path.relative_to(source), path.read_bytes()
    for metrics in sorted(source.glob("runs/*/seed*/metrics.json")):
        folder = metrics.parent
        for name in _RUN:
            if (folder / name).exists():
                yield (folder / name).relative_to(source), (folder / name).read_bytes()
        curve = folder / "curves.jsonl"
        if curve.exists():
            yield curve.relative_to(source), _thinned(curve.read_bytes().splitlines(keepends=True))


def _thinned(lines: list[bytes]) -> bytes:
    step = max(1, -(-(len(lines) - 1) // (CURVE_LINES - 1)))
    return b"".join(line for number, line in enumerate(lines) if number % step == 0 or number == len(lines) - 1)
