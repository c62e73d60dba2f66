"""A training step on a fixed batch: what the batch holds, and that every step does the same, whole work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from replication.errors import TimingError
from replication.timing.inputs import Source, make_inputs
from replication.timing.training_step import IMAGES, OBJECTS, Learner, build_learner, make_batch, mean_step, warm_up

Build = Callable[[str], Learner]
CPU = torch.device("cpu")


@pytest.fixture
def learner(config: Callable[[str], CfgNode], source: Source) -> Build:
    def build(name: str) -> Learner:
        cfg = config(name)
        return build_learner(name, cfg, make_inputs(source, cfg, None, CPU), None)

    return build


@pytest.mark.parametrize(("name", "channels_last"), [("retinanet_R50", True), ("detectron2:retinanet_R50", False)])
def test_a_step_and_an_inference_have_one_memory_layout(
    learner: Build, subject: Callable[..., Any], name: str, channels_last: bool
):
    for model in (learner(name).model, subject(name).model):
        weight = model.head.cls_subnet[0].weight
        assert weight.is_contiguous(memory_format=torch.channels_last) is channels_last
        assert weight.is_contiguous() is not channels_last


def batch(cfg: CfgNode, source: Source, count: int = 3) -> list[dict[str, Any]]:
    return make_batch(cfg, make_inputs(source, cfg, None, CPU)[:count])


def test_objects_lie_inside_and_are_the_same_for_every_variant(config: Callable[[str], CfgNode], source: Source):
    one, other = (batch(config(name), source) for name in ("retinanet_R50", "libra_rcnn_R50"))
    assert len(one) == len(other) == IMAGES
    for item, same in zip(one, other, strict=True):
        height, width = item["image"].shape[1:]
        boxes, classes = item["instances"].gt_boxes.tensor, item["instances"].gt_classes
        assert item["instances"].image_size == (height, width)
        assert boxes.shape == (OBJECTS, 4)
        assert bool((boxes >= 0).all() and (boxes[:, 2] <= width).all() and (boxes[:, 3] <= height).all())
        assert bool((boxes[:, 2:] - boxes[:, :2] >= torch.tensor([width, height]) / 16 - 1e-4).all())
        assert 0 <= int(classes.min()) <= int(classes.max()) < 10
        assert torch.equal(item["image"], same["image"])
        assert torch.equal(boxes, same["instances"].gt_boxes.tensor)
        assert torch.equal(classes, same["instances"].gt_classes)
    assert not torch.equal(one[0]["instances"].gt_boxes.tensor, one[1]["instances"].gt_boxes.tensor)


def test_fewer_images_than_a_batch_are_taken_again(config: Callable[[str], CfgNode], source: Source):
    found = batch(config("retinanet_R50"), source, 1)
    assert len(found) == IMAGES
    assert torch.equal(found[0]["image"], found[1]["image"])


def test_masks_where_they_are_learned(config: Callable[[str], CfgNode], source: Source):
    assert not batch(config("faster_rcnn_R50"), source)[0]["instances"].has("gt_masks")
    found = batch(config("mask_rcnn_R50_giou"), source)[0]["instances"]
    assert torch.allclose(found.gt_masks.get_bounding_boxes().tensor, found.gt_boxes.tensor, atol=1e-4)
    area = found.gt_masks.area()
    # A regular 24-gon has 0.989 of the circle, which has pi / 4 of its square.
    assert (area / found.gt_boxes.area()).tolist() == pytest.approx([0.7765] * OBJECTS, abs=1e-3)


def test_proposals_where_they_are_read_from_a_file(config: Callable[[str], CfgNode], source: Source):
    assert "proposals" not in batch(config("faster_rcnn_R50"), source)[0]
    cfg = config("fast_rcnn_R50")
    found = batch(cfg, source)[0]["proposals"]
    assert len(found) == cfg.DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN
    scores = found.objectness_logits
    assert bool((scores[:-1] >= scores[1:]).all())


R_CNNS = ("faster_rcnn_R50", "libra_rcnn_R50", "mask_rcnn_R50_giou", "fast_rcnn_R50")
DENSE = ("retinanet_R50", "fsaf_R50_joint")


@pytest.mark.parametrize("name", [*R_CNNS, *DENSE])
def test_every_step_is_the_same_and_whole(learner: Build, name: str):
    one = learner(name)
    before = {key: value.clone() for key, value in one.model.named_parameters()}
    losses = [float(one.step()) for _ in range(3)]
    assert losses[0] > 0
    # Dense detectors divide by a moving average of the number of positives, which is no work.
    assert name in DENSE or losses == [losses[0]] * 3
    assert all(torch.equal(value, before[key]) for key, value in one.model.named_parameters())
    assert all(value.grad is None for value in one.model.parameters())
    # Every parameter that learns has been through the optimizer, which keeps a momentum of it.
    learning = [value for value in one.model.parameters() if value.requires_grad]
    assert set(one.optimizer.state) == set(learning)
    assert sum(value.numel() for value in one.state) == sum(value.numel() for value in learning)
    assert sum(float(value.abs().sum()) for value in one.state) > 0
    for group in one.optimizer.param_groups:
        group["lr"] = 1e-3
    one.step()
    assert any(not torch.equal(value, before[key]) for key, value in one.model.named_parameters())


def test_the_loss_is_the_model_s_own(learner: Build):
    one = learner("faster_rcnn_R50")
    total = float(one.step())
    torch.manual_seed(0)
    with EventStorage(), torch.no_grad():
        losses = one.model(one.batch)
    assert set(losses) == {"loss_cls", "loss_box_reg", "loss_rpn_cls", "loss_rpn_loc"}
    assert float(sum(losses.values())) == pytest.approx(total)


class Scripted(nn.Module):
    """Its loss is what it is told, times one."""

    def __init__(self, loss: float) -> None:
        super().__init__()
        self.loss, self.one, self.calls = loss, nn.Parameter(torch.ones(())), 0

    def forward(self, _: list[dict[str, Any]]) -> dict[str, Tensor]:
        self.calls += 1
        return {"loss": self.one * self.loss}


def scripted(loss: float) -> tuple[Scripted, Learner]:
    model = Scripted(loss)
    return model, Learner("some_variant", model, torch.optim.SGD(model.parameters(), lr=0.0), [], "random")


def test_time_is_the_mean_of_the_steps(clock: Any):
    model, one = scripted(1.0)
    milliseconds, processor = mean_step(one, 4, clock)
    assert (model.calls, milliseconds, clock.synchronised) == (4, 250.0, 2)  # a tick is a second
    assert 0 < processor < 1000


def test_a_loss_that_is_not_finite_is_one_message():
    _, one = scripted(float("nan"))
    with pytest.raises(TimingError, match=r"some_variant: a training step with random weights fails: .*not finite"):
        warm_up(one, 1)
