"""What finished runs say about the papers' claims: intervals over runs, families of claims, verdicts. No torch."""

from replication.verdicts.document import judge, misjudged, write_verdicts
from replication.verdicts.output import SCHEMA, verdicts_table

__all__ = ["SCHEMA", "judge", "misjudged", "verdicts_table", "write_verdicts"]
