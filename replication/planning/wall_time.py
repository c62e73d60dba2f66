"""How long what is left takes on a number of GPUs: list scheduling of trainings, proposals and tests. No torch."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from replication.catalog.variants import PROPOSALS_SEED
from replication.planning.cluster import detection_minutes, pass_minutes
from replication.planning.plan import Plan
from replication.planning.steps import Step, steps
from replication.results.run import Run


@dataclass(frozen=True)
class Job:
    """What holds one GPU for ``seconds``, once the jobs named in ``after`` have ended; names of no job are done."""

    name: str
    seconds: float
    after: tuple[str, ...] = ()


def wall_seconds(plan: Plan, gpus: int) -> float:
    """Seconds until the last remaining job ends, each on one of ``gpus`` GPUs.

    A training recorded on several GPUs is taken to be as many times slower on one. Trainings whose cost was never
    recorded count nothing; timing and what needs no GPU are left out.
    """
    return list_schedule(list(remaining_jobs(plan)), gpus)


def remaining_jobs(plan: Plan) -> Iterator[Job]:
    """The jobs that are left, in the order in which the workflow prefers them."""
    for step in steps(plan):
        run, source = step.run, step.run.variant.proposals_from
        first = (f"proposals {source}",) if source else ()
        if step.seconds:
            yield Job(f"train {run.label}", _on_one_gpu(plan, step), first)
        if step.state != "done":
            yield Job(f"detect {run.label}", 60 * detection_minutes(plan, run.variant.name), (_train(run), *first))
        if _lacks_proposals(plan, run):
            splits = 60 * sum(pass_minutes(plan, run.variant.name, split) for split in ("train", "val"))
            yield Job(f"proposals {run.variant.name}", splits, (_train(run),))


def list_schedule(jobs: Sequence[Job], workers: int) -> float:
    """When the last job ends where every free worker takes the first job of the list whose predecessors have ended."""
    names = {job.name for job in jobs}
    waiting, done, running = list(jobs), set[str](), list[tuple[float, int, str]]()
    now = 0.0
    while waiting or running:
        for job in [one for one in waiting if not (set(one.after) & names) - done][: workers - len(running)]:
            waiting.remove(job)
            heapq.heappush(running, (now + job.seconds, len(waiting), job.name))
        now, _, ended = heapq.heappop(running)
        done.add(ended)
    return now


def _on_one_gpu(plan: Plan, step: Step) -> float:
    cost = plan.cost(step.run.variant.name)
    return (step.seconds or 0.0) * (cost.processes if cost else 1)


def _train(run: Run) -> str:
    return f"train {run.trained.label}"


def _lacks_proposals(plan: Plan, run: Run) -> bool:
    """Whether others are trained on this run's proposals, which are not there."""
    asked = run.seed == PROPOSALS_SEED and any(one.variant.proposals_from == run.variant.name for one in plan.runs)
    return asked and not plan.layout.proposals(run.variant.name, "val").manifest.exists()
