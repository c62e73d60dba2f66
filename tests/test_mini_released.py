"""`mini_released` differs from `mini` in the start of one block, and asks for Libra's end-to-end detectors."""

from __future__ import annotations

from pathlib import Path

import pytest

from replication.catalog import load_catalog, load_protocol
from replication.catalog.select import select
from replication.training.config import run_config

MINI, RELEASED = load_protocol("mini"), load_protocol("mini_released")
START = "MODEL.BALANCED_PYRAMID.INIT"


def test_only_the_start_of_the_block_differs() -> None:
    for field in ("data", "area_ranges", "seeds", "batch", "run_backbones", "threads", "workers", "device"):
        assert getattr(RELEASED, field) == getattr(MINI, field), field
    for name in ("GeneralizedRCNN", "ReplicationRetinaNet", "ProposalNetwork"):
        assert RELEASED.batch_of(name) == MINI.batch_of(name)
        assert RELEASED.iterations_of(name) == MINI.iterations_of(name)
        assert RELEASED.overrides[name] == MINI.overrides[name]
    assert RELEASED.overrides["all"] == MINI.overrides["all"] | {START: "released"}
    assert MINI.overrides["all"][START] == "identity"
    assert RELEASED.backbones.items() <= MINI.backbones.items()


@pytest.mark.parametrize("table", ["libra-T1", "libra-T2"])
def test_its_detectors_are_mini_s_with_the_released_start(table: str) -> None:
    """The whole resolved configs, of every variant that it runs."""
    catalog = load_catalog()
    protocol = RELEASED.model_copy(update={"tables": (table,)})
    variants = {variant.name: variant for variant, _ in select(catalog, protocol)}
    assert variants
    for variant in variants.values():
        ours, minis = (run_config(variant, one, 0, 10, Path("unused")) for one in (RELEASED, MINI))
        assert (ours.MODEL.BALANCED_PYRAMID.INIT, minis.MODEL.BALANCED_PYRAMID.INIT) == ("released", "identity")
        same = ours.clone()
        same.defrost()
        same.MODEL.BALANCED_PYRAMID.INIT = "identity"
        assert same == minis
