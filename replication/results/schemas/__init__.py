"""What is in every JSON file of a results folder: one record a file, one function that reads any of them.

A field with a default may be absent from a file of an older version. Fields that no record names are left alone, so
that a newer file can be read as well.
"""

from replication.results.schemas.archives import Archive, Merged
from replication.results.schemas.data import Data, Proposals
from replication.results.schemas.document import Document, Part, read, write
from replication.results.schemas.latency import Latency, Memory
from replication.results.schemas.runs import (
    FIGURE_SCHEMA,
    Elsewhere,
    Levels,
    Measure,
    Mechanism,
    Metrics,
    Mistake,
    Outcomes,
    Provenance,
)

__all__ = [
    "FIGURE_SCHEMA",
    "Archive",
    "Data",
    "Document",
    "Elsewhere",
    "Latency",
    "Levels",
    "Measure",
    "Mechanism",
    "Memory",
    "Merged",
    "Metrics",
    "Mistake",
    "Outcomes",
    "Part",
    "Proposals",
    "Provenance",
    "read",
    "write",
]
