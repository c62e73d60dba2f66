"""The page in headless Chromium: no error, no request, no wider than a phone, and numbers equal to the JSON files."""

from __future__ import annotations

import html
import json
import re
import statistics

import pytest
import screenshots
from PIL import Image
from support.page import Page

from replication.catalog import load_catalog, load_judging
from replication.evaluation import METRICS
from replication.report import write_report
from replication.report.claims import distinct
from replication.report.filters import sortable
from replication.report.mistakes import KINDS
from replication.verdicts import write_verdicts

pytestmark = pytest.mark.skipif(screenshots.CHROMIUM is None, reason="no Chromium: install it, or name it in CHROMIUM")

EN_DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
MEASURE = """onload = () => {
  const shown = frames[0], root = shown.document.documentElement;
  shown.document.querySelectorAll("details").forEach(one => one.open = true);
  const cells = [...shown.document.querySelectorAll("table.cards td")].map(one => one.getBoundingClientRect());
  const cut = cells.filter(one => one.width === 0 || one.right > shown.innerWidth).length;
  const tables = [...shown.document.querySelectorAll("table.cards")].map(one => one.parentElement);
  const wider = tables.filter(one => one.scrollWidth > one.clientWidth).length;
  const nav = shown.document.querySelector("nav");
  shown.scrollTo(0, root.scrollHeight);
  const contents = nav ? nav.getBoundingClientRect().top : null;
  const loaded = shown.performance.getEntriesByType("resource").map(one => one.name);
  const needed = root.scrollWidth, width = shown.innerWidth;
  document.title = JSON.stringify({needed, width, cells: cells.length, cut, wider, contents, loaded});
}"""


OPERATE = """onload = () => {
  const table = frames[0].document.querySelector("table[data-table=verdicts]");
  const bar = table.parentElement.previousElementSibling;
  const [paper, verdict, order] = bar.querySelectorAll("select");
  const rows = () => [...table.tBodies[0].rows].filter(row => row.offsetHeight > 0).map(row => row.dataset.row);
  const choose = (select, value) => { select.value = value; select.dispatchEvent(new Event("change")); };
  const heads = [...table.tHead.rows[0].cells], measured = heads.find(head => head.textContent === "Measured");
  const press = () => measured.querySelector("button").click();
  const found = {all: rows()};
  press(); found.up = rows();
  press(); found.down = rows(); found.sorted = measured.getAttribute("aria-sort");
  choose(order, "-1 up"); found.back = rows();
  choose(paper, paper.options[1].value); found.paper = rows();
  found.counted = bar.querySelector("[role=status]").textContent;
  choose(verdict, verdict.options[1].value); found.both = rows();
  choose(paper, ""); found.verdict = [verdict.value, rows()];
  document.title = JSON.stringify(found);
}"""


def in_a_frame(page, folder, size, script):
    """What a script finds in a page shown at a size, as JSON."""
    frame = folder / "frame.html"
    frame.write_text(screenshots.framed(page, size, script))
    dom = screenshots.browse(frame, "--allow-file-access-from-files", "--dump-dom").stdout
    return json.loads(html.unescape(re.search(r"<title>(.*?)</title>", dom)[1]))


def on_a_phone(page, folder):
    """At 390 pixels, everything unfolded: the width needed and had, cells of verdicts cut off, what was loaded."""
    return in_a_frame(page, folder, screenshots.PHONE, MEASURE)


@pytest.fixture
def everything(protocol, results, add_run):
    """All tables of the catalog; every second row with a variant has runs of one to three seeds, all judged."""
    catalog = load_catalog()
    tables = list(catalog.tables)
    variants = dict.fromkeys(row.variant for table in catalog.tables.values() for row in table.rows)
    for number, variant in enumerate(sorted(name for name in variants if name in catalog.variants)):
        alone = variant.startswith(("rpn", "libra_rpn"))
        metrics = dict.fromkeys(METRICS) | {"AR100": 41.0, "AR300": 52.0, "AR1000": 63.0} if alone else None
        wrong = {kind: {"count": 1, "gain": number / 10} for kind in KINDS}
        for seed in range(number % 4):
            ap = 30 + 0.5432 * number + 0.37 * seed + 0.01 * number * seed
            add_run(variant, seed, ap, metrics=metrics, mistakes={} if alone else wrong)
    document = write_verdicts(catalog, protocol, results, tables, load_judging())
    return catalog, document, write_report(catalog, protocol, results, tables)


def test_the_whole_catalog(everything, results, tmp_path):
    catalog, document, path = everything
    done = screenshots.browse(path, "--enable-logging=stderr", "--dump-dom")
    assert "CONSOLE" not in done.stderr
    shown = Page(done.stdout).tables
    tables = catalog.tables.values()
    assert sum(numbers_are_those_of_the_files(table, shown[table.id], results) for table in tables) > 100
    verdicts_are_those_of_the_file(document, shown["verdicts"] | shown["other-verdicts"])
    seen = on_a_phone(path, tmp_path)
    assert seen["width"] == 390
    assert seen["needed"] <= seen["width"]
    assert seen["cells"] > 100
    assert seen["cut"] == 0
    assert seen["loaded"] == []
    seen |= in_a_frame(path, tmp_path, screenshots.DESKTOP, MEASURE)
    assert seen["width"] == 1280
    assert seen["needed"] <= seen["width"]
    assert (seen["cut"], seen["wider"]) == (0, 0)
    assert seen["contents"] == 0, "the list of contents stays in view at the page's end"
    claims_are_sorted_and_filtered(document, in_a_frame(path, tmp_path, screenshots.DESKTOP, OPERATE))


def numbers_are_those_of_the_files(table, rows, results):
    """How many measured numbers were compared."""
    assert set(rows) - {None} == {row.id for row in table.rows}
    checked = 0
    for row in table.rows:
        cells = rows[row.id][-2 * len(table.columns) :]
        for column, published, measured in zip(table.columns, cells[::2], cells[1::2], strict=True):
            number = row.published[column.id]
            decimals = {"fraction": 3, "percent": 1, "ms": 0}[column.unit]
            assert published.split()[0] == (EN_DASH if number is None else f"{number:.{decimals}f}")
            expected = mean_of_files(results / "mini" / "runs" / str(row.variant), column)
            if expected is not None and column.state == "built":
                checked += 1
                assert measured.split()[0] == f"{expected:.{decimals}f}"
    return checked


def verdicts_are_those_of_the_file(document, lines):
    testable = [one for one in document["verdicts"] if one["verdict"] != "not testable"]
    judged = [one for primary in (True, False) for one in distinct(x for x in testable if x["primary"] is primary)]
    assert list(lines) == [None, *(one["id"] for one in judged)]
    assert {table for one in judged for table in one["tables"]} == {one["table"] for one in testable}
    for one in judged:
        half = {"fraction": 5.1e-5, "percent": 5.1e-3, "ms": 5.1e-2}[one["unit"]]  # of the last digit shown
        words, claimed, measured = lines[one["id"]][1:4]
        assert words.startswith(one["verdict"])
        for text, side in ((claimed, one["claimed"]), (measured, one["measured"])):
            if side is None:
                assert text == EN_DASH
                continue
            gain, percent, _ = text.replace(MINUS, "-").split()
            assert float(gain) == pytest.approx(side["gain"], abs=half)
            assert float(percent) == pytest.approx(side["relative_percent"], abs=0.051)


def claims_are_sorted_and_filtered(document, found):
    shown = distinct(one for one in document["verdicts"] if one["primary"] and one["verdict"] != "not testable")
    gains = {one["id"]: sortable(one, "measured") for one in shown}
    numbers = {name: float(text) for name, text in gains.items() if text}
    empty = [name for name in gains if name not in numbers]
    assert found["all"] == found["back"] == list(gains)
    assert found["up"] == [*sorted(numbers, key=numbers.__getitem__), *empty]
    assert found["down"] == [*sorted(numbers, key=lambda name: -numbers[name]), *empty]
    assert found["sorted"] == "descending"
    first, verdict = shown[0]["paper"], shown[0]["verdict"]
    assert found["paper"] == [one["id"] for one in shown if one["paper"] == first]
    assert found["counted"] == f"{len(found['paper'])} of {len(shown)} claims"
    assert found["both"] == [one["id"] for one in shown if (one["paper"], one["verdict"]) == (first, verdict)]
    assert found["verdict"] == [verdict, [one["id"] for one in shown if one["verdict"] == verdict]]


def mean_of_files(folder, column):
    """Mean over seeds, read from ``metrics.json``, in the column's unit; None where a run has no such number."""
    key = "giou_metrics" if column.criterion == "giou" else "metrics"
    files = [json.loads(path.read_text()) for path in folder.glob("seed*/metrics.json")]
    values = [file[key].get(column.metric) for file in files]
    if not values or None in values:
        return None
    return statistics.fmean(values) / (100 if column.unit == "fraction" else 1)


def test_a_wide_page_and_a_request_would_be_seen(tmp_path):
    page, address = tmp_path / "page.html", "http://127.0.0.1:9/dot.png"
    page.write_text(f'<!doctype html><p style="width:500px">x</p><img src="{address}">')
    seen = on_a_phone(page, tmp_path)
    assert seen["needed"] > 390
    assert seen["loaded"] == [address]


def test_screenshots(catalog, protocol, results, add_run, tmp_path):
    add_run("base")
    paths = screenshots.screenshots(write_report(catalog, protocol, results, ["giou-T5"]), tmp_path)
    pictures = [Image.open(path).convert("RGB") for path in paths]
    assert [picture.size for picture in pictures] == [(1280, 1400), (1280, 1400), (780, 1688)]
    light, dark, phone = (picture.getpixel((2, 2)) for picture in pictures)
    assert light == phone == (255, 255, 255)
    assert max(dark) < 60
