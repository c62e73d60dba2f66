"""Runs that were made elsewhere: they have detections and numbers, but no weights, and are never trained."""

from __future__ import annotations

from replication.errors import ResultError
from replication.results.layout import RunFiles
from replication.results.schemas import Elsewhere, Provenance, read


def elsewhere(files: RunFiles) -> Elsewhere | None:
    """Where a run was made that is none of this project's trainings; None for one that is, or has no provenance."""
    if not files.provenance.exists():
        return None
    try:
        return read(files.provenance, Provenance).elsewhere
    except ResultError:
        return None
