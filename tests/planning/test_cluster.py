"""What steps ask of a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from replication.catalog import load_catalog, load_protocol
from replication.planning import cluster
from replication.planning.plan import Plan, make_plan

CATALOG = load_catalog()
GIOU = "faster_rcnn_R50_giou"


def plan_of(results: Path, protocol: str = "paper") -> Plan:
    return make_plan(CATALOG, load_protocol(protocol), results, tables=["giou-T5", "fsaf-T3"], seeds=1)


def test_a_training_asks_for_twice_its_recorded_time_and_more_at_each_attempt(tmp_path: Path):
    """90,000 iterations of 0.219 s on 8 GPUs are 2,628 minutes on one."""
    plan = plan_of(tmp_path)
    assert cluster.training_minutes(plan, GIOU) == 2628
    assert cluster.training_minutes(plan, GIOU, 8) == round(2628 / 8)
    assert cluster.training(plan, GIOU, 1, 1) == 10 + 2 * 2628
    assert cluster.training(plan, GIOU, 1, 3) == 3 * (10 + 2 * 2628)


def test_a_recorded_time_of_a_cpu_is_not_shared(tmp_path: Path):
    plan = plan_of(tmp_path, "mini")
    assert cluster.training_minutes(plan, GIOU, 8) == cluster.training_minutes(plan, GIOU) > 0


def test_a_training_that_was_never_measured_gets_a_day(tmp_path: Path):
    assert cluster.training(plan_of(tmp_path, "smoke"), GIOU, 1, 1) == 10 + 24 * 60


def test_a_test_in_many_views_takes_longer(tmp_path: Path):
    plan = plan_of(tmp_path)
    (tested,) = [run.variant for run in plan.runs if run.variant.weights_from]
    once, many = (cluster.detection(plan, name, 1) - cluster.STARTING for name in (tested.weights_from, tested.name))
    assert many == pytest.approx(cluster.VIEWS * once, rel=0.01)
    assert cluster.proposals(plan, GIOU, 1) > cluster.detection(plan, GIOU, 1)


def test_embedded_data_need_little_memory_and_further_attempts_more(tmp_path: Path):
    assert cluster.memory(plan_of(tmp_path, "smoke"), 1, 1) == 3_000
    paper = plan_of(tmp_path)
    assert cluster.memory(paper, 1, 8) == 16_000 + 8 * 8_000
    assert cluster.memory(paper, 2, 8) == 2 * cluster.memory(paper, 1, 8)


def test_a_protocol_of_the_cpu_asks_for_no_gpu(tmp_path: Path):
    plan = plan_of(tmp_path)
    assert cluster.gpus(plan, 4) == 4
    cpu = plan.protocol.model_copy(update={"device": "cpu"})
    assert cluster.gpus(Plan(cpu, plan.catalog, plan.results, plan.tables, plan.runs), 4) == 0
