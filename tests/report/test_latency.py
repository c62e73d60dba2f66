"""Latency in tables, page and picture, from made-up files whose ratios are known by hand."""

from __future__ import annotations

import base64
import csv
import io
import re

import pytest
from matplotlib.figure import Figure

from replication.catalog import load_catalog, load_protocol
from replication.errors import ResultError
from replication.report import render_table, terminal_table, write_report
from replication.report.accuracy_latency import Point, draw_picture, make_figure, picture
from replication.report.cells import compare
from replication.results.files import write_json

TIMES = "\N{MULTIPLICATION SIGN}"
# Six rounds around 200 and 160 ms; the second machine state is slower for both, and 160 / 200 = .8 in each round.
SLOWER = (1.0, 1.0, 1.0, 1.5, 1.5, 1.25)
BASE = [150.0 * factor for factor in SLOWER], [50.0 * factor for factor in SLOWER]
FAST = [120.0 * factor for factor in SLOWER], [40.0 * factor for factor in SLOWER]


@pytest.fixture
def add_latency(results):
    def add(variant, rounds, session="s", device="cpu", protocol="mini", **more):
        model, post = rounds
        body = {
            "variant": variant, "protocol": protocol, "session": {"id": session},
            "rounds": {"model": model, "postprocessing": post}, "device": {"type": "cpu", "name": "cpu"},
            "cpu": "a processor (2 cores)",
            "method": {"rounds": len(model), "threads": 1, "precision": "fp32", "compiled": False},
            "inputs": {"source": "validation images", "sizes": [[480, 640], [480, 640]]},
            "weights": {"kind": "trained"}, "candidates": {"per_image": 812.4, "detections": 99.6},
            "flops": {"total": 239_300_000_000}, "parameters": 37_700_000, "peak_memory": {"bytes": 260 * 2**20},
            "state": {"cpu_share": 0.99},
        }  # fmt: skip
        path = results / protocol / "latency" / device / f"{variant}.json"
        write_json(path, "latency/1", body | more)
        return path

    return add


@pytest.fixture
def timed(add_run, add_latency):
    add_run("base", 0, 40.0)
    add_run("big", 0, 42.5)
    add_latency("base", BASE)
    add_latency("big", FAST)


def records(text):
    return {(line["row"], line["column"]): line for line in csv.DictReader(io.StringIO(text))}


def md_rows(text):
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.usefixtures("timed")
def test_ratios_on_both_sides(catalog, protocol, results):
    forms = render_table(catalog, "libra-T1", protocol, results)
    rows = md_rows(forms["md"])
    # Medians of 200 (1, 1, 1, 1.25, 1.5, 1.5) and 160 of the same; published 138 / 131.
    assert rows[2][4:6] == ["131", "225.0"]
    assert rows[3][4:6] == [f"138 ({TIMES}1.053)", f"180.0 ({TIMES}0.800 [0.800, 0.800])"]
    assert "$\\times$0.800" in forms["tex"]
    line = records(forms["csv"])["x", "ms"]
    assert float(line["published_ratio"]) == 138 / 131
    assert float(line["measured_ratio"]) == pytest.approx(0.8)
    assert (float(line["measured"]), float(line["measured_low"]), float(line["measured_high"])) == (180.0, 160.0, 240.0)
    assert float(line["measured_gain"]) == -45.0
    assert (line["published_gain"], line["status"]) == ("7.0", "measured")
    base = records(forms["csv"])["base", "ms"]
    assert (base["measured_ratio"], base["published_ratio"], base["measured_gain"]) == ("", "", "")


@pytest.mark.usefixtures("timed")
def test_the_head_says_how_it_was_measured(catalog, protocol, results):
    head = render_table(catalog, "libra-T1", protocol, results)["md"]
    assert (
        "- **Latency:** median over 6 rounds interleaved over the variants, each the mean of 2 images (validation "
        "images; 480x640), batch 1, on a processor (2 cores), 1 thread, fp32, eager; weights: trained\n"
    ) in head
    assert "of latency the ratio. Only the ratio can be compared" in head
    assert "Latency" not in render_table(catalog, "giou-T5", protocol, results)["md"]
    assert f"{TIMES}0.800" in terminal_table(catalog, "libra-T1", protocol, results, width=200)


def test_the_head_tells_a_disturbed_machine(catalog, protocol, results, add_latency):
    add_latency("base", BASE, state={"cpu_share": 0.31})
    head = render_table(catalog, "libra-T1", protocol, results)["md"]
    assert "weights: trained; DISTURBED: under other load, the process had 31% of a core" in head


def test_times_of_two_sessions_have_no_ratio(catalog, protocol, results, add_latency):
    add_latency("base", BASE)
    add_latency("big", FAST, session="another day")
    forms = render_table(catalog, "libra-T1", protocol, results)
    assert md_rows(forms["md"])[3][5] == "180.0"
    line = records(forms["csv"])["x", "ms"]
    assert (line["measured"], line["measured_ratio"], line["measured_gain"]) == ("180.0", "", "")


def test_a_time_without_a_run_and_a_run_without_a_time(catalog, protocol, results, add_run, add_latency):
    add_run("base", 0, 40.0)
    add_latency("big", FAST)
    rows = md_rows(render_table(catalog, "libra-T1", protocol, results)["md"])
    assert rows[2][3:] == ["40.0", "131", "not timed", "1", "measured"]
    assert rows[3][3:] == ["not run", f"138 ({TIMES}1.053)", "180.0", "-", "not run"]


def test_a_file_in_the_wrong_place_is_refused(catalog, protocol, results, add_latency):
    path = add_latency("base", BASE)
    path.rename(path.with_name("big.json"))
    with pytest.raises(ResultError, match=r"big\.json: variant is 'base', its place says 'big'"):
        render_table(catalog, "libra-T1", protocol, results)


@pytest.mark.usefixtures("timed")
def test_the_pictures_data_are_the_files(catalog, protocol, results):
    drawn = picture(compare(catalog, "libra-T1", protocol, results))
    assert drawn.published == (
        Point("Faster R-CNN", "R-50", 131, 36.2), Point("Faster R-CNN", "X-101-64x4d", 138, 41.9),
    )  # fmt: skip
    assert drawn.measured == (
        Point("Faster R-CNN", "R-50", 225.0, 40.0, (200.0, 300.0)),
        Point("Faster R-CNN", "X-101-64x4d", 180.0, 42.5, (160.0, 240.0)),
    )  # fmt: skip


def markers(figure: Figure, panel: int) -> list[tuple[float, float, str]]:
    lines = [line for line in figure.axes[panel].lines if line.get_linestyle() == "None"]
    return [(float(line.get_xdata()[0]), float(line.get_ydata()[0]), line.get_marker()) for line in lines]


@pytest.mark.usefixtures("timed")
def test_points_carry_intervals_of_their_own_runs(catalog, protocol, results, add_run):
    """Three runs of 39, 40 and 41: SD 1, and 4.3027 is the t of two degrees of freedom."""
    for seed, ap in ((1, 39.0), (2, 41.0)):
        add_run("base", seed, ap)
    points = picture(compare(catalog, "libra-T1", protocol, results))
    several, single = points.measured
    half = 4.30265 / 3**0.5
    assert several.ap_interval == pytest.approx((40 - half, 40 + half), abs=1e-4)
    assert single.ap_interval is None
    assert all(one.ms_interval is None and one.ap_interval is None for one in points.published)
    published, measured = make_figure(points).axes
    assert not published.collections
    bars = [line.tolist() for bar in measured.collections for line in bar.get_segments()]
    assert [[200, 40], [300, 40]] in bars
    assert [[225, pytest.approx(40 - half, abs=1e-4)], [225, pytest.approx(40 + half, abs=1e-4)]] in bars
    assert len(bars) == 3


@pytest.mark.usefixtures("timed")
def test_what_is_drawn_are_the_pictures_data(catalog, protocol, results):
    points = picture(compare(catalog, "libra-T1", protocol, results))
    figure = make_figure(points)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["published", "measured"]
    assert markers(figure, 0) == [(131, 36.2, "o"), (138, 41.9, "s")]
    assert markers(figure, 1) == [(225, 40, "o"), (180, 42.5, "s")]
    assert [text.get_text() for text in figure.legends[0].texts] == ["Faster R-CNN", "R-50", "X-101-64x4d"]


def test_no_picture_before_something_has_both_numbers(catalog, protocol, results, add_run, add_latency):
    add_run("base", 0, 40.0)
    add_latency("big", FAST)
    assert draw_picture(compare(catalog, "libra-T1", protocol, results)) is None
    assert draw_picture(compare(catalog, "giou-T5", protocol, results)) is None


@pytest.mark.usefixtures("timed")
def test_the_page_shows_picture_ratios_and_what_the_times_are_made_of(catalog, protocol, results):
    page = write_report(catalog, protocol, results, ["libra-T1"]).read_text()
    figure = (results / "mini" / "figures" / "svg" / "libra-T1_latency.svg").read_text()
    encoded = re.search(r'download="libra-T1_latency\.svg" href="data:image/svg\+xml;base64,([^"]+)"', page)[1]
    assert base64.b64decode(encoded).decode() == figure
    assert f'180.0<span class="gain">{TIMES}0.800 [0.800, 0.800]</span>' in page
    assert f'138<span class="gain">{TIMES}1.053</span>' in page
    table = page[page.index('data-table="libra-T1-latency"') :]
    row = re.findall(r"<t[dh][^>]*>([^<]*)", table[table.index('data-row="big"') : table.index("</table>")])
    # Stages: medians of 120 and 40 over the same rounds.
    assert row[:6] == ["big", "0.800 [0.800, 0.800]", "-", "180.00 [160.00, 240.00]", "135.00", "45.00"]
    # Their files are from before training steps and processor time were measured.
    assert row[6:] == ["812", "100", "239.3", "37.7", "260", "trained", "-", "-", "-", "-"]
    assert "training step" not in page
    assert write_report(catalog, protocol, results, ["libra-T1"]).read_text() == page


@pytest.mark.usefixtures("timed")
def test_the_page_shows_training_steps_that_were_timed_in_turns(catalog, protocol, results, add_latency):
    step = {
        "images": 2, "sizes": [[480, 640], [427, 640]], "objects_per_image": 7, "weights": "trained",
        "steps_per_round": 2, "covers": "forward and backward", "peak_memory": {"bytes": 1000 * 2**20},
    }  # fmt: skip
    for variant, rounds, ms in (("base", BASE, 500.0), ("big", FAST, 540.0)):
        times = {"rounds": [ms * factor for factor in SLOWER], "processor_rounds": [ms - 100] * 6}
        add_latency(variant, rounds, training=step | times, processor_rounds=[ms / 5] * 6)
    page = write_report(catalog, protocol, results, ["libra-T1"]).read_text()
    table = page[page.index('data-table="libra-T1-latency"') :]
    row = re.findall(r"<t[dh][^>]*>([^<]*)", table[table.index('data-row="big"') : table.index("</table>")])
    assert row[1:3] == ["0.800 [0.800, 0.800]", "1.080 [1.080, 1.080]"]
    assert row[-4:] == ["607.50 [540.00, 810.00]", "1.080 [1.080, 1.080]", "1.100 [1.100, 1.100]", "1000"]
    assert (
        "training step: forward and backward, on a fixed batch of 2 images (2 sizes, e.g. 427x640) with 7 objects "
        "each, trained weights, in the same rounds, each the mean of 2 steps. Times in ms"
    ) in page
    assert page.count("training step: ") == 1


@pytest.mark.usefixtures("timed")
def test_page_of_a_table_that_is_not_timed(catalog, protocol, results):
    page = write_report(catalog, protocol, results, ["giou-T5"]).read_text()
    assert "What it costs" not in page
    assert not (results / "mini" / "figures" / "svg" / "giou-T5_latency.svg").exists()


def test_fsaf_table_2_whole(results, add_run, add_latency):
    """The paper's nine rows, all timed at the published numbers: every ratio is the paper's."""
    catalog, protocol = load_catalog(), load_protocol("mini")
    table = catalog.table("fsaf-T2")
    for row in table.rows:
        published = row.published["runtime_ms_per_image"]
        add_latency(row.variant, ([published - 20.0] * 6, [20.0] * 6))
        add_run(row.variant, 0, row.published["AP"])
    lines = records(render_table(catalog, "fsaf-T2", protocol, results)["csv"])
    ratios = {row: round(float(line["measured_ratio"]), 3) for (row, column), line in lines.items()
              if column == "runtime_ms_per_image" and line["measured_ratio"]}  # fmt: skip
    assert ratios == {
        "fsaf_r50": 0.817, "joint_r50": 1.053, "fsaf_r101": 0.860, "joint_r101": 1.047, "fsaf_x101": 0.809,
        "joint_x101": 1.017,
    }  # fmt: skip
    drawn = picture(compare(catalog, "fsaf-T2", protocol, results))
    measured = [(one.method, one.backbone, one.ms, one.ap) for one in drawn.measured]
    assert measured == [(one.method, one.backbone, one.ms, one.ap) for one in drawn.published]
    assert len(drawn.published) == 9


def test_fsaf_table_2_before_its_variants_are_timed(results, add_run, add_latency):
    catalog, protocol = load_catalog(), load_protocol("mini")
    add_latency("retinanet_R50", BASE)
    lines = records(render_table(catalog, "fsaf-T2", protocol, results)["csv"])
    column = "runtime_ms_per_image"
    assert lines["retinanet_r50", column]["status"] == "measured"
    assert lines["retinanet_r101", column]["status"] == "not timed"
    for row in catalog.table("fsaf-T2").rows:
        if row.variant not in catalog.variants:
            assert lines[row.id, column]["status"] == "planned"
