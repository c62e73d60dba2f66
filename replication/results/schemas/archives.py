"""The files of results that were archived or merged."""

from __future__ import annotations

from replication.results.schemas.document import Count, Document, Part


class Archive(Document, frozen=True, kw_only=True):
    """``archive.json``: SHA-256 of every file of an archive, by its path."""

    SCHEMA = "archive/1"
    REMEDY = "archive the results again"

    protocol: str
    runs: Count
    files: dict[str, str]


class MergedRun(Part, frozen=True, kw_only=True):
    """A run, and the results folders that it was in, as they were given."""

    variant: str
    seed: int
    sources: tuple[str, ...]


class Merged(Document, frozen=True, kw_only=True):
    """``merged.json``: where each run of merged results is from, and SHA-256 of every file by its path."""

    SCHEMA = "merged/1"
    REMEDY = "merge the results again"

    protocol: str
    runs: tuple[MergedRun, ...]
    files: dict[str, str]
