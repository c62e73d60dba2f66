"""Which slot an object gets, decoding, and losses, against values computed by hand; batches against single images."""

from __future__ import annotations

import math

import pytest
import torch
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances
from torch import Tensor

from replication.detectors.losses import BOX_REG_LOSS_REGISTRY
from replication.detectors.yolov3.grid import Grid, flatten
from replication.detectors.yolov3.inference import Limits, detect, remove_letterbox
from replication.detectors.yolov3.letterbox import letterbox, margins, square_side
from replication.detectors.yolov3.losses import BoxLoss, Matched, mse_loss, yolo_losses
from replication.detectors.yolov3.released import unclamped_overlap
from replication.detectors.yolov3.targets import Objects, assign, closest_anchor

ANCHORS = torch.tensor(
    [[10, 13], [16, 30], [33, 23], [30, 61], [62, 45], [59, 119], [116, 90], [156, 198], [373, 326]],
    dtype=torch.float64,
)
STRIDES = (32, 16, 8)


def box_loss(kind: str, weight: float = 1.0, released: bool = False) -> BoxLoss:
    return BoxLoss(None if kind == "mse" else BOX_REG_LOSS_REGISTRY.get(kind), weight, released)


def maps(size: tuple[int, int], classes: int = 2, images: int = 1) -> list[Tensor]:
    shapes = [(images, 3 * (5 + classes), size[0] // stride, size[1] // stride) for stride in STRIDES]
    return [torch.zeros(shape, dtype=torch.float64) for shape in shapes]


def grid(size: tuple[int, int]) -> Grid:
    return Grid.of(maps(size), STRIDES, ANCHORS)


def slot(at: Grid, level: int, row: int, column: int, anchor: int) -> int:
    """By search, not by the formula."""
    same = (at.level == level) & (at.row == row) & (at.column == column) & (at.anchor == ANCHORS[anchor]).all(dim=1)
    (found,) = same.nonzero().flatten().tolist()
    return int(found)


def objects(boxes: list[list[float]], size: tuple[int, int], classes: list[int] | None = None) -> Objects:
    labels = torch.tensor([0] * len(boxes) if classes is None else classes, dtype=torch.long)
    return Objects.of([torch.tensor(boxes, dtype=torch.float64).view(-1, 4)], [labels], size)


def one_prediction(t: list[float], stride: int, cell: int, anchor: int, gt: list[float]) -> tuple[Matched, Tensor]:
    """An object beside the prediction of one slot of a 416 x 416 input, and the raw values as a leaf."""
    at = grid((416, 416))
    where = slot(at, STRIDES.index(stride), cell, cell, anchor)
    raw = torch.zeros(1, len(at.stride), 7, dtype=torch.float64)
    raw[0, where, :4] = torch.tensor(t, dtype=torch.float64)
    raw.requires_grad_()
    matched = Matched.of(
        raw,
        torch.tensor([[where]]),
        torch.tensor([[True]]),
        Objects(torch.tensor([[gt]], dtype=torch.float64), torch.tensor([[0]]), torch.tensor([[True]])),
        at,
    )
    return matched, raw


def gradient(kind: str, matched: Matched, raw: Tensor, released: bool = False) -> list[float]:
    loss = box_loss(kind, 1.0, released)(matched, (416, 416)).sum()
    (found,) = torch.autograd.grad(loss, raw, retain_graph=True)
    values: list[float] = (found[found.abs().sum(dim=-1) > 0][..., :4]).flatten().tolist()
    return values or [0.0] * 4


@pytest.mark.parametrize(
    ("side", "anchor", "overlap"),
    [((100, 50), 4, 0.5580), ((30, 30), 2, 0.7121), ((12, 12), 0, 0.7792), ((200, 200), 7, 0.7722)],
)
def test_the_closest_anchor(side: tuple[int, int], anchor: int, overlap: float) -> None:
    assert closest_anchor(torch.tensor(side, dtype=torch.float64), ANCHORS).item() == anchor
    (w, h), (aw, ah) = side, ANCHORS[anchor].tolist()
    both = min(w, aw) * min(h, ah)
    assert both / (w * h + aw * ah - both) == pytest.approx(overlap, abs=5e-5)


def test_the_first_of_equal_anchors() -> None:
    anchors = torch.tensor([[4.0, 8.0], [8.0, 4.0], [4.0, 8.0]])
    assert closest_anchor(torch.tensor([[6.0, 6.0], [4.0, 8.0]]), anchors).tolist() == [0, 0]


def test_losses_of_a_prediction_at_the_anchor() -> None:
    matched, raw = one_prediction([0, 0, 0, 0], 32, 6, 6, [160, 170, 260, 250])
    assert matched.boxes.flatten().tolist() == [150, 163, 266, 253]
    assert mse_loss(matched, (416, 416)).item() == pytest.approx(2.743575, abs=5e-7)
    expected = [-0.122111, -0.122111, 0.289979, 0.230121]
    assert gradient("mse", matched, raw) == pytest.approx(expected, abs=6e-7)
    for kind in ("iou", "giou"):
        assert 1 - box_loss(kind)(matched, (416, 416)).item() == pytest.approx(0.766284, abs=5e-7)
        assert gradient(kind, matched, raw) == pytest.approx([0, 0, 0.766284, 0.766284], abs=6e-7)
        assert gradient(kind, matched, raw, True) == pytest.approx([0, 0, 2.748051, 3.541933], abs=6e-7)


def test_losses_of_a_prediction_off_the_anchor() -> None:
    matched, raw = one_prediction([1, -1, 0.5, -0.5], 32, 6, 6, [160, 170, 260, 250])
    assert matched.boxes.flatten().tolist() == pytest.approx([119.7680, 173.3122, 311.0197, 227.9000], abs=6e-5)
    assert mse_loss(matched, (416, 416)).item() == pytest.approx(3.731300, abs=5e-7)
    assert 1 - box_loss("iou")(matched, (416, 416)).item() == pytest.approx(0.420513, abs=5e-7)
    assert 1 - box_loss("giou")(matched, (416, 416)).item() == pytest.approx(0.268952, abs=5e-7)
    assert gradient("giou", matched, raw) == pytest.approx([0, 0, 0.504285, -0.584719], abs=6e-7)


def test_boxes_that_are_apart_in_one_axis() -> None:
    """The exact IoU loss has no gradient there, the released one has."""
    matched, raw = one_prediction([3, 0, -2, 0], 8, 12, 0, [96, 96, 100, 104])
    assert box_loss("iou")(matched, (416, 416)).item() == 1
    assert box_loss("giou")(matched, (416, 416)).item() == pytest.approx(1.540223, abs=5e-7)
    assert gradient("iou", matched, raw) == [0.0] * 4
    assert gradient("giou", matched, raw) == pytest.approx([0.020027, 0, -0.125612, 0.296668], abs=6e-7)
    assert gradient("iou", matched, raw, True) == pytest.approx([30.849, 0, -5.3092, -2.4783], abs=6e-4)


def test_boxes_that_are_apart_in_both_axes() -> None:
    """There the released gradient pushes the centres apart."""
    matched, raw = one_prediction([3, 3, -2, -2], 8, 12, 0, [96, 96, 100, 100])
    assert box_loss("giou")(matched, (416, 416)).item() == pytest.approx(1.739384, abs=5e-7)
    exact, released = gradient("giou", matched, raw), gradient("giou", matched, raw, True)
    assert exact == pytest.approx([0.011352, 0.011081, -0.012505, -0.006789], abs=6e-7)
    assert released == pytest.approx([-173.596, -187.171, 18.8506, 18.3351], abs=6e-4)


def test_boxes_so_far_apart_that_the_union_is_below_zero() -> None:
    """The unclamped intersection exceeds both areas: of the released gradient GIoU's second term alone is left."""
    pred, target = torch.tensor([[10.0, 10, 12, 12]], dtype=torch.float64), torch.tensor([[20.0, 20, 24, 24]])
    edges = pred.requires_grad_()
    (iou_gradient,) = torch.autograd.grad(unclamped_overlap(edges, target, False).sum(), edges)
    assert not iou_gradient.any()
    (gradient,) = torch.autograd.grad(unclamped_overlap(edges, target, True).sum(), edges)
    # I = 8^2, U = 4 + 16 - 64 = -44, C = 14^2. An edge x1 moves X by -2, C by -14; x2 moves X by 2 and I by -8.
    near, far = (-2 * 196 + 44 * -14) / 196**2, (2 + 8) / 196
    assert gradient.flatten().tolist() == pytest.approx([near, near, far, far])


def test_every_class_above_the_threshold_is_a_detection() -> None:
    at = grid((64, 64))
    raw = torch.full((len(at.stride), 7), -20.0, dtype=torch.float64)
    raw[5, 4:] = torch.tensor([2.0, 1.0, -3.0])
    found = detect(raw, at, Limits(0.005, 0.45), (64, 64))
    assert found.pred_classes.tolist() == [0, 1]
    assert found.scores.tolist() == pytest.approx([0.643914, 0.041773], abs=5e-7)
    assert torch.equal(found.pred_boxes.tensor[0], found.pred_boxes.tensor[1])


@pytest.mark.parametrize("value", [1e3, float("inf")])
def test_sides_that_overflow_do_not_disturb_other_detections(value: float) -> None:
    at = grid((64, 64))
    raw = torch.full((len(at.stride), 7), -20.0)
    raw[:, :4] = 0
    raw[5, 4:6] = raw[9, 4:6] = 3.0
    raw[9, 2] = value
    raw[20, 4:6] = 2.0
    found = detect(raw, at, Limits(0.005, 0.45), (64, 64))
    alone = detect(raw[:9], grid_part(at, 9), Limits(0.005, 0.45), (64, 64))
    assert len(found) == 3
    assert torch.equal(found.pred_boxes.tensor[:1], alone.pred_boxes.tensor)
    assert found.pred_boxes.tensor.isfinite().all()


def grid_part(at: Grid, count: int) -> Grid:
    first = (part[:count] for part in (at.column, at.row, at.stride, at.anchor, at.level))
    return Grid(*first, at.anchors, at.first, at.strides, at.widths, at.per_cell)


def test_without_an_object_everything_is_negative() -> None:
    outputs = maps((64, 64))
    at, raw = grid((64, 64)), flatten(outputs, 7)
    nothing = objects([], (64, 64))
    targets = assign(nothing, at.decode(raw), at, 2, 0.7)
    losses = yolo_losses(raw, nothing, targets, at, box_loss("giou"), (64, 64))
    assert losses.obj.item() == pytest.approx(252 * math.log(2))
    assert (losses.cls.item(), losses.box.item()) == (0, 0)
    assert losses.deltas.tolist() == [3, 12, 48]
    assert losses.count.tolist() == [0, 0, 0]


def test_letterbox_and_back() -> None:
    """500 x 333 in 416 x 416: 416 x 277 pixels, 69.5 free above and below, of which 69 are above."""
    size = (277, 416)
    assert square_side([size], 32) == 416
    assert margins(size, 416) == (0, 69)
    image = torch.full((3, *size), 255.0)
    mean, std = torch.zeros(3, 1, 1), torch.full((3, 1, 1), 255.0)
    square = letterbox([image], 416, mean, std)[0]
    assert torch.equal(square[:, 69:346], torch.ones(3, *size))
    assert torch.equal(square[:, :69], torch.full((3, 69, 416), 0.5))
    assert torch.equal(square[:, 346:], torch.full((3, 70, 416), 0.5))
    box = torch.tensor([[100.0, 120, 200, 240]])
    found = Instances(size, pred_boxes=Boxes(box), scores=torch.ones(1), pred_classes=torch.zeros(1))
    back = detector_postprocess(remove_letterbox(found, 416), 333, 500).pred_boxes.tensor
    expected = torch.tensor([[120.1923, 60.7094, 240.3846, 204.9693]])
    torch.testing.assert_close(back, expected, atol=6e-5, rtol=0)


def test_the_slot_of_an_object_is_its_anchor_in_the_cell_of_its_centre() -> None:
    size = (96, 160)
    at = grid(size)
    truth = objects([[40, 30, 68, 92], [3, 3, 15, 14], [150, 80, 160, 96]], size)
    targets = assign(truth, at.decode(flatten(maps(size), 7)), at, 2, 0.7)
    expected = [slot(at, 1, 61 // 16, 54 // 16, 3), slot(at, 2, 1, 1, 0), slot(at, 2, 11, 19, 0)]
    assert targets.slot[0].tolist() == expected
    assert targets.objectness[0].nonzero().flatten().tolist() == sorted(expected)


def test_objects_are_clipped_and_the_smallest_are_left_out() -> None:
    size = (1000, 2000)
    boxes = [[-5.0, -5, 30, 40], [10, 10, 11.9, 30], [10, 10, 12, 11], [10, 10, 30, 10.9], [1990, 990, 2010, 1010]]
    truth = objects(boxes, size)
    assert truth.valid[0].tolist() == [True, False, True, False, True]
    assert truth.boxes[0, 0].tolist() == [0, 0, 30, 40]
    assert truth.boxes[0, 4].tolist() == [1990, 990, 2000, 1000]


def test_of_objects_in_one_slot_the_last_owns_the_box_and_all_give_their_class() -> None:
    size = (64, 64)
    at = grid(size)
    truth = objects([[8, 8, 18, 21], [40, 40, 50, 52], [9, 8, 19, 21], [8, 9, 18, 22]], size, [1, 1, 0, 0])
    targets = assign(truth, at.decode(flatten(maps(size), 7)), at, 2, 0.7)
    assert targets.owner[0].tolist() == [False, True, False, True]
    assert targets.classes[0, 3].tolist() == [1, 1]
    assert targets.classes[0, 1].tolist() == [0, 1]
    assert targets.objectness.sum() == 2


def test_a_batch_is_its_images_put_together() -> None:
    """Targets and gradients do not depend on the other images; the loss is the mean of theirs."""
    generator = torch.Generator().manual_seed(2)
    size, truths = (96, 96), [[[5.0, 6, 30, 60], [7, 8, 28, 66]], [], [[20.0, 20, 90, 90]]]
    outputs = [torch.randn(each.shape, generator=generator, dtype=torch.float64) for each in maps(size, images=3)]
    at, raw = grid(size), flatten(outputs, 7).requires_grad_()

    def run(which: list[int]) -> tuple[Tensor, Tensor]:
        boxes = [torch.tensor(truths[i], dtype=torch.float64).view(-1, 4) for i in which]
        truth = Objects.of(boxes, [torch.zeros(len(each), dtype=torch.long) for each in boxes], size)
        targets = assign(truth, at.decode(raw[which].detach()), at, 2, 0.3)
        losses = yolo_losses(raw[which], truth, targets, at, box_loss("giou", 2.0), size)
        total = losses.obj + losses.cls + losses.box
        return total, torch.autograd.grad(total * len(which), raw)[0]

    together, gradients = run([0, 1, 2])
    apart = [run([i]) for i in range(3)]
    torch.testing.assert_close(together, torch.stack([total for total, _ in apart]).mean())
    for number, (_, alone) in enumerate(apart):
        torch.testing.assert_close(gradients[number], alone[number])
