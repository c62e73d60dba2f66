"""One training step in several passes over parts of its batch, where memory or BatchNorm asks for smaller ones."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from detectron2.utils.events import get_event_storage
from torch import Tensor

from replication.errors import ConfigError


def check_passes(images: int, per_pass: int) -> None:
    """Raise ConfigError unless ``images``, a process's share of the batch, can be cut into parts of ``per_pass``.

    0 is all at once, and so is a part that is larger than the share.
    """
    if per_pass < 0 or (0 < per_pass < images and images % per_pass):
        raise ConfigError(
            f"SOLVER.IMS_PER_PASS: {per_pass}: the {images} images of a process cannot be cut into parts of so many; "
            "choose a divisor, or 0 for all at once"
        )


def accumulate(model: Any, batch: list[dict[str, Any]], per_pass: int) -> dict[str, Tensor]:
    """Add the gradients of the mean of the parts' losses; returns these means, without a graph.

    The model's losses are means over its images, so that is the loss of the whole batch. What the model logs in the
    event storage becomes the mean of the parts too.
    """
    parts = [batch[start : start + per_pass] for start in range(0, len(batch), per_pass)]
    means: dict[str, Tensor] = {}
    logged: dict[str, list[float]] = {}
    for number, part in enumerate(parts, 1):
        # Gradients of several processes are averaged once, after the last part.
        quiet = model.no_sync() if number < len(parts) and hasattr(model, "no_sync") else contextlib.nullcontext()
        with quiet:
            losses = {name: loss / len(parts) for name, loss in model(part).items()}
            torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        for name, loss in losses.items():
            means[name] = means.get(name, 0) + loss.detach()
        for name, value in _just_logged().items():
            logged.setdefault(name, []).append(value)
    for name, values in logged.items():
        get_event_storage().put_scalar(name, sum(values) / len(values))
    return means


def _just_logged() -> dict[str, float]:
    storage = get_event_storage()
    return {name: value for name, (value, iteration) in storage.latest().items() if iteration == storage.iter}
