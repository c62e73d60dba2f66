"""The page: its numbers, its independence of everything else, and what a browser makes of it."""

from __future__ import annotations

import base64
import json
import re
import shutil
from xml.etree import ElementTree

import pytest
from PIL import Image
from support.page import Page

from replication.catalog import load_catalog
from replication.catalog.units import MINUS, gain, gain_interval, half_digit, number, percent, signed
from replication.errors import ConfigError, ReplicationError, ResultError
from replication.report import render_table, write_report
from replication.report.filters import duration
from replication.report.html import TEMPLATES
from replication.results.files import write_json

TABLES = ["giou-T5", "libra-T1"]
RAN_ON = "EfficientNet-Lite0 for R-50"


@pytest.fixture
def page_path(catalog, protocol, results, add_run):
    for variant, values in {"base": (40.0, 41.5), "giou": (42.25, 43.0)}.items():
        for seed, ap in enumerate(values):
            add_run(variant, seed, ap)
    return write_report(catalog, protocol, results, TABLES)


@pytest.fixture
def page(page_path):
    return page_path.read_text()


def test_numbers_of_the_page(page):
    table = Page(page).tables["giou-T5"]
    assert table["smooth_l1"] == [f"smooth L1 {RAN_ON}", "2", "0.360", "0.407 ± 0.011", "0.351", "0.398 ± 0.011",
                                  "0.390", "0.427 ± 0.011"]  # fmt: skip
    assert table["giou"] == [f"GIoU {RAN_ON}", "2", "0.369 +0.009", "0.426 ± 0.005 +0.019", "0.360 +0.009",
                             "0.416 ± 0.005 +0.019", "0.388 −0.002", "0.446 ± 0.005 +0.019"]  # fmt: skip  # noqa: RUF001
    assert table["iou"][1:4] == ["not run", "0.368 +0.008", "–"]  # noqa: RUF001
    assert table["later"][1] == "planned"
    assert table["other"][1] == "cited"


def test_overview(page):
    text = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    # base, iou, giou of T5, base and the X-101 row of T1: four variants by two seeds.
    assert "Runs finished 4 of 8" in text
    assert "Training time, all runs 13 min 22 s" in text
    assert "a processor (2 cores), 1 thread per training" in text
    assert "0123456789" in text
    assert "smooth L1 &lt;b&gt;" in page


def test_a_test_of_another_s_weights_is_no_second_training(catalog, protocol, results, add_run):
    for seed in range(2):
        add_run("base", seed)
        add_run("giou", seed, 42.0, curve=False, provenance={"weights_from": "base"})
    page = write_report(catalog, protocol, results, TABLES).read_text()
    text = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert "Training time, all runs 6 min 41 s" in text
    assert "giou weights of base 0 42.00" in text


def test_figures_of_other_tables_do_not_stay(page_path, catalog, protocol, results):
    figures = page_path.parent / "figures" / "svg"
    assert (figures / "giou-T5_curves.svg").exists()
    write_report(catalog, protocol, results, ["libra-T1"])
    assert {path.name.partition("_")[0] for path in figures.iterdir()} == {"libra-T1"}


def test_runs_finished_are_of_the_registered_ones_where_more_were_asked_for(catalog, protocol, results, add_run):
    once = protocol.model_copy(update={"seeds": 3})
    for seed in range(2):
        add_run("base", seed)
    text = " ".join(re.sub(r"<[^>]+>", " ", write_report(catalog, once, results, ["giou-T5"]).read_text()).split())
    assert "Runs finished 2 of 9" in text


def test_well_formed_and_loads_nothing(page):
    parsed = Page(page)
    assert parsed.unbalanced == []
    assert parsed.stack == []
    ids = re.findall(r'\sid="([^"]+)"', page)
    for reference in parsed.references:
        assert reference.startswith(("#", "data:", "https://arxiv.org/abs/")), reference
        if reference.startswith("#"):
            assert reference[1:] in ids
    assert re.findall(r"<script[^>]*>", page) == ["<script>"]
    assert not re.search(r"<(?:script|img|link|iframe)[^>]* (?:src|href)=\"(?!data:)", page)
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|WebSocket", page)
    assert "@import" not in page
    assert not re.search(r"url\((?!#|data:)", page)


def test_downloads_are_the_rendered_tables(page, catalog, protocol, results):
    expected = render_table(catalog, "giou-T5", protocol, results)
    for form, text in expected.items():
        match = re.search(rf'download="giou-T5\.{form}" href="data:[^,]+;base64,([^"]+)"', page)
        assert base64.b64decode(match[1]).decode() == text


def test_every_figure_can_be_saved_and_is_the_file(page, results):
    saved = re.findall(r'<a download="([^"]+\.svg)" href="data:image/svg\+xml;base64,([^"]+)"', page)
    beside = re.findall(r"As SVG: figures/svg/([^<]+)<", page)  # of a table's details, which would double the page
    assert len(saved) + len(beside) == page.count('<figure class="curves">') > len(beside)
    files = {path.name: path.read_text() for path in (results / "mini" / "figures" / "svg").iterdir()}
    assert files.keys() == {name for name, _ in saved} | set(beside)
    assert {name: base64.b64decode(content).decode() for name, content in saved} == {
        name: files[name] for name, _ in saved
    }
    for text in files.values():
        ElementTree.fromstring(text)


def test_every_picture_has_a_title_and_a_description(page):
    pictures = re.findall(r"<svg [^>]*viewBox.*?</svg>", page, re.S)
    assert len(pictures) == page.count('<figure class="curves">') > 0
    for picture in pictures:
        start = picture[: picture.index("</desc>")]
        assert 'role="img"' in start
        assert re.search(r"<title>[^<]{10,}</title>\s*<desc>[^<]{20,}", start)


def test_links_and_contents(page):
    assert '<a href="https://arxiv.org/abs/1902.09630">arXiv 1902.09630</a>' in page
    contents = page[page.index("<nav") : page.index("</nav>")]
    for name in ("giou", *TABLES, "deviations", "glossary", "provenance"):
        assert f'href="#{name}"' in contents
    assert page.index("</nav>") < page.index("<main>"), "in the body, so that it stays in view down to its end"
    assert "Source of the printed numbers: the paper" in page


def test_a_difference_without_a_verdict_has_no_colour(page):
    classes = set(re.findall(r'<td class="measured">.*?class="gain ([^"]*)"', page))
    assert classes == {"open"}


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_can_be_read_on_every_ground_in_both_colour_schemes(scheme):
    """At least 4.5 to 1 (WCAG 2.2, 1.4.3)."""
    light, dark = re.findall(r":root \{(.*?)\}", (TEMPLATES / "page.css").read_text(), re.S)
    colors = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", (light, dark)[scheme]))
    for ink in ("ink", "soft", "accent", "up", "down"):
        for ground in ("page", "raised"):
            assert contrast(colors[ink], colors[ground]) >= 4.5, (ink, ground)
    assert contrast(colors["warn-ink"], colors["warn"]) >= 4.5


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(color: str) -> float:
    """Relative luminance of an sRGB colour."""
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_same_results_same_bytes(page_path, page, catalog, protocol, results):
    figure = results / "mini" / "figures" / "svg" / "giou-T5_curves.svg"
    drawn = figure.read_bytes()
    assert write_report(catalog, protocol, results, TABLES) == page_path
    assert page_path.read_text() == page
    assert figure.read_bytes() == drawn
    assert str(results) not in page


def test_published_scale_has_no_banner_but_names_the_split(catalog, coco_protocol, results, add_run):
    add_run("base", 0, 36.0, protocol="paper")
    page = write_report(catalog, coco_protocol, results, TABLES).read_text()
    assert page.count("NOT comparable") == 0
    assert page.count("Published on test-dev, whose annotations are withheld") == 1


def test_page_before_the_first_run(catalog, protocol, results):
    page = write_report(catalog, protocol, results, TABLES).read_text()
    assert "Runs finished</dt><dd>0 of 8" in page
    assert "No run has finished yet." in page
    assert not list((results / "mini" / "figures" / "svg").iterdir())


def test_report_refuses_what_tables_refuse(catalog, protocol, coco_protocol, results, add_run):
    add_run("base")
    add_run("giou", provenance={"data_hash": "another"})
    with pytest.raises(ResultError, match="data_hash"):
        write_report(catalog, protocol, results, TABLES)
    assert not (results / "mini" / "report.html").exists()
    with pytest.raises(ConfigError, match="benchmark voc2007"):
        write_report(load_catalog(), coco_protocol, results, ["giou-T4"])


def test_other_provenance(catalog, protocol, results, add_run):
    gpu = {"device": {"type": "cuda", "name": "Some GPU", "count": 2}, "commit": None, "dirty": None, "seconds": None}
    add_run("base", provenance=gpu, curve=False)
    page = write_report(catalog, protocol, results, TABLES).read_text()
    assert "2 x Some GPU" in page
    assert "unknown" in page
    assert "giou-T5_curves" not in page


@pytest.fixture
def images(tmp_path, monkeypatch, results):
    """Three validation images, their ground truth and manifest."""
    folder = tmp_path / "data" / "set" / "val"
    folder.mkdir(parents=True)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    names = [f"{number}.png" for number in (1, 2, 3)]
    for name in names:
        Image.new("RGB", (120, 80), (40, 90, 160)).save(folder / name)
    box = {"category_id": 4, "bbox": [10, 20, 30, 40], "iscrowd": 0}
    truth = {
        "images": [{"id": i, "file_name": name, "height": 80, "width": 120} for i, name in enumerate(names, 1)],
        "categories": [{"id": 4, "name": "<seven>"}],
        "annotations": [box | {"id": 1, "image_id": 1}, box | {"id": 2, "image_id": 3}],
    }
    (results / "mini").mkdir(parents=True)
    (results / "mini" / "ground_truth.json").write_text(json.dumps(truth))
    write_json(results / "mini" / "data.json", "data/1", {"data_hash": "d", "splits": {"val": {"folder": "set/val"}}})
    return folder


def test_samples(catalog, protocol, results, add_run, images):
    found = {"image_id": 1, "category_id": 4, "bbox": [11.04, 21, 30, 40], "score": 0.876}
    folder = add_run("base")
    (folder / "detections.json").write_text(json.dumps([found, found | {"score": 0.49, "bbox": [77, 1, 2, 3]}]))
    page = write_report(catalog, protocol, results, TABLES).read_text()
    assert page.count("data:image/jpeg;base64,") == 2
    assert 'class="detection" x="11.0" y="21.0" width="30.0" height="40.0"' in page
    assert "&lt;seven&gt; 0.88" in page
    assert 'x="77' not in page
    assert Page(page).unbalanced == []
    shutil.rmtree(images)
    assert "Sample detections" not in write_report(catalog, protocol, results, TABLES).read_text()


@pytest.mark.parametrize("name", ["detections.json", "ground_truth.json"])
def test_broken_files_of_the_samples_are_named(catalog, protocol, results, add_run, images, name):
    folder = add_run("base")
    (folder / "detections.json").write_text("[]")
    path = next(path for path in (folder / name, results / "mini" / name) if path.exists())
    path.write_text("[{")
    with pytest.raises(ReplicationError, match=f"{name}: not valid JSON"):
        write_report(catalog, protocol, results, TABLES)


def test_a_results_folder_that_is_a_file_is_named(catalog, protocol, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ReplicationError, match=r"cannot write: Not a directory. Choose another path"):
        write_report(catalog, protocol, tmp_path / "file", TABLES)


def test_formats():
    assert signed(-0.04, "percent") == "+0.0"
    assert signed(-1.26, "percent") == "-1.3"
    assert signed(-1.26, "percent", minus=MINUS) == f"{MINUS}1.3"
    assert signed(7, "ms") == "+7"
    assert gain(-0.01234, "fraction") == f"{MINUS}0.0123"
    assert gain_interval(-0.01234, 0.00001, "fraction") == f"{MINUS}0.0123 to +0.0000"
    assert [number(0.3694, "fraction"), number(36.94, "percent"), number(130.6, "ms")] == ["0.369", "36.9", "131"]
    assert [half_digit("fraction"), half_digit("percent"), half_digit("ms")] == [0.0005, 0.05, 0.5]
    assert percent(-0.6) == f"{MINUS}0.6 %"
    assert percent(-0.04) == "+0.0 %"
    assert [duration(value) for value in (None, 65, 7325)] == ["", "1 min 5 s", "2 h 2 min"]
