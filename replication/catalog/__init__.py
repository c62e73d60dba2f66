"""The papers, variants and protocols of ``configs/`` as typed, frozen records."""

from replication.catalog.judging import Judging, load_judging
from replication.catalog.listing import catalog_json, catalog_table
from replication.catalog.load import Catalog, load_catalog
from replication.catalog.papers import (
    BACKBONES,
    BUILT_METRICS,
    Claim,
    Column,
    Deviation,
    Paper,
    Row,
    Table,
)
from replication.catalog.protocols import AreaRanges, CocoData, EmbeddedData, Protocol, VocData, YoloData, load_protocol
from replication.catalog.records import CONFIGS
from replication.catalog.select import Run, select
from replication.catalog.variants import Variant

__all__ = [
    "BACKBONES",
    "BUILT_METRICS",
    "CONFIGS",
    "AreaRanges",
    "Catalog",
    "Claim",
    "CocoData",
    "Column",
    "Deviation",
    "EmbeddedData",
    "Judging",
    "Paper",
    "Protocol",
    "Row",
    "Run",
    "Table",
    "Variant",
    "VocData",
    "YoloData",
    "catalog_json",
    "catalog_table",
    "load_catalog",
    "load_judging",
    "load_protocol",
    "select",
]
