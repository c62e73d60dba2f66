"""Results folders of several people or machines as one: every run once, its provenance with it, or a conflict."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from replication.errors import ConfigError, ResultError
from replication.results.files import check_writable, sha256_file
from replication.results.finished import FinishedRun, check_variants, read_runs
from replication.results.layout import Layout, RunFiles
from replication.results.schemas import Data, Merged, read, write

NOT_COPIED = (".lock", "matches")
"""What a run's folder holds for the process that works in it, or can be computed again."""


@dataclass(frozen=True)
class _Source:
    """A run in one of the folders that are merged."""

    home: Path
    run: FinishedRun

    @property
    def key(self) -> tuple[str, int]:
        return self.run.variant, self.run.seed

    @property
    def files(self) -> dict[str, Path]:
        """What is copied, by its path in the run's folder."""
        folder = self.run.files.folder
        return {
            path.relative_to(folder).as_posix(): path
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not set(path.relative_to(folder).parts) & set(NOT_COPIED)
        }


@dataclass(frozen=True)
class Merge:
    """What was merged: runs by protocol, and in words what was left out."""

    out: Path
    runs: dict[str, int]
    notes: tuple[str, ...]


def merge(folders: Sequence[Path], out: Path) -> Merge:
    """Copy the finished runs of several results folders into a new one.

    Data and fixed proposals are copied with the runs; verdicts, tables and page are not, since they are made of all
    runs. ``merged.json`` lists for every protocol where each run is from and the SHA-256 of every file. Raises
    ConfigError for folders without results, ResultError naming both files where two folders have different runs of
    one variant and seed, or runs, data or proposals that do not belong together; then nothing is written.
    """
    if len(folders) != len({folder.resolve() for folder in folders}):
        raise ConfigError("merge: a folder is given twice; give each once")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out {out}: exists already; choose a new folder")
    protocols = list(dict.fromkeys(name for folder in folders for name in protocols_in(folder)))
    check_writable(out.parent)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
        made = Path(temporary) / out.name
        counts: dict[str, int] = {}
        notes: list[str] = []
        for protocol in protocols:
            layouts = [Layout(folder, protocol) for folder in folders if Layout(folder, protocol).runs.is_dir()]
            counts[protocol] = _merge_protocol(layouts, Layout(made, protocol), notes)
        if out.exists():
            out.rmdir()
        made.rename(out)
    return Merge(out, counts, tuple(notes))


def protocols_in(folder: Path) -> list[str]:
    """Names of the protocols that a results folder has runs of; ConfigError where there is none."""
    names = sorted(path.parent.name for path in folder.glob("*/runs") if path.is_dir())
    if not names:
        raise ConfigError(f"{folder}: no results of any protocol in it (PROTOCOL/runs); give a results folder")
    return names


def _merge_protocol(layouts: Sequence[Layout], target: Layout, notes: list[str]) -> int:
    _same_data(layouts)
    found: dict[tuple[str, int], list[_Source]] = {}
    for layout in layouts:
        for run in read_runs(layout):
            found.setdefault((run.variant, run.seed), []).append(_Source(layout.results, run))
        notes += [f"{path}: not finished, left out" for path in _unfinished(layout)]
    for sources in found.values():
        _same_run(sources)
    check_variants([sources[0].run for sources in found.values()])
    for layout in layouts:
        for path in (layout.data, layout.ground_truth):
            _copy(path, target.folder / path.name)
        _merge_folder(layout, target, "proposals")
    notes += _copy_latencies(layouts, target)
    for (variant, seed), sources in found.items():
        for source in sources:
            for name, path in source.files.items():
                _copy(path, target.run(variant, seed).folder / name)
    listed = {
        path.relative_to(target.folder).as_posix(): sha256_file(path)
        for path in sorted(target.folder.rglob("*"))
        if path.is_file()
    }
    runs = [
        {"variant": variant, "seed": seed, "sources": [str(source.home) for source in sources]}
        for (variant, seed), sources in sorted(found.items())
    ]
    write(target.merged, Merged, {"protocol": target.protocol, "runs": runs, "files": listed})
    return len(found)


def _same_data(layouts: Sequence[Layout]) -> None:
    """Raise ResultError where two folders have other data, or another form of them."""
    described = [layout for layout in layouts if layout.data.exists()]
    for layout in described:
        one, other = (read(path, Data).data_hash for path in (described[0].data, layout.data))
        if one != other:
            raise ResultError(
                f"{described[0].data} and {layout.data}: data_hash differs: {one[:12]} and {other[:12]}; results on "
                "different data cannot be merged"
            )
    _same_files([layout.ground_truth for layout in layouts if layout.ground_truth.exists()], "objects")


def _same_run(sources: Sequence[_Source]) -> None:
    """Raise ResultError unless the files that two folders both have of a run are the same.

    An archive has no detections, and fewer lines of the curve.
    """
    names = dict.fromkeys(name for source in sources for name in source.files)
    for name in names:
        if name != sources[0].run.files.curves.name:
            _same_files([source.files[name] for source in sources if name in source.files], "two different runs")


def _same_files(paths: Sequence[Path], what: str) -> None:
    for path in paths[1:]:
        if sha256_file(path) != sha256_file(paths[0]):
            raise ResultError(
                f"{paths[0]} and {path}: {what} under one name; nothing was merged: leave one folder out, or give one "
                "run another seed"
            )


def _unfinished(layout: Layout) -> Iterator[Path]:
    for variant in sorted(path.name for path in layout.runs.iterdir() if path.is_dir()):
        yield from (files.folder for _, files in layout.seeds(variant) if not files.metrics.exists())


def _merge_folder(layout: Layout, target: Layout, name: str) -> None:
    folder = layout.folder / name
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.is_file():
            own = target.folder / path.relative_to(layout.folder)
            if own.exists():
                _same_files([own, path], "two different files")
            _copy(path, own)


def _copy_latencies(layouts: Sequence[Layout], target: Layout) -> Iterator[str]:
    """The timings of each device from the first folder that has any: those of two machines are not comparable."""
    homes: dict[str, Layout] = {}
    for layout in layouts:
        for folder in sorted(path for path in layout.latency.glob("*") if path.is_dir()):
            home = homes.setdefault(folder.name, layout)
            if home is layout:
                shutil.copytree(folder, target.latency / folder.name)
            elif any(sha256_file(path) != _hash(home.latency / folder.name / path.name) for path in folder.iterdir()):
                yield f"{folder}: other timings than in {home.latency / folder.name}, left out"


def _hash(path: Path) -> str:
    return sha256_file(path) if path.is_file() else ""


def _copy(path: Path, target: Path) -> None:
    """A file that is there and not yet copied; of a curve that was copied the one with more lines."""
    if not path.is_file():
        return
    if target.exists() and not (path.name == RunFiles(path.parent).curves.name and _size(path) > _size(target)):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, target)


def _size(path: Path) -> int:
    return os.stat(path).st_size
