"""The finished runs of a protocol as entries of a model zoo: one per variant, whatever the form it is written in."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from replication.catalog import BUILT_METRICS, Catalog, Paper, Protocol, Table
from replication.errors import ResultError
from replication.evaluation.runs import CRITERIA
from replication.report.cells import compare_all
from replication.report.head import split_text, warning
from replication.results.finished import FinishedRun
from replication.results.layout import Layout
from replication.results.schemas import Provenance

Task = Literal["Object Detection", "Instance Segmentation"]

BENCHMARKS = {"coco": "COCO", "voc2007": "PASCAL VOC 2007"}


@dataclass(frozen=True)
class Number:
    """One metric of a variant: ``values`` on 0-100, one per run, in the order of the seeds."""

    task: Task
    metric: str
    criterion: str
    label: str
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the runs; of a single run its very value."""
        return statistics.fmean(self.values)

    @property
    def sd(self) -> float | None:
        """Sample standard deviation; None below two runs."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Entry:
    """One variant under one protocol: its runs by seed, their numbers, and the papers' tables that it stands in."""

    variant: str
    protocol: Protocol
    runs: tuple[FinishedRun, ...]
    numbers: tuple[Number, ...]
    tables: tuple[tuple[Paper, Table], ...]

    @property
    def name(self) -> str:
        """Of the model: under another protocol the variant is another one."""
        return f"{self.variant}_{self.protocol.name}"

    @property
    def seeds(self) -> list[int]:
        """Of the runs."""
        return [run.seed for run in self.runs]

    @property
    def provenance(self) -> dict[str, Any]:
        """What made the runs. The seeds of a variant share config, data and training code, not always the commit."""
        facts = self.runs[0].provenance
        return {
            "config_hash": facts.config_hash,
            "data_hash": facts.data_hash,
            "fingerprint": facts.fingerprint,
            **({"weights_from": facts.weights_from} if facts.weights_from else {}),
            **({"made_elsewhere": foreign} if (foreign := self._elsewhere) else {}),
            "commits": list(dict.fromkeys(text for run in self.runs if (text := _commit(run.provenance)))),
        }

    @property
    def _elsewhere(self) -> dict[int, str]:
        """Seed -> by whom, of the runs that were made elsewhere."""
        return {run.seed: made.made_by or "unknown" for run in self.runs if (made := run.provenance.elsewhere)}

    @property
    def published_in(self) -> dict[str, str]:
        """Table id -> the paper, by arXiv id and title."""
        return {table.id: f"arXiv:{paper.arxiv}, {paper.title}" for paper, table in self.tables}

    @property
    def note(self) -> str:
        """What must not be compared with the tables; empty when all may."""
        return " ".join(dict.fromkeys(filter(None, (warning(table, self.protocol) for _, table in self.tables))))


def entries(catalog: Catalog, protocol: Protocol, results: Path, tables: Sequence[str]) -> list[Entry]:
    """An entry for every variant of ``tables`` that has finished runs, in the order of the tables' rows.

    Raises ConfigError for an unknown table, ResultError for runs that must not be mixed and where none has finished.
    """
    runs: dict[str, tuple[FinishedRun, ...]] = {}
    for comparison in compare_all(catalog, tables, protocol, results):
        runs.update({line.row.variant: line.runs for line in comparison.lines if line.row.variant and line.runs})
    if not runs:
        raise ResultError(
            f"{Layout(results, protocol.name).runs}: no finished run of a variant of {', '.join(tables)}; "
            "train, detect and evaluate first, or choose other --tables"
        )
    return [
        Entry(variant, protocol, own, tuple(_numbers(own, protocol)), _tables(catalog, protocol, variant))
        for variant, own in runs.items()
    ]


def dataset_name(protocol: Protocol) -> str:
    """The benchmark's own name only at the papers' scale; under any other protocol the protocol's."""
    if protocol.published_scale and protocol.benchmark is not None:
        return f"{BENCHMARKS[protocol.benchmark]} {val_name(protocol)}"
    return f"protocol {protocol.name}: {split_text(protocol)}"


def val_name(protocol: Protocol) -> str:
    """The validation split by its own name: ``val2017`` of ``instances_val2017.json``, VOC's ``test``."""
    return protocol.data.set_name("val")


def _numbers(runs: Sequence[FinishedRun], protocol: Protocol) -> Iterator[Number]:
    criterion, by_giou = CRITERIA[protocol.benchmark or "coco"]
    built = {metric for metric, _ in BUILT_METRICS}
    kinds: tuple[tuple[Task, str, str, str, list[dict[str, float | None]]], ...] = (
        ("Object Detection", criterion, "box ", "", [run.metrics for run in runs]),
        ("Object Detection", by_giou, "box ", " by GIoU", [run.giou_metrics for run in runs]),
        ("Instance Segmentation", "iou", "mask ", "", [run.mask_metrics or {} for run in runs]),
    )
    for task, name, before, after, metrics in kinds:
        for metric in (name for name in metrics[0] if name in built):
            values = [value for one in metrics if (value := one.get(metric)) is not None]
            if len(values) == len(runs):
                yield Number(task, metric, name, f"{before}{metric}{after}", tuple(values))


def _tables(catalog: Catalog, protocol: Protocol, variant: str) -> tuple[tuple[Paper, Table], ...]:
    return tuple(
        (paper, table)
        for paper in catalog.papers.values()
        for table in paper.tables
        if protocol.benchmark in (None, table.benchmark) and any(row.variant == variant for row in table.rows)
    )


def _commit(provenance: Provenance) -> str:
    commit = provenance.commit or ""
    return f"{commit} (modified)" if commit and provenance.dirty else commit
