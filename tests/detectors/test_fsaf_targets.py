"""Targets by hand on maps of a few cells, one rule a test, and an independent pixel-by-pixel re-computation."""

from __future__ import annotations

import itertools

import pytest
import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

from replication.detectors.fsaf.cells import CellRule, Level, Objects, TargetAssigner, Targets, pad_objects

K = 3
LEVELS = [Level(8, 8, 8), Level(16, 4, 4), Level(32, 2, 2)]
P3, P4, P5 = 0, 1, 2

# On P3, [8, 8, 56, 56] is [1, 1, 7, 7]: effective [3.4, 4.6] -> 4, ignored [2.5, 5.5] -> 3..5, on both axes.
# On P4, [.5, 3.5]: effective [1.7, 2.3] -> 2, ignored [1.25, 2.75] -> 2. On P5: effective 1, ignored 1.
BIG = [8.0, 8.0, 56.0, 56.0]
BIG_EFFECTIVE, BIG_IGNORED = [(4, 4)], list(itertools.product((3, 4, 5), repeat=2))


def assigner(**rules: object) -> TargetAssigner:
    values = {
        "num_classes": K, "cells": CellRule(), "effective_fraction": 0.2, "ignored_fraction": 0.5,
        "ignore_adjacent_levels": True, "ignore_other_levels": False,
    }  # fmt: skip
    return TargetAssigner(**{**values, **rules})  # type: ignore[arg-type]


def image(*objects: tuple[list[float], int]) -> Instances:
    instances = Instances((64, 64))
    instances.gt_boxes = Boxes(torch.tensor([box for box, _ in objects]).reshape(-1, 4))
    instances.gt_classes = torch.tensor([label for _, label in objects], dtype=torch.int64)
    return instances


def targets(images: list[Instances], level_of: list[list[int]], **rules: object) -> tuple[Targets, Objects]:
    """With the level of each object given in the order of the annotations."""
    objects = pad_objects(images)
    selected = torch.zeros_like(objects.classes)
    for row, chosen in enumerate(level_of):
        for place, original in enumerate(objects.order[row].tolist()):
            selected[row, place] = chosen[original] if original < len(chosen) else 0
    return assigner(**rules)(objects, selected, LEVELS), objects


def on(level: int, values: Tensor, number: int = 0) -> Tensor:
    """One level of one image, (H, W, ...)."""
    sizes = [each.height * each.width for each in LEVELS]
    part = values[number].split(sizes)[level]
    return part.view(LEVELS[level].height, LEVELS[level].width, *part.shape[1:])


def places(mask: Tensor) -> list[tuple[int, int]]:
    """(row, column) of the true cells."""
    return [tuple(each) for each in mask.nonzero().tolist()]


def test_effective_box_is_positive_and_the_ring_is_ignored_in_its_class_map() -> None:
    found, _ = targets([image((BIG, 1))], [[P3]])
    assert places(on(P3, found.classes) == 1) == BIG_EFFECTIVE
    assert places(on(P3, found.classes) == K) == [p for p in itertools.product(range(8), repeat=2) if p != (4, 4)]
    ignored = on(P3, found.ignored)
    assert places(ignored[..., 1]) == [place for place in BIG_IGNORED if place != (4, 4)]
    assert not ignored[..., [0, 2]].any()
    assert on(P3, found.boxes)[4, 4].tolist() == BIG


@pytest.mark.parametrize(("selected", "near", "far"), [(P3, [P4], [P5]), (P4, [P3, P5], []), (P5, [P4], [P3])])
def test_the_whole_ignored_box_is_ignored_on_adjacent_levels(selected: int, near: list[int], far: list[int]) -> None:
    found, _ = targets([image((BIG, 1))], [[selected]])
    expected = {P3: BIG_IGNORED, P4: [(2, 2)], P5: [(1, 1)]}
    for level in near:
        assert places(on(level, found.ignored)[..., 1]) == expected[level]
        assert (on(level, found.classes) == K).all()
    for level in far:
        assert not on(level, found.ignored).any()
        assert (on(level, found.classes) == K).all()


def test_adjacent_levels_can_be_left_negative() -> None:
    found, _ = targets([image((BIG, 1))], [[P4]], ignore_adjacent_levels=False)
    assert not on(P3, found.ignored).any()
    assert not on(P5, found.ignored).any()
    assert places(on(P4, found.classes) == 1) == [(2, 2)]


def test_effective_boxes_of_other_levels_can_be_ignored() -> None:
    found, _ = targets([image((BIG, 1))], [[P5]], ignore_other_levels=True, ignore_adjacent_levels=False)
    assert places(on(P3, found.ignored)[..., 1]) == BIG_EFFECTIVE
    assert places(on(P4, found.ignored)[..., 1]) == [(2, 2)]
    assert not on(P5, found.ignored).any()


def test_no_ring_when_the_fractions_are_equal() -> None:
    found, _ = targets([image((BIG, 1))], [[P3]], ignored_fraction=0.2, ignore_adjacent_levels=False)
    assert not found.ignored.any()
    assert places(on(P3, found.classes) == 1) == BIG_EFFECTIVE


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_smaller_object_wins_where_effective_boxes_overlap(order: tuple[int, int]) -> None:
    """Whatever the order of the annotations. The larger one's map ignores the cell that it lost."""
    pair = [([0.0, 0.0, 64.0, 64.0], 0), ([24.0, 24.0, 40.0, 40.0], 2)]
    # Larger: centre 4, effective [3.2, 4.8] -> 4. Smaller: [3, 5], effective [3.8, 4.2] -> 4.
    found, _ = targets([image(*(pair[i] for i in order))], [[P3, P3]])
    assert places(on(P3, found.classes) != K) == [(4, 4)]
    assert on(P3, found.classes)[4, 4] == 2
    assert on(P3, found.boxes)[4, 4].tolist() == [24, 24, 40, 40]
    assert on(P3, found.ignored)[4, 4].tolist() == [True, False, False]


def test_overlap_counts_on_the_selected_level_only() -> None:
    pair = [([0.0, 0.0, 64.0, 64.0], 0), ([24.0, 24.0, 40.0, 40.0], 2)]
    found, _ = targets([image(*pair)], [[P3, P4]])
    assert on(P3, found.classes)[4, 4] == 0
    assert on(P3, found.boxes)[4, 4].tolist() == [0, 0, 64, 64]
    assert on(P3, found.ignored)[4, 4].tolist() == [False, False, True]  # the smaller one's, from the level above


def test_among_equal_areas_the_later_annotation_wins() -> None:
    wide, tall = [16.0, 24.0, 48.0, 40.0], [24.0, 16.0, 40.0, 48.0]  # both centred on cell (4, 4)
    for first, second in ((wide, tall), (tall, wide)):
        found, _ = targets([image((first, 0), (second, 1))], [[P3, P3]])
        assert on(P3, found.classes)[4, 4] == 1
        assert on(P3, found.boxes)[4, 4].tolist() == second


def test_an_effective_cell_is_not_ignored_for_another_object_of_its_class() -> None:
    small = [32.0, 32.0, 48.0, 48.0]  # [4, 6], effective [4.8, 5.2] -> 5, in the ring of BIG
    found, _ = targets([image((BIG, 1), (small, 1))], [[P3, P3]])
    assert places(on(P3, found.classes) == 1) == [(4, 4), (5, 5)]
    assert not on(P3, found.ignored)[5, 5].any()
    other, _ = targets([image((BIG, 1), (small, 0))], [[P3, P3]])
    assert on(P3, other.ignored)[5, 5].tolist() == [False, True, False]


def test_one_pixel_object_has_one_cell_on_every_level() -> None:
    for level, place in ((P3, (3, 3)), (P4, (2, 2)), (P5, (1, 1))):
        found, _ = targets([image(([25.0, 25.0, 26.0, 26.0], 0))], [[level]])
        assert places(on(level, found.classes) == 0) == [place]
        assert not on(level, found.ignored).any()  # effective and ignored box are the same cell


def test_object_larger_than_the_image() -> None:
    """[-64, -64, 128, 128] is [-8, 16] on P3: centre 4, effective [1.6, 6.4], ignored [-2, 10]."""
    found, _ = targets([image(([-64.0, -64.0, 128.0, 128.0], 0))], [[P3]])
    inner = list(itertools.product(range(2, 7), repeat=2))
    assert places(on(P3, found.classes) == 0) == inner
    assert places(~on(P3, found.ignored)[..., 0]) == inner


def test_objects_touching_the_borders() -> None:
    """[40, 0, 64, 8] is [5, 0, 8, 1]: columns [6.2, 6.8] -> 7 (6.5 up), ignored [5.75, 7.25] -> 6, 7; row 0.5 up: 1."""
    found, _ = targets([image(([40.0, 0.0, 64.0, 8.0], 0))], [[P3]])
    assert places(on(P3, found.classes) == 0) == [(1, 7)]
    assert places(on(P3, found.ignored)[..., 0]) == [(1, 6)]
    corner, _ = targets([image(([60.0, 60.0, 64.0, 64.0], 0))], [[P3]])  # [7.5, 8]: nearest to cell 8, which is not
    assert places(on(P3, corner.classes) == 0) == [(7, 7)]


def test_images_of_one_batch_do_not_mix() -> None:
    """Two images of different size, number of objects and levels, in either order."""
    small = Instances((32, 48))
    small.gt_boxes, small.gt_classes = Boxes(torch.tensor([[0.0, 0.0, 48.0, 32.0]])), torch.tensor([2])
    both, _ = targets([image((BIG, 1), ([0.0, 0.0, 16.0, 16.0], 0)), small], [[P3, P4], [P4]])
    alone = [
        targets([image((BIG, 1), ([0.0, 0.0, 16.0, 16.0], 0))], [[P3, P4]])[0],
        targets([small], [[P4]])[0],
    ]
    for number, one in enumerate(alone):
        assert torch.equal(both.classes[number], one.classes[0])
        assert torch.equal(both.ignored[number], one.ignored[0])
        positive = one.classes[0] < K
        assert torch.equal(both.boxes[number][positive], one.boxes[0][positive])


@pytest.mark.parametrize("images", [[image()], [image(), image()]])
def test_no_objects_at_all(images: list[Instances]) -> None:
    found, objects = targets(images, [[] for _ in images])
    assert not objects.valid.any()
    assert (found.classes == K).all()
    assert not found.ignored.any()


def test_an_image_without_objects_beside_one_with() -> None:
    found, objects = targets([image(), image((BIG, 1))], [[], [P3]])
    assert objects.valid.tolist() == [[False], [True]]
    assert (found.classes[0] == K).all()
    assert not found.ignored[0].any()
    assert places(on(P3, found.classes, 1) == 1) == BIG_EFFECTIVE


def test_padding_sorts_by_area_and_remembers_the_order() -> None:
    boxes = [[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 9.0, 9.0], [1.0, 1.0, 5.0, 5.0]]
    objects = pad_objects([image(*((box, label) for label, box in enumerate(boxes))), image(([0.0, 0.0, 2.0, 2.0], 1))])
    assert objects.valid.tolist() == [[True] * 3, [False, False, True]]
    assert objects.order[0].tolist() == [1, 0, 2]
    assert objects.classes[0].tolist() == [1, 0, 2]
    assert objects.boxes[0].tolist() == [boxes[1], boxes[0], boxes[2]]
    assert objects.boxes[1, 2].tolist() == [0, 0, 2, 2]


def slow_targets(objects: list[tuple[list[float], int, int]]) -> tuple[list[int], list[list[bool]]]:
    """Cell by cell in plain Python, from the rules in the docstring. Objects: box, class, selected level."""
    rule = CellRule()
    classes, ignored = [], []
    for number, level in enumerate(LEVELS):
        masks = {
            (i, f): rule.mask(torch.tensor(box), f, level).tolist()
            for i, (box, _, _) in enumerate(objects)
            for f in (0.2, 0.5)
        }
        for cell in range(level.height * level.width):
            owner, least = None, float("inf")
            maps = [False] * K
            for i, (box, label, selected) in enumerate(objects):
                area = (box[2] - box[0]) * (box[3] - box[1])
                if selected == number and masks[i, 0.2][cell] and area <= least:
                    owner, least = label, area
                if abs(selected - number) <= 1 and masks[i, 0.5][cell]:
                    maps[label] = True
            if owner is not None:
                maps[owner] = False
            classes.append(K if owner is None else owner)
            ignored.append(maps)
    return classes, ignored


@pytest.mark.parametrize("seed", range(5))
def test_batched_assignment_equals_a_loop_over_cells(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images, chosen, expected = [], [], []
    for count in (7, 0, 3):
        corner = torch.rand(count, 2, generator=generator) * 50
        boxes = torch.cat([corner, corner + 2 + torch.rand(count, 2, generator=generator) * 60], dim=1).tolist()
        labels = torch.randint(K, (count,), generator=generator).tolist()
        levels = torch.randint(len(LEVELS), (count,), generator=generator).tolist()
        images.append(image(*zip(boxes, labels, strict=True)))
        chosen.append(levels)
        expected.append(slow_targets(list(zip(boxes, labels, levels, strict=True))))
    found, _ = targets(images, chosen)
    assert found.classes.tolist() == [classes for classes, _ in expected]
    assert found.ignored.tolist() == [ignored for _, ignored in expected]
