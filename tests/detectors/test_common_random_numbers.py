"""Both arms of every claim start from the same weights: a difference between them is not one of luck."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from torch import Tensor

from replication.catalog import load_catalog, load_protocol
from replication.detectors.wrappers import own_random_numbers
from replication.training.config import run_config
from replication.training.devices import on_device

CATALOG, SMOKE = load_catalog(), load_protocol("smoke")


def pairs() -> list[tuple[str, str]]:
    """The trained variants of the two rows of each claim whose rows are built, each pair once."""
    found = set()
    for paper in CATALOG.papers.values():
        for claim in paper.claims:
            names = [paper.table(claim.table).row(row).variant for row in (claim.row, claim.baseline)]
            built = [CATALOG.variants[name].trained.name for name in names if name in CATALOG.variants]
            if len(built) == 2 and built[0] != built[1]:
                found.add((built[0], built[1]))
    return sorted(found)


@cache
def start(name: str, seed: int) -> dict[str, Tensor]:
    """The parameters of a training's start under the smoke protocol."""
    variant = CATALOG.variants[name]
    cfg = on_device(run_config(variant, SMOKE, seed, 10, Path("unused")), torch.device("cpu"))
    torch.manual_seed(cfg.SEED)
    return {key: value.detach() for key, value in build_model(cfg).named_parameters()}


def test_every_paper_has_pairs() -> None:
    names = {name for pair in pairs() for name in pair}
    assert {"faster_rcnn_R50_giou", "fsaf_R50_joint", "libra_rcnn_R50", "libra_retinanet_R50", "libra_rpn_R50"} <= names
    assert {"fast_rcnn_R50_balanced_pafpn", "fast_rcnn_R50_integration", "fast_rcnn_R50_refinement"} <= names


@pytest.mark.parametrize(("row", "baseline"), pairs())
def test_equal_parameters_start_equal_under_one_seed(row: str, baseline: str) -> None:
    one, other = start(row, 3), start(baseline, 3)
    shared = [key for key in one.keys() & other.keys() if one[key].shape == other[key].shape]
    assert len(shared) >= 0.9 * min(len(one), len(other))
    assert [key for key in shared if not torch.equal(one[key], other[key])] == []


def test_another_seed_is_another_start() -> None:
    one, other = start("libra_rcnn_R50", 3), start("libra_rcnn_R50", 4)
    drawn = [key for key in one if "bottom_up" not in key and one[key].std() > 0]
    assert len(drawn) > 10
    assert not any(torch.equal(one[key], other[key]) for key in drawn)


def test_a_part_draws_numbers_of_its_own() -> None:
    """Those after it are as without it, and none of its own; another part or another seed has others."""
    torch.manual_seed(5)
    after = torch.rand(8)
    drawn = []
    for seed, name in ((5, "a"), (5, "b"), (6, "a"), (5, "a")):
        torch.manual_seed(seed)
        with own_random_numbers(name):
            drawn.append(torch.rand(8))
        assert torch.equal(torch.rand(8), after) == (seed == 5)
    assert torch.equal(drawn[0], drawn[3])
    assert not any(torch.equal(drawn[0], other) for other in (*drawn[1:3], after))
