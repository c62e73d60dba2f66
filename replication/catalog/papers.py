"""The papers' tables, claims and deviations as printed: one file per paper in ``configs/papers``.

Published numbers keep the unit in which the paper prints them; ``Column.unit`` names it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from replication.catalog.protocols import Benchmark
from replication.catalog.records import Record, parse, read_yaml

Unit = Literal["fraction", "percent", "ms"]
Metric = Literal["AP", "AP50", "AP75", "APs", "APm", "APl", "AR100", "AR300", "AR1000", "ms_per_image"]
Criterion = Literal["iou", "giou"]
State = Literal["built", "planned", "cited"]
Control = Literal["loss", "equal"]
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
"""Stands in names of files and in anchors of the page."""
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]

BACKBONES = ("R-50", "R-101", "X-101-64x4d", "D-53")
"""Labels of the backbones that the papers' own rows use: ResNets, ResNeXt-101 64x4d, DarkNet-53."""

BUILT_METRICS: frozenset[tuple[str, str | None]] = frozenset(
    {
        ("ms_per_image", None),
        *((metric, "iou") for metric in ("AR100", "AR300", "AR1000")),
        *((ap, criterion) for ap in ("AP", "AP50", "AP75", "APs", "APm", "APl") for criterion in ("iou", "giou")),
    }
)
"""The (metric, criterion) pairs that ``replication.evaluation`` and ``timing`` measure; all others are planned."""


class Column(Record):
    """One number column. ``head`` is its printed head, ``criterion`` the overlap by which detections are matched.

    Box AP and AR throughout. ``criterion`` is null for latency, which is in ``ms`` per image, lower being better.
    """

    id: str
    head: str
    metric: Metric
    criterion: Criterion | None
    unit: Unit

    @property
    def state(self) -> State:
        """``planned`` when nothing here measures it yet."""
        return "built" if (self.metric, self.criterion) in BUILT_METRICS else "planned"

    @property
    def lower_is_better(self) -> bool:
        """True of latency only."""
        return self.metric == "ms_per_image"


class Row(Record):
    """One row as printed.

    ``variant`` names what measures it; a ``cited`` row is quoted by the paper from others, has none and is never run.
    ``settings`` are the printed columns that are not measurements, e.g. check marks. ``baseline`` is the row of the
    same table that the difference columns subtract; a row that does not say takes the table's. ``published`` has
    one entry a column, null where the paper prints none.

    ``control`` makes it a control: the outcome that is known beforehand when it is judged against its baseline, a loss
    or none at all. Only in a table beyond the paper.
    """

    id: str
    label: str
    backbone: str
    schedule: str | None = None
    settings: dict[str, bool | int | str] = Field(default_factory=dict)
    cited: bool = False
    variant: str | None = None
    baseline: str | None = None
    published: dict[str, Number | None]
    control: Control | None = None
    note: str = ""


class Elsewhere(Record):
    """Numbers that others published for a table's detector, as context: not the paper's, and never run here.

    ``settings`` are data and input size in words, ``values`` the metrics in percent, ``note`` what differs otherwise.
    """

    who: str
    settings: str
    values: dict[Metric, Number] = Field(min_length=1)
    source: str
    note: str = ""


class Table(Record):
    """One table. ``split``, ``criterion``, ``backbone`` and ``schedule`` are text as the paper has it.

    ``test_server`` marks numbers of an evaluation server with withheld annotations: ours are then of the protocol's
    own validation split and not comparable in absolute value. ``seen_via`` says how the numbers were read. ``costs``
    asks for the latency of its rows though the paper prints none. ``beyond`` marks a table that is not the
    paper's: its rows say nothing of ``published``, and no claim is on it. ``elsewhere`` is shown under it as context.
    """

    id: Id
    caption: str
    dataset: str
    benchmark: Benchmark
    split: str
    test_server: bool = False
    unit: Unit
    criterion: str
    backbone: str | None = None
    schedule: str | None = None
    costs: bool = False
    beyond: bool = False
    source: tuple[str, ...] = Field(min_length=1)
    seen_via: tuple[str, ...] = Field(min_length=1)
    note: str = ""
    columns: tuple[Column, ...] = Field(min_length=1)
    baseline: str | None = None
    rows: tuple[Row, ...] = Field(min_length=1)
    elsewhere: tuple[Elsewhere, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, content: Any) -> Any:
        """Give each column the table's unit and each own row the table's baseline where they say nothing.

        Of a table beyond the paper no row has a published number.
        """
        if not isinstance(content, dict):
            return content
        columns, rows = content.get("columns"), content.get("rows")
        filled = dict(content)
        if isinstance(columns, list) and "unit" in content:
            filled["columns"] = [_with(column, "unit", content["unit"]) for column in columns]
        if isinstance(rows, list) and content.get("baseline") is not None:
            base = content["baseline"]
            rows = [row if _is_reference(row, base) else _with(row, "baseline", base) for row in rows]
        if isinstance(rows, list) and content.get("beyond") is True and isinstance(columns, list):
            nothing = {column["id"]: None for column in columns if isinstance(column, dict) and "id" in column}
            rows = [_with(row, "published", nothing) for row in rows]
        return filled | ({"rows": rows} if isinstance(rows, list) else {})

    def row(self, row_id: str) -> Row:
        """The row of that id; KeyError when there is none (papers that load have no such reference)."""
        return {row.id: row for row in self.rows}[row_id]

    @property
    def shows_latency(self) -> bool:
        """Whether a column is in ms per image."""
        return any(column.lower_is_better for column in self.columns)

    @property
    def timed(self) -> bool:
        """Whether its rows are timed."""
        return self.costs or self.shows_latency

    def column(self, column_id: str) -> Column:
        """The column of that id; KeyError when there is none."""
        return {column.id: column for column in self.columns}[column_id]


def _with(entry: Any, key: str, value: Any) -> Any:
    return {key: value, **entry} if isinstance(entry, dict) else entry


def _is_reference(row: Any, baseline: str) -> bool:
    return isinstance(row, dict) and (row.get("id") == baseline or row.get("cited") is True)


class Claim(Record):
    """A gain: ``row`` minus ``baseline`` in ``column`` of ``table`` is ``gain``, in the column's unit.

    Each comparison (two rows) has at least one ``primary`` column: those claims are the verdicts. ``stated`` is the
    gain as the paper prints it (GIoU: relative improvement); null when only the two rows say it.
    """

    id: str
    paper: str
    table: str
    baseline: str
    row: str
    column: str
    gain: Number
    primary: bool = False
    stated: str | None = None


class Deviation(Record):
    """A place where we knowingly differ from a paper, or had to choose because its sources disagree or are silent."""

    id: str
    paper_says: str
    code_does: str
    we_do: str
    reason: str
    source: str
    variants: tuple[str, ...] = Field(min_length=1)


class FigureData(Record):
    """Data of a figure that only this paper has, computed apart from training and evaluation.

    ``variant`` and ``seed`` name the trained run that they are computed from; without a variant no run is needed.
    """

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    variant: str | None = None
    seed: int = Field(default=0, ge=0)


class Paper(Record):
    """One paper: its tables with every row, its claims, the ledger of deviations, and the data of its own figures."""

    id: Id
    title: str
    arxiv: str
    venue: str
    tables: tuple[Table, ...] = Field(min_length=1)
    claims: tuple[Claim, ...]
    deviations: tuple[Deviation, ...]
    figure_data: tuple[FigureData, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _name_claims(cls, content: Any) -> Any:
        """Write the paper's id into its claims."""
        if not isinstance(content, dict) or not isinstance(content.get("claims"), list) or "id" not in content:
            return content
        return content | {"claims": [_with(claim, "paper", content["id"]) for claim in content["claims"]]}

    def table(self, table_id: str) -> Table:
        """The table of that id; KeyError when there is none."""
        return {table.id: table for table in self.tables}[table_id]

    def primary_column(self, table_id: str, row_id: str) -> str | None:
        """The first primary column of a row against its own baseline; None when the paper claims nothing there."""
        baseline = self.table(table_id).row(row_id).baseline
        for claim in self.claims:
            if claim.primary and (claim.table, claim.row, claim.baseline) == (table_id, row_id, baseline):
                return claim.column
        return None


def read_paper(path: Path) -> Paper:
    """The paper of one YAML file, types checked but not cross-references (``checks.check_paper`` does those)."""
    return parse(Paper, read_yaml(path), path)
