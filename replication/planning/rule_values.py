"""What the workflow's rules ask of a plan: files, priorities, and values that change when a step is out of date."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from replication.catalog import load_judging
from replication.datasets.backbones import downloaded_weights, needed_weights
from replication.datasets.splits import annotation_files
from replication.planning.plan import Plan
from replication.results import fingerprint
from replication.results.elsewhere import elsewhere as origin_of
from replication.results.files import sha256_json
from replication.results.run import Run


def run_of(plan: Plan, variant: str, seed: int | str) -> Run:
    """The run that a rule's wildcards name."""
    return Run(plan.catalog.variants[variant], plan.protocol, int(seed), plan.results)


def priority(plan: Plan, variant: str) -> int:
    """Higher for what the first tables need."""
    order = [one.name for one in plan.variants]
    return len(order) - order.index(variant)


def proposals(plan: Plan, variant: str) -> list[str]:
    """The files of fixed proposals that a training or inference of the variant reads; none for most."""
    source = plan.catalog.variants[variant].proposals_from
    return [str(plan.layout.proposals(source, split).manifest) for split in ("train", "val")] if source else []


def weights(plan: Plan, variant: str, seed: int | str) -> str:
    """The mark of the training whose weights a variant is tested with."""
    return str(run_of(plan, variant, seed).trained.files.trained)


def made(run: Run) -> Path:
    """What says that a run's provenance is there: the mark of its training; itself where no training marks it.

    That is so of test-time variants, and of runs made elsewhere.
    """
    own = run.variant.weights_from or origin_of(run.files) is not None
    return run.files.provenance if own else run.files.trained


def judged(runs: Iterable[Run]) -> list[Path]:
    """What judging reads of the runs, and what says that it is finished."""
    return [path for run in runs for path in (run.files.metrics, made(run), run.files.detections)]


def made_here(plan: Plan, pattern: str) -> str:
    """A pattern of variants, restricted to the runs that the workflow makes: those made elsewhere it must not touch.

    A lookahead, since Snakemake has no pattern over two wildcards: it is of the folder ``<variant>/seed<k>/``.
    """
    left_out = "|".join(f"{run.variant.name}/seed{run.seed}/" for run in plan.elsewhere)
    return f"(?!{left_out})(?:{pattern})" if left_out else pattern


def elsewhere(plan: Plan) -> str:
    """Changes with the runs made elsewhere that the tables show, those of variants without a file among them."""
    rows = (row.variant for table in plan.tables for row in plan.catalog.table(table).rows)
    variants = dict.fromkeys(name for name in rows if name is not None)
    found = [
        [name, seed, made.source_sha256]
        for name in variants
        for seed, files in plan.layout.seeds(name)
        if (made := origin_of(files)) is not None
    ]
    return sha256_json(found)[:12]


def forget_deleted(plan: Plan) -> None:
    """Delete the marks of trainings whose weights somebody has deleted, so that they are trained again."""
    for run in plan.trainings:
        if run.files.trained.exists() and not run.finished.exists():
            run.files.trained.unlink(missing_ok=True)


def figure_inputs(plan: Plan, paper: str, name: str) -> list[str]:
    """The mark of the training from which a figure's data are computed; none where no run is needed."""
    for data in plan.catalog.papers[paper].figure_data:
        if data.name == name and data.variant is not None:
            return [weights(plan, data.variant, data.seed)]
    return []


def downloads(plan: Plan) -> tuple[str, ...]:
    """Names of the data sets that the ``data`` verb can fetch for the protocol."""
    return plan.protocol.data.downloads


def backbones(plan: Plan) -> list[str]:
    """The mark of the backbone weights that were downloaded; none where the protocol's come from elsewhere."""
    return [str(plan.layout.weights)] if downloaded_weights(plan.protocol) else []


def backbone_names(plan: Plan) -> str:
    """Changes with the weights that trainings start from."""
    return ",".join(needed_weights(plan.protocol))


def training(plan: Plan, variant: str) -> str:
    """Changes when code or settings change what a training computes."""
    return fingerprint.training_fingerprint(plan.catalog.variants[variant], plan.protocol)


def settings(plan: Plan, variant: str) -> str:
    """Changes with what a test-time variant sets for the test."""
    return fingerprint.settings_fingerprint(plan.catalog.variants[variant])


def data_settings(plan: Plan) -> str:
    """Changes when the protocol names other data."""
    return sha256_json(plan.protocol.data.model_dump(mode="json"))[:12]


def data_state(plan: Plan) -> str:
    """Changes also when an annotation file was written again; for the step that checks the data."""
    stats = [(path, path.stat()) for path in annotation_files(plan.protocol)]
    written = [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats]
    return sha256_json([plan.protocol.data.model_dump(mode="json"), written])[:12]


def areas(plan: Plan) -> str:
    """Changes with the area ranges of the evaluation."""
    return sha256_json(plan.protocol.area_ranges.model_dump())[:12]


def text(plan: Plan) -> str:
    """Changes with what tables and report quote: the papers and the protocol's words."""
    papers = {name: paper.model_dump(mode="json") for name, paper in plan.catalog.papers.items()}
    return sha256_json([papers, plan.protocol.model_dump(mode="json")])[:12]


def judging() -> str:
    """Changes with the rules of the verdicts."""
    return sha256_json(load_judging().model_dump())[:12]
