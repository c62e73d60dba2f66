"""Costs that are measured for a plan: of which runs they are wanted, and what they say of others. No torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from replication.planning.costs import Cost
from replication.planning.plan import Plan
from replication.results.run import Run

Measure = Callable[[Run], tuple[float, str]]
"""Seconds per iteration of a run's training, and the device's name."""


def unknown_costs(plan: Plan) -> list[list[Run]]:
    """The planned variants that no cost is recorded of and that can be measured, one run each, grouped by architecture
    and backbone.

    Not those of a command, whose training is not known here, nor those that need another's proposals first.
    """
    groups: dict[tuple[str, str], dict[str, Run]] = {}
    for run in plan.trainings:
        one = run.variant
        if not one.command and not one.proposals_from and plan.cost(one.name) is None:
            groups.setdefault((one.meta_architecture, one.backbone), {}).setdefault(one.name, run)
    return [list(group.values()) for group in groups.values()]


def measured(plan: Plan, measure: Measure) -> Plan:
    """The plan with costs for every group of ``unknown_costs``, each as its first variant's run measures."""
    costs: dict[str, Cost] = {}
    for first, *others in unknown_costs(plan):
        seconds, device = measure(first)
        source = f"measured on a few iterations of {first.variant.name}"
        cost = Cost(s_per_iter=seconds, device=device, source=source)
        costs |= {run.variant.name: cost for run in (first, *others)}
    return replace(plan, measured={**plan.measured, **costs})
