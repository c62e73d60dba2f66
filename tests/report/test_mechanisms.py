"""Beside a table's verdicts: what its claims rest on, and what the runs measured of it."""

from __future__ import annotations

import json

import pytest

from replication.catalog import Protocol
from replication.errors import ResultError
from replication.report.cells import compare
from replication.report.mechanisms import measured
from replication.report.page import write_report
from replication.results.files import write_json


def content(p2: float) -> dict:
    levels = {"training samples": {"P2": p2, "P3": 100 - p2}, "test": {"P2": 100.0}}
    return {"images": 2, "measures": [{"id": "roi_levels", "title": "RoIs by level", "unit": "%", "values": levels}]}


def test_means_over_runs_and_a_gap_where_nothing_was_measured(catalog, protocol, results, add_run):
    assert measured(compare(catalog, "giou-T5", protocol, results)) == ()
    for seed, p2 in enumerate((40.0, 60.0)):
        write_json(add_run("giou", seed, curve=False) / "mechanism.json", "mechanism/1", content(p2))
    (one,) = measured(compare(catalog, "giou-T5", protocol, results))
    assert (one.title, one.columns) == ("RoIs by level, percent", ("P2", "P3"))
    assert one.lines == (("GIoU", "training samples", ("50.0", "50.0")), ("GIoU", "test", ("100.0", "-")))


def test_share_of_the_box_loss_is_of_the_last_tenth(catalog, protocol, results, add_run):
    folder = add_run("base", curve=False)
    lines = [{"iteration": 1 + k, "loss_box_reg": 9.0, "total_loss": 10.0} for k in range(18)]
    lines += [{"iteration": 19 + k, "loss_box_reg": 1.0 + k, "total_loss": 6.0} for k in range(2)]
    (folder / "curves.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (one,) = measured(compare(catalog, "giou-T5", protocol, results))
    assert one.lines == (("smooth L1", "box loss", ("25.0",)),)


def test_page_shows_text_and_numbers_beside_the_table(catalog, protocol, results, add_run):
    write_json(add_run("giou") / "mechanism.json", "mechanism/1", content(40.0))
    said = {"mechanisms": [{"tables": ["giou-T5"], "text": "RoIs <overlap> theirs."}]}
    explained = Protocol.model_validate(protocol.model_dump() | said)
    page = write_report(catalog, explained, results, ["giou-T5", "libra-T1"]).read_text()
    assert page.count("RoIs &lt;overlap&gt; theirs.") == 1
    assert 'data-table="giou-T5-roi_levels"' in page
    assert 'data-table="libra-T1-roi_levels"' not in page
    assert "What the claims rest on here" not in write_report(catalog, protocol, results, ["giou-T5"]).read_text()


@pytest.mark.parametrize("value", ["much", None, 1e999])
def test_a_broken_file_is_named(value, catalog, protocol, results, add_run):
    broken = content(40.0)
    broken["measures"][0]["values"]["test"]["P2"] = value
    path = add_run("giou") / "mechanism.json"
    path.write_text(json.dumps({"schema": "mechanism/1", **broken}))
    with pytest.raises(ResultError, match=r"mechanism\.json: .*run `detect` again"):
        measured(compare(catalog, "giou-T5", protocol, results))
