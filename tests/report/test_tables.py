"""The numbers of every form of a table against the JSON they come from, and what must not be mixed."""

from __future__ import annotations

import csv
import io
import statistics

import pytest

from replication.catalog import Catalog, Paper, load_catalog
from replication.errors import ConfigError, ResultError
from replication.report import render_table, terminal_table, write_tables
from replication.report.head import NOT_COMPARABLE
from replication.report.tables import escape_latex
from replication.results.files import write_text

TIMES = "\N{MULTIPLICATION SIGN}"
APS = {"base": (40.0, 41.5), "giou": (42.25, 43.0)}


@pytest.fixture
def two_seeds(add_run):
    for variant, values in APS.items():
        for seed, ap in enumerate(values):
            add_run(variant, seed, ap)


def records(text):
    return {(line["row"], line["column"]): line for line in csv.DictReader(io.StringIO(text))}


def md_rows(text):
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").replace("\\|", "!").split("|")] for line in lines]


@pytest.mark.usefixtures("two_seeds")
def test_csv_is_the_json_at_full_precision(catalog, protocol, results):
    table = records(render_table(catalog, "giou-T5", protocol, results)["csv"])
    giou = table["giou", "AP75"]
    values = [(ap + 2) / 100 for ap in APS["giou"]]
    base = [(ap + 2) / 100 for ap in APS["base"]]
    assert float(giou["measured"]) == statistics.fmean(values)
    assert float(giou["sd"]) == statistics.stdev(values)
    assert float(giou["measured_gain"]) == statistics.fmean(values) - statistics.fmean(base)
    assert (giou["published"], giou["published_gain"], giou["runs"]) == ("0.388", "-0.002", "2")
    assert (giou["unit"], giou["status"], giou["absolute_comparable"]) == ("fraction", "measured", "False")
    assert table["smooth_l1", "AP"]["measured_gain"] == table["smooth_l1", "AP"]["published_gain"] == ""


@pytest.mark.usefixtures("two_seeds")
def test_markdown_numbers(catalog, protocol, results):
    rows = md_rows(render_table(catalog, "giou-T5", protocol, results)["md"])
    assert rows[0] == [
        "method", "AP published", "AP measured", "AP (GIoU) published", "AP (GIoU) measured", "AP75 published",
        "AP75 measured", "runs", "status",
    ]  # fmt: skip
    # Means 40.75 and 42.625, SDs 1.5/sqrt(2) and 0.75/sqrt(2), all in fractions.
    assert rows[2] == ["smooth L1", "0.360", "0.407 ± 0.011", "0.351", "0.398 ± 0.011", "0.390",
                       "0.427 ± 0.011", "2", "measured"]  # fmt: skip
    assert rows[4] == ["GIoU", "0.369 (+0.009)", "0.426 ± 0.005 (+0.019)", "0.360 (+0.009)", "0.416 ± 0.005 (+0.019)",
                       "0.388 (-0.002)", "0.446 ± 0.005 (+0.019)", "2", "measured"]  # fmt: skip


@pytest.mark.usefixtures("two_seeds")
def test_rows_without_a_number_say_why(catalog, protocol, results):
    rows = {row[0]: row for row in md_rows(render_table(catalog, "giou-T5", protocol, results)["md"])}
    assert (rows["IoU"][2], rows["IoU"][4], rows["IoU"][-1]) == ("not run", "not run", "not run")
    assert (rows["later ! idea"][2], rows["later ! idea"][-1]) == ("planned", "planned")
    assert (rows["Other et al."][2], rows["Other et al."][-1]) == ("cited", "cited")
    assert rows["Other et al."][3] == "-"
    assert rows["Other et al."][-2] == "-"


def test_one_seed_has_no_spread(catalog, protocol, results, add_run):
    add_run("base", 0, 40.0)
    text = render_table(catalog, "giou-T5", protocol, results)
    assert "0.400 |" in text["md"]
    assert "±" not in text["md"]
    assert records(text["csv"])["smooth_l1", "AP"]["sd"] == ""


def test_gain_needs_its_own_baseline(catalog, protocol, results, add_run):
    add_run("giou", 0, 40.0)
    line = records(render_table(catalog, "giou-T5", protocol, results)["csv"])["giou", "AP"]
    assert (line["measured"], line["measured_gain"], line["published_gain"]) == ("0.4", "", "0.009")


def test_metric_without_ground_truth_is_a_dash(catalog, protocol, results, add_run):
    add_run("base", 0, 40.0, metrics={"AP75": None})
    rows = md_rows(render_table(catalog, "giou-T5", protocol, results)["md"])
    assert rows[2][6] == "-"


def test_units_as_printed(catalog, protocol, results, add_run):
    add_run("base", 0, 40.06)
    add_run("big", 0, 40.02)
    rows = md_rows(render_table(catalog, "libra-T1", protocol, results)["md"])
    assert rows[0][:2] == ["method", "backbone"]
    assert rows[2][2:6] == ["36.2", "40.1", "131", "not timed"]
    assert rows[3][1:6] == ["X-101-64x4d", "41.9 (+5.7)", "40.0 (+0.0)", f"138 ({TIMES}1.053)", "not timed"]


def test_no_runs_at_all(catalog, protocol, results):
    text = render_table(catalog, "giou-T5", protocol, results)
    assert "not run" in text["md"]
    assert {line["measured"] for line in records(text["csv"]).values()} == {""}


@pytest.mark.usefixtures("two_seeds")
def test_head_says_what_may_be_compared(catalog, protocol, results):
    forms = render_table(catalog, "giou-T5", protocol, results)
    for text in (forms["md"], forms["tex"], terminal_table(catalog, "giou-T5", protocol, results)):
        assert NOT_COMPARABLE in text
    head = forms["md"]
    assert "## giou-T5: Faster R-CNN with 3 losses" in head
    assert "CVPR 2019, arXiv 1902.09630" in head
    assert "- **Published:** MS COCO 2018 val, ResNet-50-FPN, unit fraction" in head
    assert "- **Measured:** protocol mini: digits on two cores" in head
    assert "400 training and 100 validation images of 128 to 192 pixels, seed 5" in head
    assert "300 iterations at batch 8 (papers' scale: 90,000)" in head
    assert "EfficientNet-Lite0 stands for R-50" in head
    assert "INPUT.MIN\\_SIZE\\_TRAIN=(192), MODEL.FPN.OUT\\_CHANNELS=64" in head
    assert "RETINANET" not in head
    assert "RoIs are few." in head
    assert "printed \\<twice> & differently" in head


def test_published_scale_is_compared_unless_the_split_differs(catalog, coco_protocol, results, add_run):
    add_run("base", 0, 36.0, protocol="paper", provenance={"iterations": 90000, "batch": 16})
    same_split = render_table(catalog, "giou-T5", coco_protocol, results)
    assert "NOT comparable" not in same_split["md"]
    assert records(same_split["csv"])["smooth_l1", "AP"]["absolute_comparable"] == "True"
    assert "90,000 iterations at batch 16\n" in same_split["md"]
    test_server = render_table(catalog, "libra-T1", coco_protocol, results)
    assert "Published on test-dev" in test_server["md"]
    assert "measured on coco/annotations/instances\\_val2017" in test_server["md"]
    assert records(test_server["csv"])["base", "AP"]["absolute_comparable"] == "False"


@pytest.mark.usefixtures("two_seeds")
def test_latex(catalog, protocol, results):
    text = render_table(catalog, "giou-T5", protocol, results)["tex"]
    assert "\\toprule" in text
    assert "\\caption{giou-T5: Faster R-CNN with 3 losses, 50\\% \\& more\\_or\\_less}" in text
    assert "0.426 $\\pm$ 0.005 (+0.019)" in text
    assert "0.388 ($-$0.002)" in text
    assert "MODEL.FPN.OUT\\_CHANNELS=64" in text
    assert text.isascii()
    assert text.count("\\begin{") == text.count("\\end{")
    body = text[text.index("\\midrule") : text.index("\\bottomrule")].split("\n")[1:-1]
    assert [line.replace("\\&", "").count("&") for line in body] == [8] * 5


def test_latex_escape():
    assert escape_latex(r"a_b & 50% {x} #1 $ ~ ^ \ ±") == (
        r"a\_b \& 50\% \{x\} \#1 \$ \textasciitilde{} \textasciicircum{} \textbackslash{} $\pm$"
    )


@pytest.mark.usefixtures("two_seeds")
def test_terminal_leaves_planned_columns_out(catalog, protocol, results):
    paper = catalog.papers["giou"].model_dump()
    paper["tables"][0]["columns"][1]["metric"] = "AR100"
    planned = Catalog(papers={"giou": Paper.model_validate(paper)}, variants=catalog.variants)
    assert planned.table("giou-T5").columns[1].state == "planned"
    assert "AP (GIoU)" not in terminal_table(planned, "giou-T5", protocol, results, width=200)


@pytest.mark.usefixtures("two_seeds")
def test_terminal_fits_its_width(catalog, protocol, results):
    wide = terminal_table(catalog, "giou-T5", protocol, results, width=200)
    assert "AP (GIoU)" in wide
    assert "0.426 ± 0.005 (+0.019)" in wide
    narrow = terminal_table(catalog, "giou-T5", protocol, results, width=70)
    table = narrow.split("\n\n", 1)[1]
    assert max(map(len, table.splitlines())) <= 70
    assert table.count("smooth L1") == 3


@pytest.mark.usefixtures("two_seeds")
def test_write_tables(catalog, protocol, results):
    paths = write_tables(catalog, protocol, results, ["giou-T5", "libra-T1"])
    folder = results / "mini" / "tables"
    assert paths == [folder / f"{table}.{form}" for table in ("giou-T5", "libra-T1") for form in ("md", "csv", "tex")]
    expected = render_table(catalog, "giou-T5", protocol, results)
    assert {form: (folder / f"giou-T5.{form}").read_text() for form in expected} == expected


def test_unknown_table(catalog, protocol, results):
    with pytest.raises(ConfigError, match="giou-T99"):
        render_table(catalog, "giou-T99", protocol, results)


def both(one, other):
    return rf"{one}.* and .*{other}"


@pytest.mark.parametrize("key", ["data_hash", "fingerprint"])
def test_different_data_or_code_is_refused(catalog, protocol, results, add_run, key):
    add_run("base")
    add_run("giou", provenance={key: "another"})
    with pytest.raises(ResultError, match=both("base/seed0/provenance.json", "giou/seed0/provenance.json")):
        render_table(catalog, "giou-T5", protocol, results)


def test_different_config_between_seeds_is_refused(catalog, protocol, results, add_run):
    add_run("base")
    add_run("giou")
    add_run("base", 1, provenance={"config_hash": "another"})
    with pytest.raises(ResultError, match=both("base/seed0/provenance.json", "base/seed1/provenance.json")):
        render_table(catalog, "giou-T5", protocol, results)


def test_different_area_ranges_are_refused(catalog, protocol, results, add_run):
    add_run("base")
    add_run("giou", area_ranges={"small": [0, 99]})
    with pytest.raises(ResultError, match=both("base/seed0/metrics.json", "giou/seed0/metrics.json")):
        render_table(catalog, "giou-T5", protocol, results)


def test_refused_runs_leave_no_table_behind(catalog, protocol, results, add_run):
    add_run("base")
    add_run("big", provenance={"data_hash": "another"})
    with pytest.raises(ResultError):
        write_tables(catalog, protocol, results, ["giou-T5", "libra-T1"])
    assert not (results / "mini" / "tables").exists()


def test_tables_shown_together_share_their_data(catalog, protocol, results, add_run):
    add_run("iou")
    add_run("big", provenance={"data_hash": "another"})
    for table in ("giou-T5", "libra-T1"):
        render_table(catalog, table, protocol, results)
    with pytest.raises(ResultError, match=both("iou/seed0/provenance.json", "big/seed0/provenance.json")):
        write_tables(catalog, protocol, results, ["giou-T5", "libra-T1"])


def test_runs_of_another_protocol_in_the_folder_are_refused(catalog, protocol, results, add_run):
    add_run("base")
    folder = add_run("giou", protocol="big_one")
    folder.parent.rename(results / "mini" / "runs" / "giou")
    with pytest.raises(ResultError, match=r"giou/seed0/metrics.json: protocol is 'big_one', the folder says 'mini'"):
        render_table(catalog, "giou-T5", protocol, results)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 4}, r"metrics\.json: seed is 4, the folder says 0"),
        ({"variant": "iou"}, r"metrics\.json: variant is 'iou', the folder says 'base'"),
        ({"metrics": {"AP": 250.0}}, r"metrics\.json: metrics\.AP is 250\.0"),
        ({"metrics": {"AP75": -1}}, r"metrics\.json: metrics\.AP75 is -1"),
        ({"provenance": {"data_hash": None}}, r"provenance\.json: data_hash is None, expected `str`"),
    ],
)
def test_wrong_result_files(catalog, protocol, results, add_run, change, message):
    folder = add_run("base")
    more = {key: value for key, value in change.items() if key in ("metrics", "provenance")}
    document = {key: value for key, value in change.items() if key not in more}
    if "seed" in document:
        text = (folder / "metrics.json").read_text()
        write_text(folder / "metrics.json", text.replace('"seed": 0', '"seed": 4'))
    elif "variant" in document:
        text = (folder / "metrics.json").read_text()
        write_text(folder / "metrics.json", text.replace('"variant": "base"', '"variant": "iou"'))
    else:
        add_run("base", **more)
    with pytest.raises(ResultError, match=message):
        render_table(catalog, "giou-T5", protocol, results)


def test_truncated_and_missing_result_files(catalog, protocol, results, add_run):
    folder = add_run("base")
    text = (folder / "metrics.json").read_text()
    write_text(folder / "metrics.json", text[:30])
    with pytest.raises(ResultError, match=r"metrics\.json: not readable as JSON"):
        render_table(catalog, "giou-T5", protocol, results)
    write_text(folder / "metrics.json", text)
    (folder / "provenance.json").unlink()
    with pytest.raises(ResultError, match=r"provenance\.json: no such file"):
        render_table(catalog, "giou-T5", protocol, results)


def test_every_table_of_the_real_catalog(protocol, results, add_run):
    catalog = load_catalog()
    names = {row.variant for table in catalog.tables.values() for row in table.rows if row.variant}
    for number, name in enumerate(sorted(names)):
        add_run(name, 0, 30 + number / 4, metrics={"AR100": 40, "AR300": 50.5, "AR1000": 60})
    for table in catalog.tables.values():
        forms = render_table(catalog, table.id, protocol, results)
        lines = records(forms["csv"])
        assert len(lines) == len(table.rows) * len(table.columns)
        assert forms["tex"].isascii()
        assert len(md_rows(forms["md"])) == len(table.rows) + 2
        for row in table.rows:
            for column in table.columns:
                line = lines[row.id, column.id]
                published = row.published[column.id]
                assert line["published"] == ("" if published is None else str(published))
                measured = row.variant is not None and column.state == "built" and not column.lower_is_better
                assert bool(line["measured"]) == measured
