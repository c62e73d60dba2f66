"""Which runs are needed: order, filters, and choices that cannot be met."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from replication.catalog import Catalog, Variant, load_catalog, select
from replication.errors import ConfigError


@pytest.fixture
def catalog(configs: Any) -> Catalog:
    second = configs.table | {"id": "toy-T2", "baseline": "big", "rows": configs.table["rows"]}
    voc = configs.table | {"id": "toy-T3", "benchmark": "voc2007"}
    configs.paper["tables"] += [second, voc]
    configs.variants["big_R101"] = {"_BASE_": "Base-Toy.yaml", "MODEL": {"RESNETS": {"DEPTH": 101}}}
    return load_catalog(configs.write())


def names(runs: list[tuple[Variant, int]]) -> list[tuple[str, int]]:
    return [(variant.name, seed) for variant, seed in runs]


def test_baselines_come_first_then_row_order(catalog: Catalog, make_protocol: Callable[..., Any]) -> None:
    assert names(select(catalog, make_protocol())) == [("old_R50", 0), ("new_R50", 0), ("big_R101", 0)]
    assert names(select(catalog, make_protocol(), ["toy-T2"])) == [("big_R101", 0), ("new_R50", 0), ("old_R50", 0)]


def test_tables_in_the_order_asked_each_variant_once(catalog: Catalog, make_protocol: Callable[..., Any]) -> None:
    runs = select(catalog, make_protocol(), ["toy-T2", "toy-T1", "toy-T2"])
    assert names(runs) == [("big_R101", 0), ("new_R50", 0), ("old_R50", 0)]


def test_seeds_fill_a_table_one_after_the_other(catalog: Catalog, make_protocol: Callable[..., Any]) -> None:
    protocol = make_protocol(seeds=2)
    assert names(select(catalog, protocol, backbones=["R-50"])) == [
        ("old_R50", 0),
        ("new_R50", 0),
        ("old_R50", 1),
        ("new_R50", 1),
    ]
    assert len(select(catalog, protocol, seeds=5)) == 15


def test_backbones_of_the_protocol_unless_asked(catalog: Catalog, make_protocol: Callable[..., Any]) -> None:
    protocol = make_protocol(run_backbones=["R-101"])
    assert names(select(catalog, protocol)) == [("big_R101", 0)]
    assert names(select(catalog, protocol, backbones=["R-50"])) == [("old_R50", 0), ("new_R50", 0)]


def test_planned_rows_are_left_out(configs: Any, make_protocol: Callable[..., Any]) -> None:
    catalog = load_catalog(configs.write())
    assert names(select(catalog, make_protocol())) == [("old_R50", 0), ("new_R50", 0)]


def test_nothing_built(configs: Any, make_protocol: Callable[..., Any]) -> None:
    del configs.variants["new_R50"], configs.variants["old_R50"]
    with pytest.raises(ConfigError, match=r"no built row of tables toy-T1 has backbone"):
        select(load_catalog(configs.write()), make_protocol())


def test_unknown_table(catalog: Catalog, make_protocol: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match=r"table 'toy-T9' is unknown; .*known tables: toy-T1, toy-T2, toy-T3"):
        select(catalog, make_protocol(), ["toy-T9"])


def test_table_of_another_benchmark(catalog: Catalog, make_protocol: Callable[..., Any]) -> None:
    protocol = make_protocol(benchmark="coco")
    with pytest.raises(ConfigError, match=r"table toy-T3 is of benchmark voc2007, .* its tables: toy-T1, toy-T2"):
        select(catalog, protocol, ["toy-T3"])
    assert select(catalog, make_protocol(), ["toy-T3"]), "a protocol without a benchmark of its own takes every table"


@pytest.mark.parametrize("seeds", [0, -1])
def test_no_seeds(catalog: Catalog, make_protocol: Callable[..., Any], seeds: int) -> None:
    with pytest.raises(ConfigError, match=f"at least 1, found {seeds}"):
        select(catalog, make_protocol(), seeds=seeds)


def test_unknown_backbone(catalog: Catalog, make_protocol: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="run_backbones: R-18: unknown; known: R-50, R-101, X-101-64x4d, D-53"):
        select(catalog, make_protocol(run_backbones=["R-18", "R-50"]))


def test_no_tables(catalog: Catalog, make_protocol: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match=r"no built row of tables \(none\)"):
        select(catalog, make_protocol(), [])


def test_every_shipped_protocol_selects_runs() -> None:
    catalog = load_catalog()
    for protocol in catalog.protocols.values():
        runs = select(catalog, protocol)
        assert len(runs) == len(set(runs))
        assert {variant.name for variant, _ in runs} <= set(catalog.variants)


def test_the_tables_of_the_first_experiments(make_protocol: Callable[..., Any]) -> None:
    """GIoU's two COCO validation tables and the R-50 baselines: six trainings and two more, GIoU's baselines first."""
    catalog = load_catalog()
    tables = ["giou-T5", "giou-T7", "fsaf-T1", "libra-T1"]
    runs = select(catalog, make_protocol(benchmark="coco"), tables, backbones=["R-50"])
    assert [variant.name for variant, _ in runs][:6] == [
        f"{kind}_rcnn_R50_{loss}" for kind in ("faster", "mask") for loss in ("smooth_l1", "iou", "giou")
    ]
    assert {"retinanet_R50", "faster_rcnn_R50"} <= {variant.name for variant, _ in runs[6:]}
