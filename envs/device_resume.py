"""Whether a training that is interrupted and resumed ends in the bytes of one that is not, on this device.

Two whole trainings tell how much the device itself repeats; the third is interrupted half-way. Of each pair the largest
difference of any weight is written, in absolute terms and to the largest weight of its tensor.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from replication.catalog import Protocol, load_catalog, load_protocol
from replication.datasets import prepare
from replication.results.run import Run
from replication.training.run import train
from replication.training.trainer import Trainer

VARIANTS = ("faster_rcnn_R50_giou", "fsaf_R50_joint")


def protocol(device: str) -> Protocol:
    """``smoke`` with a checkpoint every second iteration."""
    return Protocol.model_validate(load_protocol("smoke").model_dump() | {"checkpoint_every": 2, "device": device})


def weights(run: Run) -> dict[str, Tensor]:
    """The trained model's."""
    state: dict[str, Tensor] = torch.load(run.files.model, map_location="cpu", weights_only=True)["model"]
    return state


def interrupted(run: Run, at: int) -> None:
    """Train up to iteration ``at``, then again to the end."""
    step = Trainer.run_step

    def stopped(trainer: Trainer) -> None:
        if trainer.iter == at:
            raise KeyboardInterrupt
        step(trainer)

    Trainer.run_step = stopped  # type: ignore[method-assign]
    try:
        train(run)
        raise SystemExit(f"{run.label}: ended before iteration {at}")
    except KeyboardInterrupt:
        pass
    finally:
        Trainer.run_step = step  # type: ignore[method-assign]
    train(run)


def difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> dict[str, Any]:
    """Of two states with the same tensors."""
    pairs = [(first[name].double(), second[name].double()) for name in first if first[name].numel()]
    errors = [((a - b).abs().max().item(), a.abs().max().item()) for a, b in pairs]
    return {
        "same_bytes": all(torch.equal(first[name], second[name]) for name in first),
        "largest": max(error for error, _ in errors),
        "largest_relative": max(error / max(size, 1e-12) for error, size in errors),
    }


def compared(variant: str, device: str, folder: Path) -> dict[str, Any]:
    """The three trainings of a variant against the first."""
    runs = [
        Run(load_catalog().variants[variant], protocol(device), 0, folder / name) for name in ("whole", "again", "cut")
    ]
    train(runs[0])
    train(runs[1])
    interrupted(runs[2], at=3)
    whole, again, cut = map(weights, runs)
    return {"repeated": difference(whole, again), "resumed": difference(whole, cut)}


def main() -> None:
    """Read the command line and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        prepare(protocol(arguments.device), Path(folder))
        found = {variant: compared(variant, arguments.device, Path(folder)) for variant in VARIANTS}
    arguments.out.write_text(
        json.dumps({"schema": "resume/1", "device": arguments.device, "variants": found}, indent=1)
    )


if __name__ == "__main__":
    main()
