"""Costs that are measured for a plan: whose they are, and what becomes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from replication import cli
from replication.catalog import load_catalog, load_protocol
from replication.planning.measured import measured, unknown_costs
from replication.planning.output import HINT, plan_json, plan_table
from replication.planning.plan import Plan, make_plan
from replication.planning.steps import steps
from replication.results.files import write_json
from replication.results.run import Run

TABLES = ["giou-T5", "fsaf-T2"]


def plan_of(results: Path, *tables: str) -> Plan:
    return make_plan(load_catalog(), load_protocol("smoke"), results, tables or TABLES, backbones=["R-50", "R-101"])


def test_one_variant_of_each_architecture_and_backbone_is_measured(tmp_path: Path):
    plan, asked = plan_of(tmp_path), []

    def measure(run: Run) -> tuple[float, str]:
        asked.append(run.variant.name)
        return float(len(asked)), "cpu"

    after = measured(plan, measure)
    groups = [(run.variant.meta_architecture, run.variant.backbone) for (run, *_) in unknown_costs(plan)]
    assert len(groups) == len(set(groups)) == len(asked)
    assert set(groups) == {(one.meta_architecture, one.backbone) for one in plan.variants}
    by_group = dict(zip(groups, range(1, len(groups) + 1), strict=True))
    for step in steps(after):
        own = step.run.variant
        assert step.seconds == by_group[own.meta_architecture, own.backbone] * step.iterations
    assert unknown_costs(after) == []
    assert plan_json(after)["unknown"] == 0
    assert list(tmp_path.iterdir()) == []


def test_what_is_known_is_not_measured(tmp_path: Path):
    plan = plan_of(tmp_path, "giou-T5")
    for run in plan.runs:
        made = {
            "config_hash": "c", "data_hash": "d", "fingerprint": "f", "s_per_iter": 0.5, "device": {"name": "cpu"},
        }  # fmt: skip
        write_json(run.folder / "provenance.json", "provenance/1", made)
    assert unknown_costs(plan) == []
    assert plan.cost(plan.runs[0].variant.name).s_per_iter == 0.5  # type: ignore[union-attr]
    assert HINT not in plan_table(plan)


def test_variants_on_others_proposals_stay_unknown(tmp_path: Path):
    plan = plan_of(tmp_path, "libra-T2")
    names = {run.variant.name for group in unknown_costs(plan) for run in group}
    needy = {one.name for one in plan.variants if one.proposals_from}
    assert needy
    assert not names & needy
    assert "rpn_R50" in names


def test_the_plan_says_that_it_can_measure_and_then_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    where = ["plan", "--protocol", "smoke", "--tables", "giou-T5", "--results", str(tmp_path)]
    assert cli.main(where) == 0
    before = capsys.readouterr().out
    assert "time unknown for 3" in before
    assert HINT in before
    assert cli.main([*where, "--measure"]) == 0
    after = capsys.readouterr().out
    assert "unknown" not in after
    assert HINT not in after
    assert "recorded on cpu (measured on a few iterations of faster_rcnn_R50_smooth_l1)" in after
    assert list(tmp_path.iterdir()) == []
