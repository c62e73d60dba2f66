"""Replication harness for detection papers: GIoU, FSAF and Libra R-CNN.

Every pipeline step is a verb of ``python -m replication``; see ``replication.cli``.
"""

__version__ = "0.1.0"
