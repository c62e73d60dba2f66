"""Reading and writing result files: whole or not at all, with a schema version, with clear errors."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from replication.errors import ReplicationError, ResultError


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` through a temporary file in the same folder and a rename.

    Raises ReplicationError naming the file when the disk is full or the folder is not writable;
    what stood at ``path`` before is then still there.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        raise _unwritable(path, error) from error


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


def load_json(path: Path) -> Any:
    """The content of any JSON file; raises ResultError when it is absent or broken."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise ResultError(f"{path}: no such file; run the step that makes it first") from None
    except (OSError, ValueError) as error:
        raise ResultError(f"{path}: not readable as JSON ({error}); delete it and run the step again") from error


def read_json(path: Path, schema: str) -> dict[str, Any]:
    """Read a file that ``write_json`` wrote; raises ResultError when absent, broken or of another schema."""
    document = load_json(path)
    found = document.get("schema") if isinstance(document, dict) else None
    if found != schema:
        raise ResultError(
            f"{path}: schema is {found!r}, expected {schema!r}; "
            "made by another version: delete it and run the step again"
        )
    content: dict[str, Any] = document
    return content


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Hex SHA-256 of a JSON-able value, independent of key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()
