"""Unpacking archives that nobody vouches for: nothing is ever written outside the target folder."""

from __future__ import annotations

import stat
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import TypeVar

from tqdm import tqdm

from replication.datasets.fetch import free_bytes
from replication.errors import DataError

T = TypeVar("T")


def unpack(archive: Path, target: Path) -> None:
    """Unpack a .zip or .tar(.gz) file into ``target``, which is made.

    Raises DataError when a member points outside ``target`` or is a link or device, when the archive is damaged,
    or when the disk has not the space for it.
    """
    target.mkdir(parents=True)
    try:
        if archive.suffix == ".zip":
            _unzip(archive, target)
        else:
            _untar(archive, target)
    except tarfile.FilterError as error:
        raise DataError(f"{archive}: unsafe member ({error}); do not use this archive") from error
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        raise DataError(f"{archive}: damaged archive ({error}); remove it and run again") from error


def _unzip(archive: Path, target: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        for member in members:
            _check_member(archive, member)
        _check_space(archive, target, sum(member.file_size for member in members))
        for member in _progress(members, archive.name):
            file.extract(member, target)


def _check_member(archive: Path, member: zipfile.ZipInfo) -> None:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    mode = member.external_attr >> 16
    unsafe = path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1])
    if unsafe or stat.S_ISLNK(mode):
        raise _unsafe(archive, member.filename)


def _unsafe(archive: Path, name: str) -> DataError:
    return DataError(f"{archive}: unsafe member {name!r}; do not use this archive")


def _untar(archive: Path, target: Path) -> None:
    with tarfile.open(archive) as file:
        members = file.getmembers()
        for member in members:
            if not (member.isfile() or member.isdir()):  # the filter below lets links within the folder pass
                raise _unsafe(archive, member.name)
        _check_space(archive, target, sum(member.size for member in members))
        for member in _progress(members, archive.name):
            file.extract(member, target, filter="data")


def _check_space(archive: Path, target: Path, needed: int) -> None:
    free = free_bytes(target)
    if needed > free:
        raise DataError(
            f"{target}: unpacking {archive.name} needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; "
            "free disk space and run again"
        )


def _progress(members: list[T], name: str) -> tqdm[T]:
    return tqdm(members, desc=f"unpacking {name}", unit="file", mininterval=0.5 if sys.stderr.isatty() else 30)
