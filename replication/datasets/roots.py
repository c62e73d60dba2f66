"""Where data and weights lie on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def data_root() -> Path:
    """``$DETECTRON2_DATASETS``, as Detectron2 reads it, else ``datasets`` in the working folder."""
    return Path(os.environ.get("DETECTRON2_DATASETS") or "datasets").expanduser()


def weights_root() -> Path:
    """``$REPLICATION_WEIGHTS``, else ``weights`` under the data root."""
    folder = os.environ.get("REPLICATION_WEIGHTS")
    return Path(folder).expanduser() if folder else data_root() / "weights"
