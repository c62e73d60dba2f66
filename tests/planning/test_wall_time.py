from __future__ import annotations

import json
from pathlib import Path

import pytest

from replication.catalog import load_catalog, load_protocol
from replication.planning import wall_time
from replication.planning.output import plan_json, plan_table
from replication.planning.plan import Plan, make_plan
from replication.planning.wall_time import Job, list_schedule, remaining_jobs, wall_seconds

CATALOG = load_catalog()


def plan_of(results: Path, protocol: str, **choice: object) -> Plan:
    return make_plan(CATALOG, load_protocol(protocol), results, **choice)  # type: ignore[arg-type]


@pytest.mark.parametrize(("workers", "expected"), [(1, 14.0), (2, 8.0), (3, 6.0), (99, 6.0)])
def test_the_schedule_of_a_small_graph(workers: int, expected: float):
    """By hand. On two workers: a 0-3, b 0-2, c 2-6, then d, which waits for a and b, 3-5, e 5-8."""
    jobs = [Job("a", 3), Job("b", 2), Job("c", 4), Job("d", 2, ("a", "b")), Job("e", 3, ("a",))]
    assert list_schedule(jobs, workers) == expected


def test_a_predecessor_that_is_no_job_is_done():
    assert list_schedule([Job("a", 3, ("gone",))], 1) == 3


def test_nothing_left_takes_no_time():
    assert list_schedule([], 4) == 0.0


def test_one_gpu_takes_all_gpu_hours_and_many_the_longest_chain(tmp_path: Path):
    """90,000 iterations of 0.219 s on 8 GPUs: 43.8 GPU-hours each, and 5,000 images at 0.219 * 8 / 16 s."""
    plan = plan_of(tmp_path, "paper", tables=["giou-T5"], seeds=1)
    training, test = 90_000 * 0.219 * 8, 5_000 * 0.219 * 8 / 16
    assert wall_seconds(plan, 1) == pytest.approx(3 * (training + test))
    assert wall_seconds(plan, 100) == pytest.approx(training + test)
    on_two = json.loads(json.dumps(plan_json(plan, 2)))["wall_seconds"]
    assert on_two == pytest.approx(2 * (training + test), rel=1e-4)
    assert "wall_seconds" not in plan_json(plan)
    assert "on 2 GPUs, one per training" in plan_table(plan, 2)
    assert "on 1 GPU, one" in plan_table(plan, 1)


def test_fixed_proposals_come_between_their_training_and_the_others(tmp_path: Path):
    plan = plan_of(tmp_path, "paper", tables=["libra-T5"], seeds=1)
    after = {job.name: job.after for job in remaining_jobs(plan)}
    (rpn,) = after["proposals rpn_R50"]
    assert after[rpn] == ()
    trained = [name for name in after if name.startswith("train fast_rcnn")]
    assert trained
    assert {after[name] for name in trained} == {("proposals rpn_R50",)}
    times = {job.name: job.seconds for job in remaining_jobs(plan)}
    chain = times[rpn] + times["proposals rpn_R50"] + max(times[name] for name in trained)
    assert wall_seconds(plan, 1000) >= chain


def test_a_test_time_variant_waits_for_its_weights(tmp_path: Path):
    plan = plan_of(tmp_path, "paper", tables=["fsaf-T3"], seeds=1)
    jobs = {job.name: job for job in remaining_jobs(plan)}
    tests = [run for run in plan.runs if run.variant.weights_from]
    assert tests
    for run in tests:
        assert jobs[f"detect {run.label}"].after == (f"train {run.trained.label}",)
        assert jobs[f"detect {run.label}"].seconds == wall_time.detection_minutes(plan, run.variant.name) * 60
