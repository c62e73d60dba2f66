"""Filters of `replication catalog`, in text and JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from replication import cli
from replication.catalog import catalog_json, catalog_overview, load_catalog, load_protocol
from replication.catalog.filters import Filters, listed
from replication.errors import ConfigError

CATALOG = load_catalog()


def shown(**filters: Any) -> dict[str, Any]:
    return catalog_json(CATALOG, listed(CATALOG, Filters(**filters)))


def rows(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(table["id"], row["id"]) for one in document["papers"] for table in one["tables"] for row in table["rows"]]


def test_the_overview_is_a_screenful() -> None:
    lines = catalog_overview(CATALOG).splitlines()
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 120
    text = "\n".join(lines)
    assert all(f" {name} " in text for name in CATALOG.tables)
    assert all(f"\n{name} " in text for name in CATALOG.protocols)


def test_a_paper_is_shown_whole_and_alone() -> None:
    document, whole = shown(papers=("giou",)), catalog_json(CATALOG)
    assert document["papers"] == [paper for paper in whole["papers"] if paper["id"] == "giou"]
    assert {one["name"] for one in document["protocols"]} >= {"mini", "paper"}
    named = {row.variant for table in CATALOG.papers["giou"].tables for row in table.rows}
    assert {one["name"] for one in document["variants"]} == named


def test_filters_are_combined() -> None:
    document = shown(papers=("giou",), tables=("giou-T5", "giou-T7"), variants=("faster_rcnn_R50_giou",))
    assert rows(document) == [("giou-T5", "giou")]
    claims = document["papers"][0]["claims"]
    assert claims
    assert all("giou" in (claim["row"], claim["baseline"]) and claim["table"] == "giou-T5" for claim in claims)


def test_a_variant_shows_its_rows_its_claims_and_its_deviations() -> None:
    document = shown(variants=("fsaf_R50_joint",))
    assert rows(document) == [("fsaf-T1", "joint_online"), ("fsaf-T2", "joint_r50")]
    assert [one["name"] for one in document["variants"]] == ["fsaf_R50_joint"]
    assert all("fsaf_R50_joint" in one["variants"] for one in document["papers"][0]["deviations"])


def test_a_variant_in_no_table_is_shown_too() -> None:
    alone = CATALOG.variants["retinanet_R50"].model_copy(update={"name": "alone"})
    catalog = CATALOG.model_copy(update={"variants": {**CATALOG.variants, "alone": alone}})
    found = listed(catalog, Filters(variants=("alone",)))
    assert (found.papers, found.variants, found.protocols) == ((), ("alone",), ())


def test_a_protocol_shows_the_tables_that_it_plans() -> None:
    protocol = load_protocol("smoke")
    document = shown(protocol=protocol)
    assert {table for table, _ in rows(document)} == set(protocol.tables)
    assert [one["name"] for one in document["protocols"]] == ["smoke"]


def test_a_state_is_that_of_rows_claims_and_variants() -> None:
    document = shown(state="cited")
    tables = [table for paper in document["papers"] for table in paper["tables"]]
    assert {row["state"] for table in tables for row in table["rows"]} == {"cited"}
    assert document["variants"] == []
    assert not any(paper["claims"] for paper in document["papers"])


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"papers": ("gio",)}, "paper 'gio' is unknown; did you mean giou"),
        ({"tables": ("giou-T55",)}, "table 'giou-T55' is unknown; did you mean giou-T5"),
        ({"variants": ("fsaf_R5",)}, "variant 'fsaf_R5' is unknown; did you mean"),
        ({"papers": ("giou",), "tables": ("fsaf-T1",)}, "nothing passes all of these filters; leave one out"),
    ],
)
def test_what_is_not_there_is_an_error(filters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        listed(CATALOG, Filters(**filters))


def test_the_command_takes_filters_in_both_forms(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["catalog", "--tables", "giou-T5"]) == 0
    text = capsys.readouterr().out
    assert "giou-T5: " in text
    assert "giou-T7: " not in text
    assert "Claims of giou" in text
    assert cli.main(["catalog", "--tables", "giou-T5", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(shown(tables=("giou-T5",))))
    assert cli.main(["catalog", "--all"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 500
    assert cli.main(["catalog", "--paper", "nobody"]) == 2
    assert capsys.readouterr().err.startswith("error: paper 'nobody' is unknown")
