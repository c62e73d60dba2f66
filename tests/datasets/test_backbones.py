"""Which weights a protocol needs; `tests/doctor` has what it says of them."""

from __future__ import annotations

from pathlib import Path

from replication.catalog import load_catalog, load_protocol
from replication.datasets.backbones import downloaded_weights, needed_weights
from replication.planning import rule_values
from replication.planning.plan import make_plan


def test_stand_ins_come_in_packages_and_are_not_downloaded():
    smoke = load_protocol("smoke")
    assert needed_weights(smoke) == ["efficientnet_lite0"]
    assert downloaded_weights(smoke) == []


def test_the_papers_own_are_downloaded_but_for_a_file_of_ones_own():
    paper = load_protocol("paper")
    assert downloaded_weights(paper) == needed_weights(paper) != []
    own = paper.model_copy(update={"backbones": {"R-50": "my/R-50.pkl", "D-53": "darknet53.conv.74"}})
    assert downloaded_weights(own) == ["darknet53.conv.74"]


def test_a_training_waits_for_downloaded_weights_alone(tmp_path: Path):
    plans = [make_plan(load_catalog(), load_protocol(name), tmp_path, seeds=1) for name in ("smoke", "paper")]
    assert [rule_values.backbones(plan) for plan in plans] == [[], [str(tmp_path / "paper" / "weights.done")]]
    assert rule_values.backbone_names(plans[0]) == "efficientnet_lite0"
