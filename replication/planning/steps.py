"""In which state every planned run is, why, and what it still costs. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from replication.catalog.schedule import training_iterations
from replication.planning.costs import readable_provenance
from replication.planning.plan import Plan
from replication.results.elsewhere import elsewhere
from replication.results.fingerprint import settings_fingerprint, training_fingerprint
from replication.results.run import Run

TRAINED = ("done", "trained")
"""States in which a run's weights are there and of this code."""
ELSEWHERE = "made elsewhere"
"""State of a run that was imported: finished, without weights, never trained here."""


@dataclass(frozen=True)
class Step:
    """One planned run. ``iterations`` are those of its whole training, ``seconds`` and ``gpu_hours`` what remains.

    ``seconds`` is None where no cost was ever recorded, ``gpu_hours`` also on a CPU.
    """

    run: Run
    state: str
    reason: str
    iterations: int
    seconds: float | None
    gpu_hours: float | None


def steps(plan: Plan) -> list[Step]:
    """State, reason and cost of every run, in the order of the plan."""
    return [_step(plan, run) for run in plan.runs]


def _step(plan: Plan, run: Run) -> Step:
    origin = elsewhere(run.files)
    if origin is not None:
        return Step(
            run, ELSEWHERE, f"{origin.made_by or 'by whom is unknown'}; code and settings are unknown", 0, 0.0, None
        )
    if run.variant.weights_from:
        return Step(run, *_test_state(run), 0, 0.0, None)
    iterations = training_iterations(run.variant, run.protocol)
    state, reason, left = _training_state(run, iterations)
    cost = plan.cost(run.variant.name)
    if cost is None:
        return Step(run, state, reason, iterations, None, None)
    seconds = cost.s_per_iter * left
    hours = None if cost.device == "cpu" else round(seconds * cost.processes / 3600, 1)
    return Step(run, state, reason, iterations, round(seconds, 1), hours)


def _training_state(run: Run, iterations: int) -> tuple[str, str, int]:
    """(state, reason, iterations left)."""
    files = run.files
    if run.finished.exists():
        made = readable_provenance(files.provenance)
        if made is None or made.training_fingerprint != training_fingerprint(run.variant, run.protocol):
            return "outdated", "code or settings of the training have changed", iterations
        if files.metrics.exists() or run.layout.proposals(run.variant.name, "val").manifest.exists():
            return "done", "", 0
        return "trained", "detections or metrics are missing", 0
    if files.checkpoints:
        done = int(files.checkpoints[-1].stem.rpartition("_")[2])
        return "partial", f"interrupted; checkpoint at iteration {done}", max(0, iterations - done)
    if run.variant.command and files.command.exists():
        return "partial", "interrupted; the command goes on from what it has kept in its folder", iterations
    return "to do", "never run", iterations


def _test_state(run: Run) -> tuple[str, str]:
    """(state, reason) of a test-time variant's run, which has no training of its own."""
    source = run.trained
    if elsewhere(source.files) is not None:
        return "needs weights", f"of {source.label}, which was made elsewhere and has none"
    if _training_state(source, 0)[0] not in TRAINED:
        return "needs weights", f"of {source.label}, which is to be trained"
    if not run.files.metrics.exists():
        return "to do", f"to be tested with the weights of {source.variant.name}"
    made, weights = (readable_provenance(files.provenance) for files in (run.files, source.files))
    now = training_fingerprint(run.variant, run.protocol), settings_fingerprint(run.variant)
    if (
        made is None
        or weights is None
        or (made.training_fingerprint, made.settings_fingerprint) != now
        or made.finished != weights.finished
    ):
        return "outdated", f"weights of {source.variant.name} or settings of the test have changed"
    return "done", ""
