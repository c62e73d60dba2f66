"""What is wrong in a paper's file is said with file, table, row and field."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from support.paper_problems import PROBLEMS

from replication.catalog import Column, load_catalog
from replication.errors import ConfigError


@pytest.mark.parametrize("problem", PROBLEMS)
def test_each_problem_is_named(configs: Any, problem: str) -> None:
    spoil, words = PROBLEMS[problem]
    spoil(configs)
    with pytest.raises(ConfigError) as caught:
        load_catalog(configs.write())
    assert words in str(caught.value)
    assert all(line.startswith(str(configs.folder / "papers" / "toy.yaml")) for line in str(caught.value).splitlines())


def test_the_toy_is_right(configs: Any) -> None:
    catalog = load_catalog(configs.write())
    table = catalog.tables["toy-T1"]
    assert [row.baseline for row in table.rows] == [None, "old", None, "old"]
    assert [column.unit for column in table.columns] == ["percent", "ms"]
    assert [catalog.row_state(row) for row in table.rows] == ["cited", "built", "built", "planned"]
    assert [catalog.claim_state(claim) for claim in catalog.papers["toy"].claims] == ["built", "built"]
    later = catalog.papers["toy"].claims[0].model_copy(update={"row": "big"})
    assert catalog.claim_state(later) == "planned"
    assert table.shows_latency
    assert catalog.papers["toy"].claims[0].paper == "toy"
    assert catalog.papers["toy"].primary_column("toy-T1", "new") == "AP"
    assert catalog.papers["toy"].primary_column("toy-T1", "big") is None


def test_all_problems_at_once(configs: Any) -> None:
    configs.row("new")["published"]["AP60"] = 1.0
    configs.row("old")["backbone"] = "R-102"
    with pytest.raises(ConfigError) as caught:
        load_catalog(configs.write())
    assert "row new: published: 'AP60'" in str(caught.value)
    assert "row old: backbone: 'R-102'" in str(caught.value)


def test_table_id_of_another_paper(configs: Any) -> None:
    configs.others["zoo"] = configs.paper | {"id": "zoo", "deviations": []}
    with pytest.raises(ConfigError, match=r"zoo\.yaml: tables: id 'toy-T1' is also used in .*toy\.yaml"):
        load_catalog(configs.write())


def test_one_variant_has_one_backbone_in_all_papers(configs: Any) -> None:
    row = configs.row("big") | {"backbone": "R-50"}
    table = configs.table | {"id": "zoo-T1", "rows": [row], "baseline": None}
    configs.others["zoo"] = configs.paper | {"id": "zoo", "tables": [table], "claims": [], "deviations": []}
    with pytest.raises(ConfigError, match=r"zoo\.yaml: table zoo-T1: row big: backbone: 'R-50', but variant big_R101"):
        load_catalog(configs.write())


def test_broken_yaml(configs: Any) -> None:
    folder = configs.write()
    (folder / "papers" / "toy.yaml").write_text("id: [unclosed")
    with pytest.raises(ConfigError, match=r"toy\.yaml: not readable as YAML"):
        load_catalog(folder)


def test_key_given_twice(configs: Any) -> None:
    folder = configs.write()
    path = folder / "papers" / "toy.yaml"
    path.write_text(path.read_text().replace("  unit: percent\n", "  unit: percent\n  unit: fraction\n", 1))
    with pytest.raises(ConfigError, match=r"toy\.yaml: not readable as YAML: key 'unit' is given twice"):
        load_catalog(folder)


def test_list_instead_of_mapping(configs: Any) -> None:
    folder = configs.write()
    (folder / "papers" / "toy.yaml").write_text("- id: toy\n")
    with pytest.raises(ConfigError, match="expected a mapping of keys to values, found list"):
        load_catalog(folder)


@pytest.mark.parametrize("field", ["tables", "claims"])
def test_text_where_a_list_belongs(configs: Any, field: str) -> None:
    configs.paper[field] = "none"
    with pytest.raises(ConfigError, match=rf"toy\.yaml: {field}: Input should be a valid tuple"):
        load_catalog(configs.write())


def test_no_papers(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match="no paper files"):
        load_catalog(tmp_path)


def test_records_are_frozen(configs: Any) -> None:
    row = load_catalog(configs.write()).tables["toy-T1"].rows[1]
    with pytest.raises(ValidationError, match="frozen"):
        row.label = "Other"


@pytest.mark.parametrize(
    ("metric", "criterion", "state"),
    [
        ("AP", "iou", "built"),
        ("APl", "iou", "built"),
        ("AP75", "giou", "built"),
        ("ms_per_image", None, "built"),
        ("AR100", "iou", "built"),
        ("AR100", "giou", "planned"),
    ],
)
def test_state_of_a_column(metric: Any, criterion: Any, state: str) -> None:
    unit: Any = "ms" if criterion is None else "percent"
    assert Column(id="x", head="x", metric=metric, criterion=criterion, unit=unit).state == state


def test_protocol_file_under_another_name(configs: Any) -> None:
    folder = configs.write()
    (folder / "protocols").mkdir()
    (folder / "protocols" / "small.yaml").write_text(
        "{name: toy, title: Toy, data: {kind: embedded, seed: 0, train: 1, val: 1, size: [64, 64]}, batch: 1,"
        " tables: [toy-T1], checkpoint_every: 1}"
    )
    with pytest.raises(ConfigError, match=r"small\.yaml: name: is 'toy' but the file is named 'small'"):
        load_catalog(folder)
