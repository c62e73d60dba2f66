"""What is kept of a protocol's results, and whether what the repository keeps still says what its runs say."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from pathlib import Path

import pytest
import yaml
from support.page import Page

from replication import cli
from replication.catalog import CONFIGS, Catalog, load_catalog, load_judging, load_protocol
from replication.errors import ResultError
from replication.evaluation import METRICS
from replication.export import archive as module
from replication.export.archive import archive
from replication.report import render_table, write_report
from replication.report.cells import compare_all
from replication.report.tables import tidy_csv
from replication.results.files import read_json, write_json
from replication.results.finished import CURVE_LINES
from replication.results.layout import Layout
from replication.verdicts import judge
from replication.verdicts.registered import check_plan

REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference"
KEPT = sorted(path.parent.name for path in REFERENCE.glob("*/archive.json"))
SMOKE = load_protocol("smoke")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two finished runs and one that is not, with all that a results folder holds."""
    here = tmp_path / "results" / "smoke"
    for seed in (0, 1):
        folder = here / "runs" / "some_variant" / f"seed{seed}"
        whose = {"variant": "some_variant", "protocol": "smoke", "seed": seed}
        numbers = dict.fromkeys(METRICS, 30.0 + seed)
        write_json(folder / "metrics.json", "metrics/1", whose | {"metrics": numbers, "giou_metrics": numbers})
        made = {"config_hash": "c", "data_hash": "d", "fingerprint": "f"}
        write_json(folder / "provenance.json", "provenance/1", whose | made)
        (folder / "curves.jsonl").write_text("".join(f'{{"iteration": {number}}}\n' for number in range(203)))
        (folder / "model_final.pth").write_bytes(b"weights")
        (folder / "detections.json").write_text("[]")
    unfinished = here / "runs" / "other_variant" / "seed0"
    write_json(unfinished / "provenance.json", "provenance/1", {})
    write_json(here / "data.json", "data/1", {"data_hash": "d"})
    (here / "tables").mkdir()
    (here / "tables" / "giou-T5.md").write_text("| a table |\n")
    write_json(here / "latency" / "some_cpu" / "some_variant.json", "latency/1", {})
    (here / "figures" / "svg").mkdir(parents=True)
    (here / "figures" / "svg" / "giou-T5_curves.svg").write_text("<svg/>\n")
    (here / "logs").mkdir()
    (here / "logs" / "prepare.log").write_text("a path of this machine")
    return tmp_path / "results"


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_numbers_and_provenance_are_kept_and_weights_are_not(results: Path, tmp_path: Path) -> None:
    kept = archive(SMOKE, results, tmp_path / "out")
    run = "runs/some_variant/seed{}/{}"
    files = ("metrics.json", "provenance.json", "curves.jsonl")
    expected = {run.format(seed, name) for seed in (0, 1) for name in files}
    expected |= {"data.json", "tables/giou-T5.md", "latency/some_cpu/some_variant.json", "archive.json"}
    expected.add("figures/svg/giou-T5_curves.svg")
    assert names(kept) == expected
    original = results / "smoke" / "runs" / "some_variant" / "seed1" / "metrics.json"
    assert (kept / "runs/some_variant/seed1/metrics.json").read_bytes() == original.read_bytes()


def test_curves_are_thinned_and_keep_their_ends(results: Path, tmp_path: Path) -> None:
    kept = archive(SMOKE, results, tmp_path / "out")
    lines = (kept / "runs/some_variant/seed0/curves.jsonl").read_text().splitlines()
    iterations = [json.loads(line)["iteration"] for line in lines]
    assert len(iterations) <= CURVE_LINES
    assert (iterations[0], iterations[-1]) == (0, 202)
    assert iterations[:-1] == list(range(0, 202, 5))


def test_an_archive_is_replaced_whole_and_lists_its_files(results: Path, tmp_path: Path) -> None:
    kept = archive(SMOKE, results, tmp_path / "out")
    (results / "smoke" / "tables" / "giou-T5.md").unlink()
    archive(SMOKE, results, tmp_path / "out")
    document = read_json(kept / "archive.json", "archive/1")
    assert document["runs"] == 2
    assert set(document["files"]) | {"archive.json"} == names(kept)
    assert "tables/giou-T5.md" not in document["files"]


def test_a_folder_that_is_no_archive_is_not_touched(results: Path, tmp_path: Path) -> None:
    mine = tmp_path / "out" / "smoke" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    for out in (tmp_path / "out", results):
        with pytest.raises(ResultError, match="not an archive of this project, so it is not replaced"):
            archive(SMOKE, results, out)
    assert mine.read_text() == "mine"
    assert (results / "smoke" / "runs" / "some_variant" / "seed0" / "model_final.pth").exists()


def test_an_interrupted_archive_leaves_the_old_one(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = archive(SMOKE, results, tmp_path / "out")
    before = names(kept)

    def interrupted(path: Path, content: bytes) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "write_bytes", interrupted)
        with pytest.raises(KeyboardInterrupt):
            archive(SMOKE, results, tmp_path / "out")
    assert names(kept) == before
    assert names(archive(SMOKE, results, tmp_path / "out").parent) == {f"smoke/{name}" for name in before}


def test_a_folder_of_this_machine_is_not_published(results: Path, tmp_path: Path) -> None:
    table = results / "smoke" / "tables" / "giou-T5.md"
    table.write_text(f"from {results.resolve()}/smoke\n")
    with pytest.raises(ResultError, match=r"giou-T5\.md: names .*, a folder of this machine"):
        archive(SMOKE, results, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_too_large_is_refused(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 1000)
    with pytest.raises(ResultError, match=r"largest file is runs/some_variant/seed0/curves\.jsonl"):
        archive(SMOKE, results, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_a_finished_run_there_is_nothing_to_keep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--protocol", "smoke", "--results", str(tmp_path), "--out", str(tmp_path / "out")]
    assert cli.main(["archive", *where]) == 2
    assert "no finished run; run the workflow first" in capsys.readouterr().err


def test_runs_archived_before_are_not_deleted(results: Path, tmp_path: Path) -> None:
    kept = archive(SMOKE, results, tmp_path / "out")
    before = names(kept)
    shutil.rmtree(results / "smoke" / "runs" / "some_variant" / "seed1")
    with pytest.raises(ResultError, match=r"holds 1 runs that are not in .*some_variant/seed1: they would be deleted"):
        archive(SMOKE, results, tmp_path / "out")
    assert names(kept) == before


@pytest.mark.parametrize("name", ["metrics.json", "provenance.json"])
def test_a_broken_run_is_not_kept(results: Path, tmp_path: Path, name: str) -> None:
    path = results / "smoke" / "runs" / "some_variant" / "seed1" / name
    path.write_text(path.read_text()[:30])
    with pytest.raises(ResultError, match=f"seed1/{name}: not readable as JSON"):
        archive(SMOKE, results, tmp_path / "out")


def test_verdicts_of_other_runs_are_not_kept(results: Path, tmp_path: Path) -> None:
    folder = results / "smoke" / "runs" / "some_variant"
    listed = [
        {
            "variant": "some_variant",
            "seed": seed,
            "metrics_sha256": hashlib.sha256((folder / f"seed{seed}" / "metrics.json").read_bytes()).hexdigest(),
        }
        for seed in (0, 1)
    ]
    verdicts = results / "smoke" / "verdicts.json"
    write_json(verdicts, "verdicts/4", {"runs": listed})
    assert (archive(SMOKE, results, tmp_path / "out") / "verdicts.json").exists()
    write_json(verdicts, "verdicts/4", {"runs": listed[:1]})
    with pytest.raises(ResultError, match="some_variant seed 1 is not the one that was judged"):
        archive(SMOKE, results, tmp_path / "out")


def test_an_archive_is_not_judged_again(capsys: pytest.CaptureFixture[str]) -> None:
    verdicts = REFERENCE / "mini" / "verdicts.json"
    before = verdicts.read_bytes()
    assert cli.main(["verdicts", "--protocol", "mini", "--results", str(REFERENCE)]) == 2
    assert "is part of an archive, which keeps no detections" in capsys.readouterr().err
    assert verdicts.read_bytes() == before


@pytest.mark.parametrize("name", KEPT)
def test_the_repository_s_own_archives_are_whole(name: str) -> None:
    document = read_json(REFERENCE / name / "archive.json", "archive/1")
    found = {path: hashlib.sha256((REFERENCE / name / path).read_bytes()).hexdigest() for path in document["files"]}
    assert found == document["files"]
    assert set(found) | {"archive.json"} == names(REFERENCE / name)


@pytest.mark.parametrize("name", KEPT)
def test_tables_and_verdicts_of_the_repository_s_archives_are_those_of_their_runs(name: str) -> None:
    catalog, protocol = load_catalog(), load_protocol(name)
    tables = [path.stem for path in sorted((REFERENCE / name / "tables").glob("*.csv"))]
    assert tables
    for one in compare_all(catalog, tables, protocol, REFERENCE):
        assert tidy_csv(one) == (REFERENCE / name / "tables" / f"{one.table.id}.csv").read_text()
    path = REFERENCE / name / "verdicts.json"
    verdicts = read_json(path, "verdicts/4")
    check_plan(Layout(REFERENCE, name), verdicts, catalog, protocol, load_judging(), tables)
    for run in verdicts["runs"]:
        path = REFERENCE / name / "runs" / run["variant"] / f"seed{run['seed']}" / "metrics.json"
        assert hashlib.sha256(path.read_bytes()).hexdigest() == run["metrics_sha256"]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the repository's own archive, to render it again."""
    shutil.copytree(REFERENCE / "mini", tmp_path / "reference" / "mini")
    return tmp_path / "reference"


@pytest.fixture
def with_fourth_paper(tmp_path: Path) -> Catalog:
    """The catalog with a further paper, ``giou_v2``: the first one's tables, of which one has a column of AR1000."""
    configs = tmp_path / "configs"
    shutil.copytree(CONFIGS, configs)
    paper = yaml.safe_load(
        (CONFIGS / "papers" / "giou.yaml").read_text().replace("giou-T", "giou_v2-T").replace("giou-c", "giou_v2-c")
    )
    table = next(table for table in paper["tables"] if table["id"] == "giou_v2-T5")
    table["columns"].append({"id": "AR1000", "head": "AR1000", "metric": "AR1000", "criterion": "iou"})
    for row in table["rows"]:
        row["published"]["AR1000"] = 0.5
    (configs / "papers" / "giou_v2.yaml").write_text(yaml.safe_dump(paper | {"id": "giou_v2"}))
    return load_catalog(configs)


def verdict_rows(page: Path) -> dict[str, dict[str, list[str]]]:
    tables: dict[str, dict[str, list[str]]] = Page(page.read_text()).tables
    return {name: rows for name, rows in tables.items() if name != "provenance"}


def test_a_further_paper_leaves_the_archive_as_it_is(copied: Path, with_fourth_paper: Catalog) -> None:
    shown = json.loads((REFERENCE / "mini" / "verdicts.json").read_text())["tables"]
    mini = load_protocol("mini")
    mini = mini.model_copy(update={"tables": (*mini.tables, "giou_v2-T5")})
    page = write_report(with_fourth_paper, mini, copied, shown)
    assert verdict_rows(page) == verdict_rows(REFERENCE / "mini" / "report.html")
    with pytest.raises(ResultError) as error:
        write_report(with_fourth_paper, mini, copied, mini.tables)
    message = str(error.value)
    assert "verdicts.json: tables: giou_v2-T5 of paper giou_v2 has not been judged; an archive keeps no" in message
    assert message.endswith(f"show {','.join(shown)} with --tables")


def test_a_further_paper_s_table_is_made_of_the_archived_runs(copied: Path, with_fourth_paper: Catalog) -> None:
    """Also where it has a column of a metric that the archived files do not have."""
    mini = load_protocol("mini")
    own, other = (
        list(csv.DictReader(io.StringIO(render_table(with_fourth_paper, table, mini, copied)["csv"])))
        for table in ("giou-T5", "giou_v2-T5")
    )
    numbers = [
        [(line["row"], line["column"], line["measured"], line["sd"]) for line in lines] for lines in (own, other)
    ]
    assert numbers[0] == [one for one in numbers[1] if one[1] != "AR1000"]
    missing = [line for line in other if line["column"] == "AR1000"]
    assert {(line["measured"], line["measured_gain"], line["status"]) for line in missing} == {("", "", "not measured")}
    (copied / "mini" / "verdicts.json").unlink()
    page = write_report(with_fourth_paper, mini, copied, ["giou_v2-T5"])
    assert "\N{EN DASH}" in verdict_rows(page)["giou_v2-T5"]["giou"]
    svgs = {path.stem for path in (page.parent / "figures" / "svg").iterdir()}
    assert svgs >= {"giou_v2-T5_curves", "giou_v2-T5_mistakes", "giou_v2-T5_classes", "giou_v2-T5_sizes"}


def test_images_of_others_data_are_not_passed_on(results: Path, tmp_path: Path) -> None:
    page = results / "smoke" / "report.html"
    page.write_text('<image href="data:image/jpeg;base64,AA"/>')
    foreign = load_protocol("paper").model_copy(update={"name": "smoke"})
    with pytest.raises(ResultError, match=r"report\.html: holds images of the data.*DETECTRON2_DATASETS=/nowhere"):
        archive(foreign, results, tmp_path / "kept")
    assert not (tmp_path / "kept" / "smoke").exists()
    assert (archive(SMOKE, results, tmp_path / "kept") / "report.html").exists()
    page.write_text('<image href="data:image/png;base64,AA"/>')
    assert (archive(foreign, results, tmp_path / "kept") / "report.html").exists()


def test_rendering_an_archive_again_leaves_its_files_alone(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = read_json(copied / "mini" / "archive.json", "archive/1")
    for verb in ("report", "tables"):
        assert cli.main([verb, "--protocol", "mini", "--results", str(copied), "--format", "json"]) == 0
        written = [Path(path) for path in json.loads(capsys.readouterr().out)["files"]]
        assert written
        assert all(path.is_relative_to(copied / "rendered" / "mini") and path.is_file() for path in written)
    found = {path: hashlib.sha256((copied / "mini" / path).read_bytes()).hexdigest() for path in document["files"]}
    assert found == document["files"]
    assert set(found) | {"archive.json"} == names(copied / "mini")


def test_a_metric_that_the_archived_files_lack_is_shown_as_missing(copied: Path) -> None:
    catalog, mini = load_catalog(), load_protocol("mini")
    for path in (copied / "mini" / "runs").glob("faster_rcnn_R50_*/seed*/metrics.json"):
        document = json.loads(path.read_text())
        for name in ("metrics", "giou_metrics"):
            del document[name]["AP75"]
        path.write_text(json.dumps(document))
    before, after = (
        list(csv.DictReader(io.StringIO(render_table(catalog, "giou-T5", mini, results)["csv"])))
        for results in (REFERENCE, copied)
    )
    for old, new in zip(before, after, strict=True):
        if old["metric"] == "AP75":
            assert (new["measured"], new["status"]) == ("", "not measured")
        else:
            assert new == old
    (copied / "mini" / "verdicts.json").unlink()
    document = judge(catalog, mini, copied, ["giou-T5"], load_judging())
    reasons = {
        one["column"]["metric"]: one["reason"]
        for one in document["verdicts"]
        if one["id"].startswith("giou-T5-iou-over")
    }
    assert reasons["AP75"].startswith("no number for AP75 (")
    assert reasons["AP75"].endswith("seed0/metrics.json")
    assert reasons["AP"] == ""
