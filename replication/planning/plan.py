"""What would run, why, in which order, and how long it takes. No torch: the workflow and the ``plan`` verb use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tabulate import tabulate

from replication.catalog import (
    Catalog,
    CocoData,
    Protocol,
    Run,
    VocData,
    load_judging,
    select,
)
from replication.catalog.variants import PROPOSALS_SEED, resolve
from replication.datasets.inputs import annotation_files
from replication.planning.costs import Cost, measured_cost, readable_provenance, recorded_costs
from replication.results.files import sha256_json
from replication.results.fingerprint import settings_fingerprint, training_fingerprint

FIGURES_FROM = "faster_rcnn_R50"  # the detector among whose proposals Libra R-CNN's figure 3 samples
TRAINED = ("done", "trained")  # states in which a run's weights are there and of this code
PAPER_ITERATIONS = 90_000  # Detectron's 1x schedule at batch 16; Libra R-CNN's 12 epochs are 87,960


@dataclass(frozen=True)
class Step:
    """One run of the plan. ``seconds`` is what remains, None where nothing was ever recorded."""

    run: Run
    state: str
    reason: str
    iterations: int
    seconds: float | None
    gpu_hours: float | None


@dataclass(frozen=True)
class Plan:
    """All runs of a protocol and a choice of tables, in the order they are started in."""

    protocol: Protocol
    catalog: Catalog
    results: Path
    tables: tuple[str, ...]
    runs: tuple[Run, ...]

    @property
    def trainings(self) -> list[Run]:
        """The planned runs that are trained: all but those of test-time variants."""
        return [run for run in self.runs if not self.catalog.variants[run.variant].weights_from]

    def weights_of(self, run: Run) -> Run:
        """The run whose training makes a run's weights: its own or, tested anew, its source's of its seed."""
        return run.model_copy(update={"variant": self.catalog.variants[run.variant].weights_from or run.variant})

    @cached_property
    def steps(self) -> list[Step]:
        """State, reason and cost of every run."""
        return [self._step(run) for run in self.runs]

    def iterations(self, variant: str) -> int:
        """Length of a variant's training under the protocol."""
        record = self.catalog.variants[variant]
        one_x = self.protocol.iterations_of(record.meta_architecture)
        if one_x is None:
            batch = int(resolve(record.path)["SOLVER"]["IMS_PER_BATCH"])
            return round(record.iterations * batch / self.protocol.batch)
        return round(record.iterations * one_x / PAPER_ITERATIONS)

    def cost(self, variant: str) -> Cost | None:
        """Seconds an iteration: of a run of the same results folder if there is one, else as recorded in configs."""
        made = measured_cost(self.results / self.protocol.name / "runs" / variant)
        return made or recorded_costs(*self.catalog.folders).get((self.protocol.name, variant))

    def minutes(self, variant: str) -> int:
        """Expected minutes of a whole training, at least 1; 0 where nothing was recorded."""
        cost = self.cost(variant)
        return max(1, round(cost.s_per_iter * self.iterations(variant) / 60)) if cost else 0

    def priority(self, variant: str) -> int:
        """Higher for what the first tables need."""
        order = list(dict.fromkeys(run.variant for run in self.runs))
        return len(order) - order.index(variant)

    def proposals(self, variant: str) -> list[str]:
        """The files of fixed proposals that a training or inference of the variant reads; none for most."""
        source = self.catalog.variants[variant].proposals_from
        folder = self.results / self.protocol.name / "proposals" / source
        return [str(folder / f"{split}.json") for split in ("train", "val")] if source else []

    def weights(self, variant: str, seed: int) -> list[str]:
        """The files of the run whose weights a variant is tested with."""
        run = self.weights_of(Run(protocol=self.protocol.name, variant=variant, seed=seed))
        return [str(run.folder(self.results) / name) for name in ("model_final.pth", "provenance.json")]

    @property
    def figure_data(self) -> list[str]:
        """The files that Libra R-CNN's figures are drawn from: 5 with any of its tables, 3 where its detector is run.

        No training is added for figure 3: it would cost as much as a row of a table, which nobody asked for.
        """
        if not any(table.startswith("libra-") for table in self.tables):
            return []
        made_by = Run(protocol=self.protocol.name, variant=FIGURES_FROM, seed=0)
        names = ("libra_balanced_l1", *(("libra_sampling",) if made_by in self.runs else ()))
        return [str(self.results / self.protocol.name / "figures" / f"{name}.json") for name in names]

    @property
    def shown(self) -> list[Run]:
        """The planned runs that any of the tables shows: all but those that only serve others."""
        return list(dict.fromkeys(run for table in self.tables for run in self.runs_of(table)))

    def runs_of(self, table: str) -> list[Run]:
        """The planned runs that one table shows."""
        shown = {row.variant for row in self.catalog.table(table).rows}
        return [run for run in self.runs if run.variant in shown]

    def paper_of(self, name: str) -> str:
        """See ``Catalog.paper_of``."""
        return self.catalog.paper_of(name)

    @property
    def timed(self) -> tuple[str, ...]:
        """Variants of the chosen tables whose rows are timed, each once."""
        return tuple(dict.fromkeys(name for table in self.tables for name in self.timed_in(table)))

    @property
    def timed_folders(self) -> list[Path]:
        """Folders of the runs whose weights are timed: the first seed's."""
        return [run.folder(self.results) for run in self.runs if run.variant in self.timed and run.seed == 0]

    def timed_in(self, table: str) -> list[str]:
        """Planned variants of one table, in row order; none when its rows are not timed.

        Test-time variants are left out: a test in several views cannot be timed.
        """
        record = self.catalog.table(table)
        planned = {run.variant for run in self.trainings}
        return [row.variant for row in record.rows if record.timed and row.variant in planned]

    def training_fingerprint(self, variant: str) -> str:
        """See ``replication.results.fingerprint``; the workflow trains again when it changes."""
        return training_fingerprint(self.catalog.variants[variant], self.protocol)

    def settings_fingerprint(self, variant: str) -> str:
        """See ``replication.results.fingerprint``; the workflow tests a test-time variant again when it changes."""
        return settings_fingerprint(self.catalog.variants[variant])

    def data_settings(self) -> str:
        """Changes when the protocol names other data."""
        return sha256_json(self.protocol.data.model_dump(mode="json"))[:12]

    def data_state(self) -> str:
        """Changes also when an annotation file was written again; for the step that checks the data."""
        stats = [(path, path.stat()) for path in annotation_files(self.protocol)]
        written = [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats]
        return sha256_json([self.protocol.data.model_dump(mode="json"), written])[:12]

    def areas(self) -> str:
        """Changes with the area ranges of the evaluation."""
        return sha256_json(self.protocol.area_ranges.model_dump())[:12]

    def text(self) -> str:
        """Changes with what tables and report quote: the papers and the protocol's words."""
        papers = {name: paper.model_dump(mode="json") for name, paper in self.catalog.papers.items()}
        return sha256_json([papers, self.protocol.model_dump(mode="json")])[:12]

    def judging(self) -> str:
        """Changes with the rules of the verdicts."""
        return sha256_json(load_judging().model_dump())[:12]

    @property
    def downloads(self) -> tuple[str, ...]:
        """Names of the data sets that the ``data`` verb can fetch for this protocol."""
        data = self.protocol.data
        if isinstance(data, CocoData):
            return (data.download,) if data.download else ()
        return data.download if isinstance(data, VocData) else ()

    def _step(self, run: Run) -> Step:
        source = self.weights_of(run)
        if source != run:
            return Step(run, *self._test_state(run, source), 0, 0.0, None)
        iterations = self.iterations(run.variant)
        state, reason, left = self._state(run, iterations)
        cost = self.cost(run.variant)
        seconds = cost.s_per_iter * left if cost else None
        on_gpu = cost is not None and cost.device != "cpu"
        hours = round(seconds * cost.processes / 3600, 1) if cost and seconds is not None and on_gpu else None
        return Step(run, state, reason, iterations, None if seconds is None else round(seconds, 1), hours)

    def _state(self, run: Run, iterations: int) -> tuple[str, str, int]:
        """(state, reason, iterations left)."""
        folder = run.folder(self.results)
        if (folder / "model_final.pth").exists():
            made = readable_provenance(folder / "provenance.json") or {}
            if made.get("training_fingerprint") != self.training_fingerprint(run.variant):
                return "outdated", "code or settings of the training have changed", iterations
            proposed = self.results / self.protocol.name / "proposals" / run.variant / "val.json"
            if (folder / "metrics.json").exists() or proposed.exists():
                return "done", "", 0
            return "trained", "detections or metrics are missing", 0
        checkpoints = sorted(folder.glob("checkpoint_*.pth"))
        if checkpoints:
            done = int(checkpoints[-1].stem.rpartition("_")[2])
            return "partial", f"interrupted; checkpoint at iteration {done}", max(0, iterations - done)
        return "to do", "never run", iterations

    def _test_state(self, run: Run, source: Run) -> tuple[str, str]:
        """(state, reason) of a test-time variant's run, which has no training of its own."""
        if self._step(source).state not in TRAINED:
            return "needs weights", f"of {source.variant} seed {source.seed}, which is to be trained"
        folder = run.folder(self.results)
        if not (folder / "metrics.json").exists():
            return "to do", f"to be tested with the weights of {source.variant}"
        made = readable_provenance(folder / "provenance.json") or {}
        weights = readable_provenance(source.folder(self.results) / "provenance.json") or {}
        now = self.training_fingerprint(run.variant), self.settings_fingerprint(run.variant), weights.get("finished")
        if tuple(made.get(key) for key in ("training_fingerprint", "settings_fingerprint", "finished")) != now:
            return "outdated", f"weights of {source.variant} or settings of the test have changed"
        return "done", ""

    def as_json(self) -> dict[str, Any]:
        """Machine-readable form, schema ``plan/1``."""
        return {
            "schema": "plan/1",
            "protocol": self.protocol.name,
            "tables": list(self.tables),
            "runs": [
                {
                    "variant": step.run.variant,
                    "seed": step.run.seed,
                    "state": step.state,
                    "reason": step.reason,
                    "iterations": step.iterations,
                    "seconds": step.seconds,
                    "gpu_hours": step.gpu_hours,
                }
                for step in self.steps
            ],
            "seconds": sum(step.seconds or 0.0 for step in self.steps),
            "gpu_hours": sum(step.gpu_hours or 0.0 for step in self.steps),
            "unknown": sum(step.seconds is None for step in self.steps),
        }

    def as_table(self) -> str:
        """For people."""
        rows = [
            [step.run.variant, step.run.seed, step.state, step.iterations, _duration(step.seconds), step.reason]
            for step in self.steps
        ]
        head = ["variant", "seed", "state", "iterations", "time left", "why"]
        totals = self.as_json()
        cost = self.cost(self.runs[0].variant)
        lines = [
            f"protocol {self.protocol.name}: {self.protocol.title}",
            f"tables {', '.join(self.tables)}",
            "",
            tabulate(rows, head),
            "",
            f"{len(rows)} runs; training left {_duration(totals['seconds'])} if they run one after the other"
            + (f", {totals['gpu_hours']:.0f} GPU-hours" if totals["gpu_hours"] else "")
            + (f"; time unknown for {totals['unknown']}" if totals["unknown"] else ""),
        ]
        if cost:
            lines.append(f"seconds an iteration recorded on {cost.device} ({cost.source})")
        return "\n".join(lines)

    def left(self, at_once: int) -> str:
        """One line: how many trainings are finished and how long the others take, ``at_once`` side by side."""
        trainings = set(self.trainings)
        steps = [step for step in self.steps if step.run in trainings]
        trained = sum(step.state in TRAINED for step in steps)
        seconds = sum(step.seconds or 0.0 for step in self.steps) / at_once
        unknown = sum(step.seconds is None for step in self.steps)
        return (
            f"workflow: {trained} of {len(steps)} runs trained, about {_duration(seconds)} of training left"
            + (f" with {at_once} side by side" if at_once > 1 else "")
            + (f", and {unknown} runs whose time is unknown" if unknown else "")
        )


def make_plan(
    catalog: Catalog,
    protocol: Protocol,
    results: Path,
    tables: Sequence[str] | None = None,
    seeds: int | None = None,
    backbones: Sequence[str] | None = None,
) -> Plan:
    """The plan of a protocol; what is None is the protocol's own."""
    chosen = tuple(tables or protocol.tables)
    runs = tuple(_with_sources(catalog, select(catalog, protocol, chosen, seeds, backbones)))
    return Plan(protocol, catalog, results, chosen, runs)


def _with_sources(catalog: Catalog, runs: Sequence[Run]) -> dict[Run, None]:
    """The runs in order, each once, with the runs whose proposals or weights one needs before it."""
    ordered: dict[Run, None] = {}
    for run in runs:
        variant = catalog.variants[run.variant]
        if variant.proposals_from:
            ordered[Run(protocol=run.protocol, variant=variant.proposals_from, seed=PROPOSALS_SEED)] = None
        if variant.weights_from:
            ordered[Run(protocol=run.protocol, variant=variant.weights_from, seed=run.seed)] = None
        ordered[run] = None
    return ordered


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
