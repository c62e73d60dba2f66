"""How long a variant is trained under a protocol."""

from __future__ import annotations

from replication.catalog.protocols import Protocol
from replication.catalog.variants import Variant

PAPER_ITERATIONS = 90_000
"""Detectron's 1x schedule at batch 16; Libra R-CNN's 12 epochs are 87,960."""

OWN_LENGTH = ("YOLOv3",)
"""Meta-architectures that it does not measure: a protocol says how long their variants take, whatever their own is."""


def training_iterations(variant: Variant, protocol: Protocol) -> int:
    """Iterations of a whole training; 0 for a test-time variant, which is never trained, and for a command."""
    if variant.weights_from or variant.command:
        return 0
    length = protocol.iterations_of(variant.meta_architecture)
    if length is None:
        return round(variant.iterations * variant.batch / protocol.batch_of(variant.meta_architecture))
    if variant.meta_architecture in OWN_LENGTH:
        return length
    return round(variant.iterations * length / PAPER_ITERATIONS)
