"""What may be wrong in a paper's file, as changes of the toy paper, each with the words of its error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


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
