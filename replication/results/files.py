"""Reading and writing result files: whole or not at all, with a schema version, with clear errors."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from replication.errors import ReplicationError, ResultError

ABANDONED = 86_400.0
"""Seconds after which a temporary file belongs to no process that still writes it."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write ``path``'s content to; it takes that name when the block ends, all of it or not at all.

    Until then it is a temporary file in the same folder. Raises ReplicationError naming the file when the disk is full
    or the folder is not writable. Then, as after any other exception, what stood at ``path`` before is still there.
    """
    temporary: Path | None = None
    inside = False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            inside = True
            yield file
            inside = False
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as error:
        if inside and error.filename is not None:  # of another file, that the block has opened
            raise
        raise _unwritable(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _remove_abandoned(path: Path) -> None:
    """Delete what processes that were killed while they wrote ``path`` have left, but nothing of the last day."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.????????"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > ABANDONED:
                left.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, all of it or not at all; raises what ``replacing`` does."""
    with replacing(path) as file:
        file.write(content)


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system lets a folder be synchronised."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def make_folder(path: Path) -> None:
    """Make a folder and all above it; raises ReplicationError naming it where that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error


def check_writable(folder: Path) -> None:
    """Raise ReplicationError naming the folder where no file can be written in it, before hours of work are done."""
    make_folder(folder)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(path: Path, error: OSError) -> ReplicationError:
    misplaced = error.errno in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT)
    advice = "Choose another path" if misplaced else "Free disk space or choose a writable folder"
    return ReplicationError(f"{path}: cannot write: {error.strerror or error}. {advice}, then run again.")


def write_text(path: Path, text: str) -> None:
    """``write_bytes`` for text, UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, schema: str, content: dict[str, Any]) -> None:
    """Write ``{"schema": schema, **content}``; ``schema`` is ``name/version``, e.g. ``metrics/1``."""
    document = {"schema": schema, **content}
    write_text(path, json.dumps(document, indent=1, allow_nan=False) + "\n")


def load_json(path: Path, remedy: str = "run the step that makes it again") -> Any:
    """The content of any JSON file; raises ResultError, which ends with ``remedy``, when it is absent or broken."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ResultError(f"{path}: no such file; {remedy}") from None
    except OSError as error:
        raise ResultError(f"{path}: not readable ({error.strerror}); move it away, then {remedy}") from error
    except (ValueError, RecursionError) as error:
        raise ResultError(f"{path}: not readable as JSON ({error}); {remedy}") from error


@contextlib.contextmanager
def reading(path: Path, verb: str) -> Iterator[None]:
    """For what has no record in ``schemas``: whatever fails in the block is blamed on the content of ``path``.

    Raises ResultError naming the file and the verb that writes it again; errors with a message of their own pass.
    """
    try:
        yield
    except ReplicationError:
        raise
    except Exception as error:
        raise ResultError(
            f"{path}: not as `replication {verb}` writes it ({type(error).__name__}: {error}); run that again"
        ) from error


def read_json(path: Path, schema: str) -> dict[str, Any]:
    """Read a file that ``write_json`` wrote; raises ResultError when absent, broken or of another schema."""
    document = load_json(path)
    found = document.get("schema") if isinstance(document, dict) else None
    if found != schema:
        raise ResultError(
            f"{path}: schema is {found!r}, expected {schema!r}, as another version makes it; "
            "run the step that makes it again"
        )
    content: dict[str, Any] = document
    return content


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_sha256(path: Path) -> str:
    """Hex SHA-256 of a file; of a folder, of the names and contents of all files in it. Raises ResultError."""
    try:
        if not path.is_dir():
            return sha256_file(path)
        files = sorted(one for one in path.rglob("*") if one.is_file())
        parts = [f"{one.relative_to(path).as_posix()} {sha256_file(one)}" for one in files]
    except FileNotFoundError:
        raise ResultError(f"{path}: no such file") from None
    except OSError as error:
        raise ResultError(f"{path}: cannot be read: {error.strerror or error}") from error
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def sha256_json(value: Any) -> str:
    """Hex SHA-256 of a JSON-able value, independent of key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()
