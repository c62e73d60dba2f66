"""The plan for people and for programs. No torch."""

from __future__ import annotations

from typing import Any

from tabulate import tabulate

from replication.planning.costs import Cost, relative_times
from replication.planning.measured import unknown_costs
from replication.planning.plan import Plan
from replication.planning.steps import ELSEWHERE, TRAINED, Step, steps
from replication.planning.wall_time import wall_seconds

SCHEMA = "plan/1"
HINT = "--measure trains a few iterations of each architecture in a temporary folder, and so knows the time"


def plan_json(plan: Plan, gpus: int | None = None) -> dict[str, Any]:
    """Machine-readable form, schema ``plan/1``; with ``gpus`` also the time on so many."""
    planned = steps(plan)
    return {
        "schema": SCHEMA,
        "protocol": plan.protocol.name,
        "tables": list(plan.tables),
        "runs": [
            {
                "variant": step.run.variant.name,
                "seed": step.run.seed,
                "state": step.state,
                "reason": step.reason,
                "iterations": step.iterations,
                "seconds": step.seconds,
                "gpu_hours": step.gpu_hours,
            }
            for step in planned
        ],
        "seconds": _seconds(planned),
        "gpu_hours": sum(step.gpu_hours or 0.0 for step in planned),
        "unknown": _unknown(planned),
        **({"gpus": gpus, "wall_seconds": round(wall_seconds(plan, gpus), 1)} if gpus else {}),
        "seconds_on": _seconds_on(plan, _first_cost(plan), _seconds(planned)),
    }


def plan_table(plan: Plan, gpus: int | None = None) -> str:
    """A line per run, then what is left in all; with ``gpus`` also the time on so many."""
    planned = steps(plan)
    rows = [
        [step.run.variant.name, step.run.seed, step.state, step.iterations, _duration(step.seconds), step.reason]
        for step in planned
    ]
    hours, unknown = sum(step.gpu_hours or 0.0 for step in planned), _unknown(planned)
    cost = _first_cost(plan)
    return "\n".join(
        [
            f"protocol {plan.protocol.name}: {plan.protocol.title}",
            f"tables {', '.join(plan.tables)}",
            "",
            tabulate(rows, ["variant", "seed", "state", "iterations", "time left", "why"]),
            "",
            f"{len(rows)} runs; remaining training {_duration(_seconds(planned))} if run sequentially"
            + (f", {hours:.0f} GPU-hours" if hours else "")
            + (f"; time unknown for {unknown}" if unknown else ""),
            *([HINT] if unknown_costs(plan) else []),
            *([_on_gpus(plan, gpus)] if gpus else []),
            *([f"seconds per iteration recorded on {cost.device} ({cost.source})"] if cost else []),
            *_elsewhere(plan, cost, _seconds(planned)),
        ]
    )


def plan_left(plan: Plan, at_once: int) -> str:
    """One line: how many trainings are finished and how long the others take, ``at_once`` in parallel."""
    planned = steps(plan)
    trainings = [step for step in planned if not step.run.variant.weights_from]
    trained, unknown = sum(step.state in (*TRAINED, ELSEWHERE) for step in trainings), _unknown(planned)
    return (
        f"workflow: {trained} of {len(trainings)} runs trained, about {_duration(_seconds(planned) / at_once)} of "
        "training remaining"
        + (f" with {at_once} in parallel" if at_once > 1 else "")
        + (f", and {unknown} runs whose time is unknown" if unknown else "")
    )


def _on_gpus(plan: Plan, gpus: int) -> str:
    left = _duration(wall_seconds(plan, gpus))
    return f"about {left} on {gpus} GPU{'s' if gpus > 1 else ''}, one per training, tests and proposals included"


def _first_cost(plan: Plan) -> Cost | None:
    return plan.cost(plan.runs[0].variant.name)


def _seconds_on(plan: Plan, cost: Cost | None, seconds: float) -> dict[str, float]:
    """What is left on other GPUs than the one whose cost is recorded."""
    if cost is None:
        return {}
    times = relative_times(cost.device, *plan.catalog.folders)
    return {name: round(seconds * time) for name, time in times.items()}


def _elsewhere(plan: Plan, cost: Cost | None, seconds: float) -> list[str]:
    others = _seconds_on(plan, cost, seconds)
    texts = [f"{_duration(each)} on one {name}" for name, each in others.items()]
    return [f"on other GPUs, by their speed in training another detector: {', '.join(texts)}"] if texts else []


def _seconds(planned: list[Step]) -> float:
    return sum(step.seconds or 0.0 for step in planned)


def _unknown(planned: list[Step]) -> int:
    return sum(step.seconds is None for step in planned)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
