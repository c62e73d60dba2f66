"""The level-selection figure: what it draws, that it is the same each time, and refusal of broken files."""

from __future__ import annotations

import base64
import io
import re
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import label

from replication.errors import ResultError
from replication.report.cells import compare
from replication.report.page import write_report
from replication.report.papers.fsaf import draw_levels, heuristic_level
from replication.results.files import write_json
from replication.results.schemas import Levels

CONTENT = {
    "images": 2, "levels": [3, 4, 5], "heuristic_level": 5, "heuristic_size": 224,
    "objects": [[50.0, 3], [112.0, 4], [230.0, 3], [400.0, 5]],
}  # fmt: skip


def test_heuristic_line():
    sides = np.array([10.0, 111.9, 112.0, 223.9, 224.0, 5000.0])
    assert heuristic_level(sides, msgspec.convert(CONTENT, Levels)).tolist() == [3, 3, 4, 4, 5, 5]


def test_figure(catalog, protocol, results, add_run):
    assert draw_levels(compare(catalog, "giou-T5", protocol, results)) is None
    add_run("base")
    assert draw_levels(compare(catalog, "giou-T5", protocol, results)) is None
    write_json(add_run("giou") / "levels.json", "levels/1", CONTENT)
    svg = draw_levels(compare(catalog, "giou-T5", protocol, results))
    ElementTree.fromstring(svg)
    assert svg == draw_levels(compare(catalog, "giou-T5", protocol, results))
    for text in ("GIoU: 75% as the heuristic", ">P3<", ">P5<", ">heuristic<", ">selected online<"):
        assert text in svg
    assert "smooth L1" not in svg
    assert not re.search(r"20\d\d-\d\d-\d\d|Matplotlib", svg)


def test_one_dot_per_object_in_one_picture(catalog, protocol, results, add_run):
    write_json(add_run("giou") / "levels.json", "levels/1", CONTENT)
    svg = draw_levels(compare(catalog, "giou-T5", protocol, results))
    (picture,) = re.findall(r'<image [^>]*xlink:href="data:image/png;base64,([^"]+)"', svg)
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGBA"))[..., 3] > 0
    assert label(drawn, np.ones((3, 3)))[1] == 4


def test_page_shows_and_writes_it_with_this_paper_s_tables(catalog, protocol, results, add_run):
    write_json(add_run("giou") / "levels.json", "levels/1", CONTENT)
    fsaf = catalog.papers["giou"].model_copy(update={"id": "fsaf"})
    other = catalog.model_copy(update={"papers": {"fsaf": fsaf}})
    page = write_report(other, protocol, results, ["giou-T5"]).read_text()
    assert page.count("75% as the heuristic") == 1
    assert "as the heuristic" in (results / "mini" / "figures" / "svg" / "giou-T5_levels.svg").read_text()
    assert "as the heuristic" not in write_report(catalog, protocol, results, ["giou-T5"]).read_text()


def test_no_objects_no_panel(catalog, protocol, results, add_run):
    write_json(add_run("giou") / "levels.json", "levels/1", CONTENT | {"objects": []})
    assert draw_levels(compare(catalog, "giou-T5", protocol, results)) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"objects": [[3.0, 9]]}, r"objects: \[3\.0, 9\] is not a pair of side and level"),
        ({"objects": [7]}, r"objects\[0\] is 7, expected `array`"),
        ({"objects": None}, "objects is None, expected `array`"),
        ({"levels": []}, r"levels is \[\], expected `array` of length >= 1"),
        ({"heuristic_size": "big"}, "heuristic_size is 'big', expected `float`"),
    ],
)
def test_broken_file(catalog, protocol, results, add_run, change, words):
    write_json(add_run("giou") / "levels.json", "levels/1", CONTENT | change)
    with pytest.raises(ResultError, match=rf"giou/seed0/levels\.json: {words}"):
        draw_levels(compare(catalog, "giou-T5", protocol, results))
