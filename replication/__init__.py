"""Replication harness for detection papers: GIoU, FSAF and Libra R-CNN.

Every step of the pipeline is a verb of the command ``replication``; see ``replication.cli``.
"""

__version__ = "0.1.0"
