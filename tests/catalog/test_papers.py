"""What is wrong in a paper's file is said with file, table, row and field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from replication.catalog import Column, load_catalog
from replication.errors import ConfigError


def change(path: str, value: Any) -> Callable[[Any], None]:
    """A change of one field of the toy paper: dotted path, list entries by their id; DELETE removes."""

    def apply(configs: Any) -> None:
        node = configs.paper
        *parts, last = path.split(".")
        for part in parts:
            node = next(e for e in node if e["id"] == part) if isinstance(node, list) else node[part]
        if value is DELETE:
            del node[last]
        else:
            node[last] = value

    return apply


DELETE = object()
TABLE = "tables.toy-T1"
ROWS = f"{TABLE}.rows"
PROBLEMS = {
    "unknown key": (change(f"{ROWS}.new.colour", "red"), "tables[toy-T1].rows[new].colour: Extra inputs"),
    "unknown key of a paper": (change("colour", "red"), "toy.yaml: colour: Extra inputs"),
    "missing field": (change(f"{TABLE}.split", DELETE), "tables[toy-T1].split: Field required"),
    "wrong type": (
        change(f"{ROWS}.new.published.AP", "high"),
        "rows[new].published.AP: Input should be a valid number",
    ),
    "number in quotes": (change(f"{ROWS}.new.published.AP", "37.5"), "rows[new].published.AP: Input should be a valid"),
    "truth for a number": (change(f"{ROWS}.new.published.AP", True), "rows[new].published.AP: Input should be a valid"),
    "not a number": (change(f"{ROWS}.new.published.AP", float("nan")), "rows[new].published.AP: Input should be a fin"),
    "unknown metric": (change(f"{TABLE}.columns.AP.metric", "mAP"), "columns[AP].metric: Input should be 'AP', 'AP50'"),
    "unknown benchmark": (change(f"{TABLE}.benchmark", "lvis"), "tables[toy-T1].benchmark: Input should be 'coco'"),
    "missing column": (
        change(f"{ROWS}.new.published", {"AP": 37.5}),
        "table toy-T1: row new: published: column 'time' is missing",
    ),
    "unknown column": (
        change(f"{ROWS}.new.published.AP60", 1.0),
        "table toy-T1: row new: published: 'AP60' is not a column of this table; known: AP, time",
    ),
    "wrong scale": (change(f"{ROWS}.old.published.AP", 350.0), "row old: published.AP: 350.0 is outside 0 to 100"),
    "duplicate row": (change(f"{ROWS}.new.id", "old"), "table toy-T1: rows: id 'old' is used 2 times"),
    "duplicate column": (change(f"{TABLE}.columns.time.id", "AP"), "table toy-T1: columns: id 'AP' is used 2 times"),
    "duplicate claim": (change("claims.c2.id", "c1"), "claims: id 'c1' is used 2 times"),
    "unknown baseline of a table": (change(f"{TABLE}.baseline", "older"), "table toy-T1: baseline: there is no row"),
    "unknown baseline of a row": (
        change(f"{ROWS}.new.baseline", "older"),
        "table toy-T1: row new: baseline: there is no row 'older'; known: quoted, new, old, big",
    ),
    "own baseline": (change(f"{ROWS}.new.baseline", "new"), "row new: baseline: is the row itself"),
    "cited baseline": (change(f"{ROWS}.new.baseline", "quoted"), "row new: baseline: 'quoted': a cited row is not"),
    "numbers beyond the paper": (change(f"{TABLE}.beyond", True), "row new: published: the paper has no such table"),
    "claims beyond the paper": (change(f"{TABLE}.beyond", True), "claim c1: table toy-T1: is beyond the paper"),
    "control of a paper": (change(f"{ROWS}.new.control", "loss"), "row new: control: a paper's own row is no control"),
    "control without baseline": (change(f"{ROWS}.old.control", "loss"), "row old: control: needs a baseline that"),
    "unknown outcome": (change(f"{ROWS}.new.control", "gain"), "rows[new].control: Input should be 'loss' or 'equal'"),
    "cited row with variant": (change(f"{ROWS}.quoted.variant", "yolo"), "row quoted: variant: 'yolo', but a cited"),
    "own row without variant": (change(f"{ROWS}.new.variant", DELETE), "row new: variant: an own row names"),
    "unknown backbone": (change(f"{ROWS}.big.backbone", "R-102"), "row big: backbone: 'R-102' is not a known label"),
    "backbone of the variant": (
        change(f"{ROWS}.new.backbone", "R-101"),
        "table toy-T1: row new: backbone: 'R-101', but variant new_R50 has 'R-50' in ",
    ),
    "latency in percent": (change(f"{TABLE}.columns.time.unit", "percent"), "table toy-T1: column time: ms_per_image"),
    "claimed table": (
        change("claims.c1.table", "toy-T9"),
        "claim c1: table: there is no table 'toy-T9'; known: toy-T1",
    ),
    "claimed row": (change("claims.c1.row", "newer"), "claim c1: table toy-T1: row: there is no row 'newer'"),
    "claim's baseline": (change("claims.c1.baseline", "older"), "claim c1: table toy-T1: baseline: there is no row"),
    "claimed column": (change("claims.c1.column", "AP99"), "claim c1: table toy-T1: row new: column: there is no col"),
    "gain": (
        change("claims.c1.gain", 2.4),
        "claim c1: table toy-T1: row new: gain: 2.4, but the rows give 37.5 - 35 = 2.5 in AP",
    ),
    "gain of the wrong sign": (change("claims.c2.gain", -10), "claim c2: table toy-T1: row new: gain: -10, but the"),
    "no primary": (change("claims.c1.primary", False), "table toy-T1: row new: primary: no claim over old is primary"),
    "claim on a cited row": (
        change("claims.c1.row", "quoted"),
        "claim c1: table toy-T1: row quoted: baseline: a claim",
    ),
    "claim without number": (
        change(f"{ROWS}.new.published.time", None),
        "claim c2: table toy-T1: row new: column: 'time' has no number",
    ),
    "deviation's variant": (change("deviations.d1.variants", ["gone"]), "deviation d1: variants: no row and no file"),
    "file name": (change("id", "toys"), "id: is 'toys' but the file is named 'toy'"),
}


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
