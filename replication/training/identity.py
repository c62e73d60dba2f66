"""Whether a finished run is of this code, these settings and these data, and its verified weights."""

from __future__ import annotations

import torch

from replication.datasets import data_hash
from replication.errors import ResultError, WeightsError
from replication.results.elsewhere import elsewhere
from replication.results.fingerprint import training_fingerprint
from replication.results.layout import RunFiles
from replication.results.run import Run
from replication.results.schemas import Provenance, read
from replication.training.checkpoint import read_checkpoint
from replication.training.data import Record
from replication.training.proposals import OpenProposals, open_proposals, proposals_hash


def identity(run: Run) -> dict[str, str]:
    """What a training depends on; two trainings of one folder must agree in it to be the same run."""
    found = {
        "training_fingerprint": training_fingerprint(run.variant, run.protocol),
        "data_hash": data_hash(run.protocol),
    }
    if run.variant.proposals_from:
        found["proposals_sha256"] = proposals_hash(run.layout.proposals(run.variant.proposals_from, "train"))
    return found


def proposals_of(run: Run, split: str, records: list[Record]) -> OpenProposals | None:
    """The fixed proposals for the records of a split; None for a variant that makes its own."""
    if not run.variant.proposals_from:
        return None
    ids = (record["image_id"] for record in records)
    return open_proposals(run.layout.proposals(run.variant.proposals_from, split), data_hash(run.protocol), ids)


def check_trained(run: Run) -> None:
    """Raise ResultError unless a run's weights are there, of a training by this code, these settings and these data."""
    check_made_here(run.files)
    run = run.trained
    if run.variant.command:
        raise ResultError(
            f"{run.variant.path}: run: is a command, which leaves detections and no weights that run here"
        )
    check_made_here(run.files)
    if not run.files.model.exists():
        raise ResultError(
            f"{run.files.model}: no such file; train the run first: `replication train --variant "
            f"{run.variant.name} --seed {run.seed}`"
        )
    check_identity(run, identity(run), "train it again with --restart")


def check_made_here(files: RunFiles) -> None:
    """Raise ResultError for a run that was made elsewhere: it has no weights, and is not trained over."""
    origin = elsewhere(files)
    if origin is not None:
        raise ResultError(
            f"{files.folder}: the run was {origin.label} and has no weights; choose another --seed or --results, or "
            "delete the folder to train the run here"
        )


def check_identity(run: Run, expected: dict[str, str], what_to_do: str) -> None:
    """Raise ResultError when the finished run in the folder was made by other code, settings or data."""
    try:
        made = read(run.files.provenance, Provenance)
    except ResultError as error:
        reason = str(error).rpartition("; ")[0]
        raise ResultError(
            f"{reason}; so it is unknown what made the run's {run.files.model.name}: {what_to_do}"
        ) from error
    for key, value in expected.items():
        if getattr(made, key) != value:
            raise ResultError(
                f"{run.folder}: holds a finished run whose {key} is {getattr(made, key)}, now it is {value}: other "
                f"code, settings or data; {what_to_do}, or choose another --results folder"
            )


def trained_weights(run: Run, device: str = "cpu") -> dict[str, torch.Tensor]:
    """The verified weights of a finished run, of a test-time variant its source's; WeightsError when damaged."""
    run = run.trained
    try:
        state: dict[str, torch.Tensor] = read_checkpoint(run.files.model, device)["model"]
    except WeightsError as error:
        raise WeightsError(
            f"{error}; train the run again: `replication train --variant {run.variant.name} --seed {run.seed} "
            "--restart`"
        ) from error
    return state
