"""Level selection: the heuristic by hand, the online one against a loop that reads the paper anew."""

from __future__ import annotations

import math

import pytest
import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

from replication.detectors.fsaf.cells import CellRule, Level, Objects, decode, locations, pad_objects
from replication.detectors.fsaf.losses import HeuristicSelection, OnlineSelection

K = 3
LEVELS = [Level(8, 8, 10), Level(16, 4, 5), Level(32, 2, 3), Level(64, 1, 2)]
CELLS = sum(level.height * level.width for level in LEVELS)
SCALE = 4.0


def objects_of(*images: list[tuple[list[float], int]]) -> Objects:
    batch = []
    for image in images:
        instances = Instances((64, 80))
        instances.gt_boxes = Boxes(torch.tensor([box for box, _ in image]).reshape(-1, 4))
        instances.gt_classes = torch.tensor([label for _, label in image], dtype=torch.int64)
        batch.append(instances)
    return pad_objects(batch)


@pytest.mark.parametrize(
    ("side", "level"),
    [(224, 5), (223.9, 4), (447.9, 5), (448, 6), (112, 4), (56, 3), (55, 3), (4, 3), (0, 3), (896, 7), (5000, 7)],
)
def test_heuristic_level(side: float, level: int) -> None:
    """floor(5 + log2(side / 224)), and the lowest or highest level beyond them."""
    selection = HeuristicSelection(5, 224, 3, 7)
    assert selection(objects_of([([10.0, 10.0, 10.0 + side, 10.0 + side], 0)])).item() == level - 3


def test_heuristic_takes_the_square_root_of_the_area() -> None:
    selection = HeuristicSelection(5, 224, 3, 7)
    assert selection(objects_of([([0.0, 0.0, 448.0, 112.0], 0)])).item() == 5 - 3
    assert HeuristicSelection(4, 112, 3, 5)(objects_of([([0.0, 0.0, 112.0, 112.0], 0)])).item() == 4 - 3


def scene(seed: int) -> tuple[Objects, Tensor, Tensor, list[list[tuple[list[float], int]]]]:
    """Three images, one empty, with random objects and a random branch output."""
    generator = torch.Generator().manual_seed(seed)
    images = []
    for count in (4, 0, 7):
        corner = torch.rand(count, 2, generator=generator) * 40
        boxes = torch.cat([corner, corner + 2 + torch.rand(count, 2, generator=generator) * 50], dim=1).tolist()
        labels = torch.randint(K, (count,), generator=generator).tolist()
        images.append(list(zip(boxes, labels, strict=True)))
    logits = torch.randn(3, CELLS, K, generator=generator)
    distances = torch.rand(3, CELLS, 4, generator=generator)
    return objects_of(*images), logits, distances, images


def brute_force(
    box: list[float], label: int, logits: list[list[list[float]]], distances: list[list[list[float]]], every: bool
) -> list[float]:
    """Equations 1 and 2 with plain numbers: one mean a level, from level units and not from pixels.

    ``logits`` and ``distances`` are lists a level of cells. A cell is effective when its location is in the middle
    fifth of the projected box; where none is on an axis, the nearest one to the middle.
    """
    losses = []
    for level, scores, sides in zip(LEVELS, logits, distances, strict=True):
        x1, y1, x2, y2 = (value / level.stride for value in box)

        def axis(low: float, high: float, size: int) -> list[int]:
            middle, half = (low + high) / 2, 0.1 * (high - low)
            inside = [i for i in range(size) if middle - half <= i <= middle + half]
            return inside or [min(range(size), key=lambda i: (abs(i - middle), -i))]

        terms = []
        for row in axis(y1, y2, level.height):
            for column in axis(x1, x2, level.width):
                cell = row * level.width + column
                top, left, bottom, right = (SCALE * value for value in sides[cell])
                px1, py1, px2, py2 = column - left, row - top, column + right, row + bottom
                inner = max(0.0, min(px2, x2) - max(px1, x1)) * max(0.0, min(py2, y2) - max(py1, y1))
                union = (px2 - px1) * (py2 - py1) + (x2 - x1) * (y2 - y1) - inner
                focal = 0.0
                for channel, logit in enumerate(scores[cell]):
                    p = 1 / (1 + math.exp(-logit))
                    if channel == label:
                        focal += -0.25 * (1 - p) ** 2 * math.log(p)
                    elif every:
                        focal += -0.75 * p**2 * math.log(1 - p)
                terms.append(focal - math.log(max(inner / union, 1e-6)))
        losses.append(sum(terms) / len(terms))
    return losses


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_online_selection_is_the_arg_min_of_a_brute_force_computation(seed: int, every: bool) -> None:
    objects, logits, distances, images = scene(seed)
    boxes = decode(distances, locations(LEVELS, 0.0, torch.device("cpu")), SCALE)
    selection = OnlineSelection(CellRule(), 0.2, 0.25, 2.0, all_classes=every)
    losses = selection.losses(objects, logits, boxes, LEVELS)
    chosen = selection(objects, logits, boxes, LEVELS)
    sizes = [level.height * level.width for level in LEVELS]
    for number, image in enumerate(images):
        split = [[part.tolist() for part in each[number].split(sizes)] for each in (logits, distances)]
        for place, original in enumerate(objects.order[number].tolist()):
            if not objects.valid[number, place]:
                continue
            expected = brute_force(*image[original], *split, every)
            assert losses[number, place].tolist() == pytest.approx(expected, rel=1e-4)
            assert chosen[number, place] == min(range(len(LEVELS)), key=expected.__getitem__)


def test_a_level_without_a_cell_cannot_be_selected() -> None:
    """With ``inside_only`` a small object has no cell on most levels, and then perfect boxes there do not count."""
    small = [33.0, 25.0, 47.0, 39.0]  # [4.125, 5.875] on stride 8: centre 5, [4.825, 5.175]: cell 5; row 4, likewise
    objects = objects_of([(small, 0)])
    boxes = torch.tensor(small).expand(1, CELLS, 4).clone()
    boxes[:, : LEVELS[0].height * LEVELS[0].width] = torch.tensor([0.0, 0.0, 1.0, 1.0])
    selection = OnlineSelection(CellRule("inside_only"), 0.2, 0.25, 2.0, all_classes=False)
    losses = selection.losses(objects, torch.zeros(1, CELLS, K), boxes, LEVELS)[0, 0]
    assert losses[0] == pytest.approx(0.25 * 0.25 * math.log(2) - math.log(1e-6), rel=1e-5)
    assert losses[1:].isinf().all()
    assert selection(objects, torch.zeros(1, CELLS, K), boxes, LEVELS).item() == 0


def test_selection_follows_the_loss_to_another_level() -> None:
    """The same object is given to whichever level predicts it exactly."""
    box = [16.0, 16.0, 48.0, 48.0]
    objects = objects_of([(box, 1)])
    sizes = [level.height * level.width for level in LEVELS]
    for wanted in range(len(LEVELS)):
        parts = [torch.tensor([0.0, 0.0, 80.0, 64.0]).expand(1, size, 4) for size in sizes]
        parts[wanted] = torch.tensor(box).expand(1, sizes[wanted], 4)
        selection = OnlineSelection(CellRule(), 0.2, 0.25, 2.0, all_classes=False)
        assert selection(objects, torch.zeros(1, CELLS, K), torch.cat(parts, dim=1), LEVELS).item() == wanted


def test_no_gradient_goes_through_the_selection() -> None:
    objects, logits, distances, _ = scene(0)
    boxes = decode(distances.requires_grad_(), locations(LEVELS, 0.0, torch.device("cpu")), SCALE)
    chosen = OnlineSelection(CellRule(), 0.2, 0.25, 2.0, all_classes=False)(
        objects, logits.requires_grad_(), boxes, LEVELS
    )
    assert not chosen.requires_grad
    assert chosen.dtype == torch.int64
