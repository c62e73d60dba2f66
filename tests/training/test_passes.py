"""A batch in several passes against the whole batch at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from detectron2.utils.events import EventStorage, get_event_storage
from torch import Tensor, nn

from replication.errors import ConfigError
from replication.training.passes import accumulate, check_passes


class Toy(nn.Module):
    """Two losses that are means over the images of a pass; logs the mean of the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.seen: list[int] = []

    def forward(self, batch: list[dict[str, Any]]) -> dict[str, Tensor]:
        x = torch.stack([one["x"] for one in batch])
        self.seen.append(len(batch))
        get_event_storage().put_scalar("mean", x.mean().item())
        y = self.layer(x)
        return {"square": y.square().sum() / len(batch), "linear": y.sum() / len(batch)}


@pytest.mark.parametrize("per_pass", [1, 2, 4, 8, 100])
def test_the_same_gradient_and_losses(per_pass: int) -> None:
    torch.manual_seed(0)
    model = Toy().double()
    batch = [{"x": torch.randn(4, dtype=torch.float64)} for _ in range(8)]
    with EventStorage() as storage:
        storage.put_scalar("before", 1.0)
        storage.step()
        whole = model(batch)
        sum(whole.values()).backward()
        expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        model.zero_grad()
        model.seen.clear()
        means = accumulate(model, batch, per_pass)
        for name, p in model.named_parameters():
            torch.testing.assert_close(p.grad, expected[name])
        for name, value in whole.items():
            torch.testing.assert_close(means[name], value.detach())
            assert not means[name].requires_grad
        assert model.seen == [min(per_pass, 8)] * max(1, 8 // per_pass)
        mean = torch.stack([one["x"] for one in batch]).mean().item()
        assert storage.latest()["mean"] == (pytest.approx(mean), storage.iter)
        assert storage.latest()["before"][1] != storage.iter


def test_batches_that_cannot_be_cut() -> None:
    for images, per_pass in ((8, 0), (8, 4), (8, 8), (8, 64), (1, 4)):
        check_passes(images, per_pass)
    for images, per_pass in ((8, 3), (64, 48), (8, -1)):
        with pytest.raises(ConfigError, match=f"SOLVER.IMS_PER_PASS: {per_pass}: the {images} images"):
            check_passes(images, per_pass)
