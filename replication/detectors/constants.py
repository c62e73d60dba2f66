"""Numbers of Python as tensors where others lie. ``torch.tensor(..., device=...)`` copies, and a GPU waits for that."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def row_of(numbers: Sequence[float], like: Tensor) -> Tensor:
    """``numbers`` as a tensor (N,) of the type and on the device of ``like``, without a copy from the CPU."""
    return torch.stack([like.new_full((), number) for number in numbers])
