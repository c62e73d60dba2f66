"""What `replication catalog` prints."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from replication.catalog import catalog_json, catalog_table, load_catalog
from replication.catalog.listing import shown

PROTOCOL = (
    "{name: toy, title: Toy scale, data: {kind: embedded, seed: 0, train: 1, val: 1, size: [64, 64]}, batch: 1,"
    " tables: [toy-T1], checkpoint_every: 1}"
)


def listing(configs: Any) -> dict[str, Any]:
    folder = configs.write()
    (folder / "protocols").mkdir()
    (folder / "protocols" / "toy.yaml").write_text(PROTOCOL)
    content: dict[str, Any] = json.loads(json.dumps(catalog_json(load_catalog(folder)), allow_nan=False))
    return content


def test_json_carries_everything_with_its_state(configs: Any) -> None:
    content = listing(configs)
    assert content["schema"] == "catalog/1"
    paper = content["papers"][0]
    table = paper["tables"][0]
    assert [row["state"] for row in table["rows"]] == ["cited", "built", "built", "planned"]
    assert [column["state"] for column in table["columns"]] == ["built", "built"]
    assert [(claim["id"], claim["state"], claim["gain"]) for claim in paper["claims"]] == [
        ("c1", "built", 2.5),
        ("c2", "built", 10.0),
    ]
    assert table["rows"][1]["published"] == {"AP": 37.5, "time": 130.0}
    assert paper["deviations"][0]["we_do"] == "c"
    assert [protocol["name"] for protocol in content["protocols"]] == ["toy"]


def test_json_lists_built_and_planned_variants(configs: Any) -> None:
    variants = {variant["name"]: variant for variant in listing(configs)["variants"]}
    assert list(variants) == ["new_R50", "old_R50", "big_R101"]
    assert variants["new_R50"] == {
        "name": "new_R50",
        "state": "built",
        "backbone": "R-50",
        "rows": ["toy-T1/new"],
        "path": str(configs.folder / "variants" / "new_R50.yaml"),
        "meta_architecture": "RetinaNet",
        "iterations": 90000,
        "batch": 16,
        "masks": False,
        "proposals_from": "",
        "weights_from": "",
        "losses": [],
        "command": "",
    }
    assert (variants["big_R101"]["state"], variants["big_R101"]["path"]) == ("planned", None)
    assert variants["big_R101"]["backbone"] == "R-101"


def test_table_shows_rows_numbers_and_states(configs: Any) -> None:
    folder = configs.write()
    text = catalog_table(load_catalog(folder))
    lines = text.splitlines()
    assert lines[0] == (
        "1 papers, 1 tables, 4 rows (2 built, 1 planned, 1 cited), 2 variants built, 2 claims (2 can be judged)"
    )
    new = next(line.split() for line in lines if line.startswith("New"))
    assert new == ["New", "built", "R-50", "new_R50", "old", "37.5", "130"]
    big = next(line.split() for line in lines if line.startswith("Big"))
    assert big == ["Big", "planned", "R-101", "big_R101", "old", "39.0", "150"]
    claim = next(line.split() for line in lines if line.startswith("c1"))
    assert claim == ["c1", "built", "New", "Old", "AP", "+2.5", "*"]
    assert "ms/im" in text
    assert "(planned)" not in text
    assert "Deviations from toy" in text


def test_a_column_that_nothing_measures_is_planned(configs: Any) -> None:
    configs.table["columns"][0].update(metric="AR100", criterion="giou")
    assert "AP (planned)" in catalog_table(load_catalog(configs.write()))


def test_whole_shipped_catalog_prints() -> None:
    catalog = load_catalog()
    text = catalog_table(catalog)
    for table in catalog.tables.values():
        assert f"{table.id}: " in text
    assert len(catalog_json(catalog)["papers"]) == len(catalog.papers)


def test_numbers_keep_the_papers_decimals(configs: Any) -> None:
    columns = load_catalog(configs.write()).tables["toy-T1"].columns
    assert shown(37, columns[0]) == "37.0"
    assert shown(2.5, columns[0], sign=True) == "+2.5"
    assert shown(130.0, columns[1]) == "130"
    assert shown(None, columns[1]) == ""
    fraction = columns[0].model_copy(update={"unit": "fraction"})
    assert shown(0.36, fraction) == "0.360"


def test_catalog_needs_no_torch() -> None:
    code = (
        "import sys; from replication.catalog import load_catalog; load_catalog(); "
        "print([name for name in ('torch', 'detectron2', 'fvcore') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
