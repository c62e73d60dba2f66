"""The means of a training curve."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

from detectron2.utils.events import EventStorage

from replication.training.curves import Curves

LOGGED = [{"total_loss": 4.0, "iou": 0.5}, {"total_loss": 2.0}, {"total_loss": 3.0}, {"total_loss": 1.0, "iou": 0.8}]


def write(path: Path, interrupted: bool) -> list[dict[str, float]]:
    """A curve of two windows, the second of which goes on from a checkpoint if ``interrupted``."""
    curves = Curves(path / "curves.jsonl", 2)
    with EventStorage() as storage:
        for iteration, scalars in enumerate(LOGGED):
            trainer = SimpleNamespace(storage=storage, iter=iteration, max_iter=len(LOGGED))
            if interrupted and iteration == 3:
                state, curves = curves.state_dict(), Curves(path / "curves.jsonl", 2)
                curves.load_state_dict(state)
            curves.trainer = trainer
            if iteration == 0 or (interrupted and iteration == 3):
                curves.before_train()
            storage.put_scalars(**scalars, smoothing_hint=False)
            curves.after_step()
            storage.step()
    curves.finish()
    lines = [json.loads(line) for line in (path / "curves.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "s_per_iter"} for line in lines]


def test_a_mean_is_over_the_iterations_that_have_the_scalar(tmp_path: Path) -> None:
    expected = [{"iteration": 2, "total_loss": 3.0, "iou": 0.5}, {"iteration": 4, "total_loss": 2.0, "iou": 0.8}]
    assert write(tmp_path, interrupted=False) == expected


def test_a_resumed_window_has_the_same_means(tmp_path: Path) -> None:
    assert write(tmp_path, interrupted=True) == write(tmp_path, interrupted=False)


def test_a_checkpoint_that_counts_iterations_alone_is_resumed(tmp_path: Path) -> None:
    curves = Curves(tmp_path / "curves.jsonl", 2)
    curves.load_state_dict({"lines": [], "sums": {"total_loss": 4.0, "iou": 0.5}, "count": 1})
    assert curves.counts == {"total_loss": 1, "iou": 1}
