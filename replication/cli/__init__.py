"""The command line: ``replication VERB``, or ``python -m replication VERB``.

Every step of the pipeline is a verb, usable without the workflow. A module holds related verbs, each with its
declaration; nothing heavy is imported before a verb needs it.
"""

from replication.cli.main import main

__all__ = ["main"]
