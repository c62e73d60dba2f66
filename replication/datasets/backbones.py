"""Which backbone weights a protocol's runs start from, and which of them have to be downloaded first."""

from __future__ import annotations

from replication.catalog import Protocol
from replication.datasets.weights import PRETRAINED, WEIGHTS


def needed_weights(protocol: Protocol) -> list[str]:
    """Names of the weights that a protocol's runs start from: its stand-ins, else the papers' own backbones."""
    labels = protocol.run_backbones or tuple(protocol.backbones or PRETRAINED)
    chosen = protocol.backbones or PRETRAINED
    return list(dict.fromkeys(chosen[label] for label in labels if label in chosen))


def downloaded_weights(protocol: Protocol) -> list[str]:
    """Those of ``needed_weights`` that come from an address, not from a package or a file of the user's own."""
    return [name for name in needed_weights(protocol) if name in WEIGHTS and WEIGHTS[name].url]
