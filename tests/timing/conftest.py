"""Models small enough to be run in milliseconds, under the smoke protocol, and a clock that ticks by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode

from replication.catalog import Catalog, Protocol, load_catalog, load_protocol
from replication.timing.inputs import Source, find_source
from replication.timing.subjects import Subject, build_subject, subject_config


@pytest.fixture(autouse=True)
def _own_datasets(datasets_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(datasets_root))


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return load_catalog()


@pytest.fixture(scope="session")
def protocol() -> Protocol:
    return load_protocol("smoke")


@pytest.fixture
def source(protocol: Protocol) -> Source:
    return find_source(protocol, 3)


@pytest.fixture
def config(catalog: Catalog, protocol: Protocol) -> Callable[[str], CfgNode]:
    return lambda name: subject_config(catalog, protocol, name, 10, torch.device("cpu"))


@pytest.fixture
def subject(config: Callable[[str], CfgNode], source: Source) -> Callable[..., Subject]:
    """Random weights biased to a few candidates."""

    def build(name: str, candidates: int = 7) -> Subject:
        return build_subject(name, config(name), source, None, None, candidates, "fp32")

    return build


class TickingClock:
    """Each reading is one second after the one before; ``synchronised`` counts."""

    name = "ticks"

    def __init__(self) -> None:
        self.ticks = self.synchronised = 0

    def now(self) -> int:
        self.ticks += 1
        return self.ticks

    def ms(self, start: int, end: int) -> float:
        return 1000.0 * (end - start)

    def synchronise(self) -> None:
        self.synchronised += 1


@pytest.fixture
def clock() -> TickingClock:
    return TickingClock()
