"""What a model costs whatever the machine: parameters, operations, and the memory that one pass needs."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn

from replication.timing.candidates import Batch

# Torch's profiler would report on each use that there is no GPU.
os.environ.setdefault("KINETO_LOG_LEVEL", "5")


def parameters(model: nn.Module) -> int:
    """Number of weights, frozen ones included."""
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def flops(model: nn.Module, batch: Batch) -> dict[str, Any]:
    """Operations of one pass, a multiply-add counted as one (fvcore), in all and by part of the model.

    Element-wise operations, sorting and NMS count as none.
    """
    image = batch[0]["image"]
    analysis = FlopCountAnalysis(_Traceable(model), (image,))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    # fvcore's own logger warns once more of what the line above turned off.
    logging.getLogger("fvcore.nn.jit_analysis").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        by_module = analysis.by_module()
    prefix = "model."
    parts = {name.removeprefix(prefix): int(number) for name, number in by_module.items() if name.count(".") == 1}
    return {
        "total": int(by_module[""]),
        "by_part": {name: number for name, number in parts.items() if number},
        "input": list(image.shape[1:]),
        "counted_by": "fvcore, a multiply-add is one",
    }


class _Traceable(nn.Module):
    """The detector as a function from an image (3, H, W) to tensors."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        found = self.model([{"image": image}])[0]["instances"]
        return found.pred_boxes.tensor, found.scores


def peak_memory(
    run: Callable[[Batch], Any], model: nn.Module, inputs: Sequence[Batch], state: Sequence[Tensor] = ()
) -> dict[str, Any]:
    """Most bytes of tensors alive at one time in a pass over ``inputs``, the model's own weights and an
    optimizer's ``state`` included.

    What other models hold is left out. On a GPU it is what torch allocated, on the CPU what its profiler saw
    allocated for the largest image; scratch space inside a library's kernels is not seen there.
    """
    kept = (*model.parameters(), *model.buffers(), *state)
    weights = sum(tensor.numel() * tensor.element_size() for tensor in kept)
    if inputs[0][0]["image"].is_cuda:
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        for batch in inputs:
            run(batch)
        return {"bytes": torch.cuda.max_memory_allocated() - before + weights, "measured_by": "torch.cuda allocator"}
    largest = max(inputs, key=lambda batch: batch[0]["image"].numel())
    return {"bytes": _profiled_peak(run, largest) + weights, "measured_by": "torch.profiler, tensors on the CPU"}


def _profiled_peak(run: Callable[[Batch], Any], batch: Batch) -> int:
    cpu = torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[cpu], profile_memory=True, acc_events=True) as profile:
        run(batch)
    assert profile.profiler is not None
    results = profile.profiler.kineto_results
    events = [event for event in results.events() if event.name() == "[memory]"]
    alive = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        alive += event.nbytes()
        peak = max(peak, alive)
    return peak
