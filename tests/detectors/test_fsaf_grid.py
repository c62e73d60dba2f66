"""Cells by hand: where they lie, which ones a box has under each rule, and what is decoded there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from replication.detectors.fsaf.cells import CellRule, Level, decode, levels_of, locations

EIGHT = Level(stride=8, height=4, width=6)


def cells(box: list[float], fraction: float = 0.2, rule: str = "inside", offset: float = 0.0, level: Level = EIGHT):
    """(columns, rows) of a box, which are a rectangle."""
    mask = CellRule(rule, offset).mask(torch.tensor(box), fraction, level).view(level.height, level.width)
    columns, rows = mask.any(dim=0).nonzero().flatten().tolist(), mask.any(dim=1).nonzero().flatten().tolist()
    assert mask.sum() == len(columns) * len(rows)
    return columns, rows


def test_locations_are_the_cells_number_times_the_stride() -> None:
    levels = [Level(8, 2, 3), Level(16, 1, 2)]
    at = locations(levels, 0.0, torch.device("cpu"))
    assert at.tolist() == [
        [0, 0, 8], [8, 0, 8], [16, 0, 8], [0, 8, 8], [8, 8, 8], [16, 8, 8], [0, 0, 16], [16, 0, 16],
    ]  # fmt: skip
    assert locations(levels, 0.5, torch.device("cpu"))[[0, 5, 7], :2].tolist() == [[4, 4], [20, 12], [24, 8]]


def test_levels_of_maps() -> None:
    maps = [torch.zeros(2, 80, 4, 6), torch.zeros(2, 80, 2, 3)]
    assert levels_of(maps, [8, 16]) == [EIGHT, Level(16, 2, 3)]


def test_distances_are_top_left_bottom_right_in_units_of_four_cells() -> None:
    at = locations([EIGHT], 0.0, torch.device("cpu"))[[8]]  # column 2, row 1: pixel (16, 8)
    distances = torch.tensor([[0.25, 0.5, 1.0, 0.125]])  # top 8, left 16, bottom 32, right 4 pixels
    assert decode(distances, at, 4.0).tolist() == [[0.0, 0.0, 20.0, 40.0]]


# On stride 8 the box [8, 0, 40, 24] is [1, 0, 5, 3]: centre (3, 1.5), a fifth of it [2.6, 1.2, 3.4, 1.8], half of it
# [2, 0.75, 4, 2.25].
@pytest.mark.parametrize(
    ("rule", "fraction", "expected"),
    [
        ("inside", 0.2, ([3], [2])),  # no row in [1.2, 1.8]: the nearest to 1.5, halves up
        ("inside", 0.5, ([2, 3, 4], [1, 2])),
        ("inside_only", 0.2, ([], [])),
        ("inside_only", 0.5, ([2, 3, 4], [1, 2])),
        ("touching", 0.2, ([2, 3], [1])),
        ("touching", 0.5, ([2, 3], [0, 1, 2])),
        ("touching_inclusive", 0.2, ([2, 3, 4], [1, 2])),
        ("touching_inclusive", 0.5, ([2, 3, 4], [0, 1, 2, 3])),
    ],
)
def test_rules(rule: str, fraction: float, expected: tuple[list[int], list[int]]) -> None:
    assert cells([8.0, 0.0, 40.0, 24.0], fraction, rule) == expected


def test_offset_moves_the_locations() -> None:
    """Half a cell on, columns 2.5 and 3.5 and row 1.5 lie in [2, 0.75, 4, 2.25]; column 2.5 is as near as 3.5."""
    assert cells([8.0, 0.0, 40.0, 24.0], 0.5, offset=0.5) == ([2, 3], [1])
    assert cells([8.0, 0.0, 40.0, 24.0], 0.2, offset=0.5) == ([3], [1])


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([17.0, 9.0, 18.0, 10.0], ([2], [1])),  # one pixel: (2.2, 1.2) in cells
        ([21.0, 13.0, 22.0, 14.0], ([3], [2])),  # one pixel: (2.7, 1.7)
        ([47.0, 31.0, 48.0, 32.0], ([5], [3])),  # in the corner, nearest to cell (6, 4), which is not there
        ([0.0, 0.0, 1.0, 1.0], ([0], [0])),
        ([-48.0, -32.0, 96.0, 64.0], ([2, 3, 4], [1, 2, 3])),  # thrice the image: [1.2, 0.8, 4.8, 3.2]
        ([-480.0, -320.0, 480.0, 320.0], ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3])),  # twenty times, centre in the corner
        ([40.0, 0.0, 200.0, 32.0], ([5], [2])),  # centre right of the map: the border column
        ([12.0, 12.0, 12.0, 12.0], ([2], [2])),  # no area
    ],
)
def test_there_is_always_a_cell(box: list[float], expected: tuple[list[int], list[int]]) -> None:
    assert cells(box) == expected


@pytest.mark.parametrize("rule", ["inside", "touching", "touching_inclusive"])
@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_random_boxes_have_a_cell_and_the_ignored_box_holds_the_effective_one(rule: str, offset: float) -> None:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(500, 2, generator=generator) * 300 - 50
    boxes = torch.cat([corner, corner + torch.rand(500, 2, generator=generator) ** 4 * 400], dim=1)
    for level in (EIGHT, Level(16, 15, 20), Level(128, 2, 3), Level(128, 1, 1)):
        small, large = (CellRule(rule, offset).mask(boxes, fraction, level) for fraction in (0.2, 0.5))
        assert small.any(dim=1).all()
        assert (large | ~small).all()


def reference(box: Tensor, fraction: float, rule: str, offset: float, level: Level) -> list[bool]:
    """Cell by cell, in float64, from the definition."""
    x1, y1, x2, y2 = (box.double() / level.stride).tolist()
    inside = []
    for row in range(level.height):
        for column in range(level.width):
            member = True
            for low, high, cell in ((x1, x2, column), (y1, y2, row)):
                centre, half = (low + high) / 2, fraction * (high - low) / 2
                if rule == "inside_only":
                    member &= abs(cell + offset - centre) <= half
                else:
                    # The unit square of the cell meets the open box.
                    member &= cell < centre + half and cell + 1 > centre - half
            inside.append(member)
    return inside


@pytest.mark.parametrize(("rule", "offset"), [("inside_only", 0.0), ("inside_only", 0.5), ("touching", 0.0)])
def test_masks_are_what_the_definition_says_cell_by_cell(rule: str, offset: float) -> None:
    generator = torch.Generator().manual_seed(1)
    corner = torch.rand(200, 2, generator=generator) * 20
    boxes = torch.cat([corner, corner + 8 + torch.rand(200, 2, generator=generator) * 20], dim=1)
    for fraction in (0.2, 0.5):
        masks = CellRule(rule, offset).mask(boxes, fraction, EIGHT)
        expected = torch.tensor([reference(box, fraction, rule, offset, EIGHT) for box in boxes])
        assert torch.equal(masks, expected)
