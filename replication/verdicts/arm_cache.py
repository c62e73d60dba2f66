"""Numbers of compared files, kept by content: the second comparison of the same files reads no detections."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from replication.errors import ReplicationError
from replication.results.files import write_bytes
from replication.results.fingerprint import COMPARING, fingerprint

KEPT = 256
"""Runs whose numbers are kept, a few megabytes each; the longest unused go first."""


def default_folder() -> Path:
    """``$XDG_CACHE_HOME/detection-replication/compare``, in ``~/.cache`` by default."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "detection-replication" / "compare"


@dataclass(frozen=True)
class Cache:
    """A folder of npz files named by the hash of what they were computed from and of the code that computed them.

    It may fail at any time: what cannot be read is computed again, and what cannot be written is not kept.
    """

    folder: Path

    def load(self, key: Sequence[str]) -> dict[str, Any] | None:
        """The arrays of a key; None where there are none."""
        path = self._path(key)
        try:
            with np.load(path, allow_pickle=False) as content:
                arrays = {name: content[name] for name in content.files}
            os.utime(path)
        except Exception:  # zip, numpy and the operating system each have their own
            return None
        return arrays

    def store(self, key: Sequence[str], arrays: Mapping[str, Any]) -> None:
        """Keep the arrays of a key."""
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        try:
            write_bytes(self._path(key), buffer.getvalue())
            self._prune()
        except (ReplicationError, OSError):
            return

    def _path(self, key: Sequence[str]) -> Path:
        text = "\0".join([*key, fingerprint(COMPARING)])
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npz"

    def _prune(self) -> None:
        files = sorted(self.folder.glob("*.npz"), key=lambda path: path.stat().st_mtime)
        for path in files[:-KEPT]:
            path.unlink(missing_ok=True)
