"""The papers, variants and protocols of ``configs/`` and of users' own folders as typed, frozen records."""

from replication.catalog.folders import CONFIGS, config_folders
from replication.catalog.judging import Judging, load_judging
from replication.catalog.listing import catalog_json, catalog_overview, catalog_table
from replication.catalog.load import Catalog, load_catalog, load_protocol
from replication.catalog.mechanisms import mechanisms
from replication.catalog.papers import (
    BACKBONES,
    BUILT_METRICS,
    Claim,
    Column,
    Deviation,
    FigureData,
    Paper,
    Row,
    Table,
)
from replication.catalog.protocols import AreaRanges, CocoData, EmbeddedData, Protocol, VocData, YoloData
from replication.catalog.select import select
from replication.catalog.variants import Variant
from replication.catalog.withdrawn import not_testable, withdrawn

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
    "FigureData",
    "Judging",
    "Paper",
    "Protocol",
    "Row",
    "Table",
    "Variant",
    "VocData",
    "YoloData",
    "catalog_json",
    "catalog_overview",
    "catalog_table",
    "config_folders",
    "load_catalog",
    "load_judging",
    "load_protocol",
    "mechanisms",
    "not_testable",
    "select",
    "withdrawn",
]
