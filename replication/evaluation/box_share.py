"""How much of its loss a detector has left to its boxes when its training ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

END = 10  # the last tenth of a training
BOX_LOSSES = ("loss_box_reg", "loss_af_box_reg", "loss_box")


def box_loss_share(lines: Sequence[Mapping[str, float]]) -> float | None:
    """Percent of the total loss that the box losses are in the last tenth of the lines of a curve.

    The RPN's is none of them: no claim changes it. None without a curve or without such losses.
    """
    last = lines[-max(1, len(lines) // END) :]
    box = sum(line.get(name, 0.0) for line in last for name in BOX_LOSSES)
    total = sum(line.get("total_loss", 0.0) for line in last)
    if not any(name in line for line in last for name in BOX_LOSSES) or not total > 0:
        return None
    return 100 * box / total
