"""What finished runs say about the papers' claims: intervals over runs, families of claims, verdicts. No torch."""

from replication.verdicts.document import judge, misjudged, write_verdicts
from replication.verdicts.interim import SCHEMA as INTERIM_SCHEMA
from replication.verdicts.interim import judge_interim
from replication.verdicts.output import SCHEMA, verdicts_table

__all__ = ["INTERIM_SCHEMA", "SCHEMA", "judge", "judge_interim", "misjudged", "verdicts_table", "write_verdicts"]
