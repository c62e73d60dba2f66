"""Libra R-CNN's parts beside what they take the place of, and what they cost a detector: `make benchmarks`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.modeling.backbone.resnet import BottleneckBlock
from detectron2.modeling.sampling import subsample_labels
from fvcore.nn import smooth_l1_loss
from torch import Tensor, nn

from replication.catalog import load_catalog, load_protocol
from replication.detectors import add_replication_config
from replication.detectors.libra import BalancedSampler
from replication.detectors.libra.pyramid import BalancedPyramid, NonLocal
from replication.detectors.losses import balanced_l1_loss
from replication.timing.latency import What, ratio_text
from replication.timing.run import Settings, time_variants

VARIANTS = Path(__file__).parents[2] / "configs" / "variants"
HEIGHT, WIDTH = 480, 640
Benchmark = Callable[..., object]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "smooth L1 (fvcore)": lambda pred, target: smooth_l1_loss(pred, target, beta=1.0, reduction="sum"),
    "balanced L1": lambda pred, target: balanced_l1_loss(pred, target, reduction="sum"),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.benchmark(group="loss of 2 images x 128 positives, forward and backward")
def test_loss(benchmark: Benchmark, name: str) -> None:
    pred, target = torch.randn(256, 4, requires_grad=True), torch.randn(256, 4)
    benchmark(lambda: LOSSES[name](pred, target).backward())


def candidates(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Labels, matches and overlaps as of a trained RPN: one in eight a positive."""
    overlaps = torch.rand(count) ** 3
    return torch.where(overlaps >= 0.5, 0, 80), torch.randint(0, 20, (count,)), overlaps


@pytest.mark.parametrize("count", [2000, 200_000])
@pytest.mark.parametrize("name", ["random (Detectron2)", "balanced"])
@pytest.mark.benchmark(group="sampling 512 of 2000 RoIs, or of 200,000 anchors")
def test_sampling(benchmark: Benchmark, name: str, count: int) -> None:
    labels, matches, overlaps = candidates(count)
    sampler = BalancedSampler(True, True, 3, False, 0.5)
    if name == "balanced":
        benchmark(lambda: sampler(labels, matches, overlaps, 512, 0.25, 80))
    else:
        benchmark(lambda: subsample_labels(labels, 512, 0.25, 80))


class Laid(nn.Module):
    """The non-local block with its weights laid out, to compare with."""

    def __init__(self, block: NonLocal) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        theta, phi, g = (part(x).flatten(2) for part in (self.block.theta, self.block.phi, self.block.g))
        weights = (theta.transpose(1, 2) @ phi).softmax(dim=2)
        return x + self.block.out((g @ weights.transpose(1, 2)).view_as(x))


@pytest.mark.parametrize("size", [(30, 40), (50, 84)], ids=["480x640", "800x1333"])
@pytest.mark.parametrize("kind", [NonLocal, Laid], ids=["fused", "laid out"])
@pytest.mark.benchmark(group="non-local block at P4, forward and backward")
def test_non_local(benchmark: Benchmark, kind: type, size: tuple[int, int]) -> None:
    block = NonLocal(256)
    module = block if kind is NonLocal else Laid(block)
    x = torch.randn(1, 256, *size).to(memory_format=torch.channels_last).requires_grad_()
    benchmark(lambda: module(x).sum().backward())


@pytest.mark.parametrize("refinement", ["none", "conv", "non_local"])
@pytest.mark.benchmark(group="balanced feature pyramid at 480x640, forward and backward")
def test_pyramid(benchmark: Benchmark, refinement: str) -> None:
    levels = [
        torch.randn(1, 256, HEIGHT // s, WIDTH // s).to(memory_format=torch.channels_last).requires_grad_()
        for s in (4, 8, 16, 32, 64)
    ]
    pyramid = build("libra_rcnn_R50", refinement).backbone
    assert isinstance(pyramid, BalancedPyramid)

    def step() -> None:
        sum((x.sum() for x in pyramid.balance(levels)), torch.zeros(())).backward()

    benchmark(step)


def build(name: str, refinement: str = "non_local") -> Any:
    cfg = get_cfg()
    add_replication_config(cfg)
    cfg.merge_from_file(str(VARIANTS / f"{name}.yaml"), allow_unsafe=False)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BALANCED_PYRAMID.REFINEMENT = refinement
    torch.manual_seed(0)
    model = build_model(cfg).to(memory_format=torch.channels_last)
    for module in model.modules():
        if isinstance(module, BottleneckBlock):  # as trained ones do, keep the scale of activations
            nn.init.constant_(module.conv3.norm.weight, 0.2)
    return model


@pytest.mark.timeout(3600)  # on a machine with much else to do
def test_cost_of_libra_rcnn_beside_faster_rcnn(tmp_path: Path) -> None:
    """R-50 at 480x640, random weights, interleaved, as the verb ``time`` takes them; the ratios of processor time.

    Processor time, since whatever else the machine does would decide the other. The authors give 12.0 images a second
    for Libra R-CNN and 13.6 for Faster R-CNN (V100), a ratio of 1.13.
    """
    settings = Settings(
        rounds=6, images=2, warmup=1, size=(HEIGHT, WIDTH), device="cpu", threads=1, weights="random", training_steps=1
    )
    names = ("faster_rcnn_R50", "libra_rcnn_R50")
    faster, libra = time_variants(load_catalog(), load_protocol("paper"), tmp_path, names, settings)
    limits: dict[What, float] = {"training": 1.08, "inference": 1.10}
    for what, limit in limits.items():
        ratio = libra.ratio_to(faster, what, "processor")
        print(f"{what}: {ratio_text(ratio)} of Faster R-CNN's processor time")
        assert ratio is not None
        assert ratio.median <= limit, what
