"""How long a variant is trained under a protocol."""

from __future__ import annotations

from replication.catalog.protocols import Protocol
from replication.catalog.variants import Variant, resolve

PAPER_ITERATIONS = 90_000
"""Detectron's 1x schedule at batch 16; Libra R-CNN's 12 epochs are 87,960."""


def training_iterations(variant: Variant, protocol: Protocol) -> int:
    """Iterations of a whole training; 0 for a test-time variant, which is never trained."""
    if variant.weights_from:
        return 0
    one_x = protocol.iterations_of(variant.meta_architecture)
    if one_x is None:
        batch = int(resolve(variant.path)["SOLVER"]["IMS_PER_BATCH"])
        return round(variant.iterations * batch / protocol.batch)
    return round(variant.iterations * one_x / PAPER_ITERATIONS)
