"""Operations, parameters and memory of a model whose numbers are known."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from replication.timing.cost import flops, parameters, peak_memory
from replication.timing.subjects import Subject

MIB = 2**20


class Toy(nn.Module):
    """A detector of one convolution (3 -> 8, 3x3) and a box layer, on (3, 32, 64) images."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.head = nn.Sequential(nn.Linear(8, 4))

    def forward(self, batch: list[dict[str, Tensor]]) -> Any:
        features = self.backbone(batch[0]["image"].float()[None])
        boxes = self.head(features[0].flatten(1).T)
        return [{"instances": SimpleNamespace(pred_boxes=SimpleNamespace(tensor=boxes), scores=boxes[:, 0])}]


BATCH = [{"image": torch.zeros(3, 32, 64, dtype=torch.uint8)}]


def test_operations_and_parameters_by_hand():
    assert parameters(Toy()) == 3 * 8 * 9 + 8 * 4 + 4
    found = flops(Toy(), BATCH)
    by_hand = {"backbone": 32 * 64 * 3 * 8 * 9, "head": 32 * 64 * 8 * 4}
    assert found["by_part"] == by_hand
    assert found["total"] == sum(by_hand.values())
    assert found["input"] == [32, 64]


def test_counting_needs_no_change_of_a_real_model(subject: Callable[..., Subject]):
    one = subject("faster_rcnn_R50_giou")
    before = one.run(one.inputs[0])[0]["instances"].scores
    found = flops(one.model, one.inputs[0])
    assert found["total"] == sum(found["by_part"].values())
    assert {"backbone", "proposal_generator", "roi_heads"} == set(found["by_part"])
    assert torch.equal(before, one.run(one.inputs[0])[0]["instances"].scores)


def test_peak_memory_is_what_is_alive_at_once():
    model = nn.Linear(256, 1024, bias=False)  # 1 MiB of weights
    small, large = ([{"image": torch.zeros(3, side, side)}] for side in (2, 4))

    def run(batch: list[dict[str, Tensor]]) -> None:
        scale = batch[0]["image"].shape[-1] // 4  # 0 for the small image, 1 for the large one
        first = torch.zeros(scale * MIB)  # 4 MiB
        del first
        second = torch.zeros(2 * scale * MIB)  # 8 MiB
        third = torch.zeros(scale * MIB)  # 12 MiB in all
        del second, third
        torch.zeros(scale * MIB)

    found = peak_memory(run, model, [small, large, small])
    assert found["bytes"] / MIB == pytest.approx(1 + 12, rel=0.01)
    assert "CPU" in found["measured_by"]
    # An optimizer's state is kept beside the weights.
    state = [torch.zeros(MIB // 2)]
    assert peak_memory(run, model, [large], state)["bytes"] / MIB == pytest.approx(1 + 12 + 2, rel=0.01)
