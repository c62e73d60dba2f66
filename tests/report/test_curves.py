"""Curves: smoothing, seed bands, and a figure that is the same for the same runs."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from replication.errors import ResultError
from replication.report.cells import compare
from replication.report.curves import band, draw_curves, smooth
from replication.report.drawing import INK, adaptive, compact


def test_smooth_keeps_constants_lines_and_ends():
    assert smooth(np.full(50, 3.0)) == pytest.approx(3)
    line = np.linspace(0, 1, 200)
    assert smooth(line) == pytest.approx(line)
    values = np.random.default_rng(0).normal(size=100)
    assert smooth(values)[[0, -1]] == pytest.approx(values[[0, -1]])
    assert smooth(values).std() < 0.7 * values.std()
    # 100 points: half a twentieth is 2.5 points, rounded to 2 on each side.
    assert smooth(values)[50] == pytest.approx(values[48:53].mean())


@pytest.mark.parametrize("count", [1, 2, 3])
def test_smooth_short(count):
    assert len(smooth(np.arange(count, dtype=float))) == count


def test_band_is_mean_and_range_on_the_shortest_run():
    one = np.array([[10, 1.0], [20, 2.0], [30, 3.0]])
    two = np.array([[10, 3.0], [20, 2.0]])
    iterations, low, mean, high = band([one, two])
    assert iterations.tolist() == [10, 20]
    assert (low.tolist(), mean.tolist(), high.tolist()) == ([1, 2], [2, 2], [3, 2])


def test_figure(catalog, protocol, results, add_run):
    for seed in (0, 1):
        add_run("base", seed, 40)
        add_run("giou", seed, 45)
    svg = draw_curves(compare(catalog, "giou-T5", protocol, results))
    assert svg == draw_curves(compare(catalog, "giou-T5", protocol, results))
    ElementTree.fromstring(svg)
    for text in ("classification loss", "average IoU of matched predictions", ">smooth L1<", ">GIoU<", ">iteration<"):
        assert text in svg
    assert ">IoU<" not in svg
    assert not re.search(r"20\d\d-\d\d-\d\d|Matplotlib", svg)


def test_figure_in_a_page_takes_the_pages_colour(catalog, protocol, results, add_run):
    add_run("base")
    svg = draw_curves(compare(catalog, "giou-T5", protocol, results))
    element = adaptive(svg)
    ElementTree.fromstring(element)
    assert element.startswith("<svg ")
    assert INK in svg
    assert INK not in element
    assert "currentColor" in element
    opening = element[: element.index(">")]
    assert " width=" not in opening
    assert "viewBox=" in opening


def test_rows_of_one_variant_are_one_line(catalog, protocol, results, add_run):
    add_run("base")
    add_run("big", curve=False)
    svg = draw_curves(compare(catalog, "libra-T1", protocol, results))
    assert svg.count(">Faster R-CNN, R-50<") == 1


def test_no_curves(catalog, protocol, results, add_run):
    assert draw_curves(compare(catalog, "giou-T5", protocol, results)) is None
    add_run("base", curve=False)
    assert draw_curves(compare(catalog, "giou-T5", protocol, results)) is None


@pytest.mark.parametrize("text", ["", '{"iteration": 10, "loss', '{"loss_cls": 1.0}\n', "[1]\n"])
def test_broken_curves(catalog, protocol, results, add_run, text):
    folder = add_run("base")
    (folder / "curves.jsonl").write_text(text)
    with pytest.raises(ResultError, match=r"base/seed0/curves\.jsonl: "):
        draw_curves(compare(catalog, "giou-T5", protocol, results))


def test_a_run_that_lacks_one_of_the_curves_is_still_named(catalog, protocol, results, add_run):
    folder = add_run("giou")
    lines = [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]
    rest = ({key: value for key, value in line.items() if key != "loss_cls"} for line in lines)
    (folder / "curves.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in rest))
    add_run("base")
    svg = draw_curves(compare(catalog, "giou-T5", protocol, results))
    assert svg.count(">GIoU<") == svg.count(">smooth L1<") == 1


@pytest.mark.parametrize(
    ("path", "short"),
    [
        ("M 0 0 \nL 1.5 -2 \nL 3 4 \nz\n", "M 0 0 1.5 -2 3 4 z"),
        ("M 0 0 \nL 1 2 \nM 5 6 \nL 7 8", "M 0 0 1 2 M 5 6 7 8"),
        ("M 0 0 \nQ 1 2 3 4 \nL 5 6", "M 0 0 Q 1 2 3 4 L 5 6"),  # after a curve the letter says something
    ],
)
def test_a_drawn_path_is_shortened_to_the_same_path(path: str, short: str) -> None:
    assert compact(f'<path d="{path}"/>') == f'<path d="{short}"/>'


@pytest.mark.parametrize(
    "font", ["font: 11px 'DejaVu Sans', sans-serif", "font-size: 11px; font-family: 'DejaVu Sans'"]
)
def test_text_in_a_page_has_the_page_s_font_and_groups_have_no_names(font: str) -> None:
    drawn = f'<svg height="1"><g id="text_1"><text style="{font}; text-anchor: end">a</text></g></svg>'
    assert (
        adaptive(drawn) == '<svg data-height="1"><g><text style="font-size: 11px; text-anchor: end">a</text></g></svg>'
    )
