"""JSON Schemas of the files of a folder of configs, for editors.

They are derived from the records that read the files. Added by hand is only what a record's validators do before its
fields are checked; what is checked between fields and files (``checks``) is no part of a schema.
"""

from __future__ import annotations

from typing import Any

from replication.catalog.commands import CommandLeaf
from replication.catalog.papers import Paper
from replication.catalog.protocols import META_ARCHITECTURES, Protocol
from replication.catalog.records import Record
from replication.catalog.variants import BASE_KEY, DEFAULTS, OWN_DEFAULTS

DRAFT = "http://json-schema.org/draft-07/schema#"
"""What most editors know."""

SECTIONS = ("MODEL", "INPUT", "DATASETS", "DATALOADER", "SOLVER", "TEST", "GLOBAL")
"""Sections of a Detectron2 config."""
VALUES = ("VERSION", "OUTPUT_DIR", "SEED", "CUDNN_BENCHMARK", "FLOAT32_PRECISION", "VIS_PERIOD")
"""Its plain values."""
_TYPES = {str: "string", int: "integer", bool: "boolean"}


def record_schema(record: type[Record]) -> dict[str, Any]:
    """The schema of a record as its file holds it."""
    schema: dict[str, Any] = _plain(record.model_json_schema())
    return {"$schema": DRAFT, **schema}


def paper_schema() -> dict[str, Any]:
    """``papers/*.yaml``. Columns take their table's unit, and claims the paper's id, when they say none."""
    schema = record_schema(Paper)
    parts = schema["$defs"]
    parts["Column"]["required"].remove("unit")
    parts["Claim"]["required"].remove("paper")
    parts["Row"]["required"].remove("published")
    parts["Table"] |= {
        "if": {"properties": {"beyond": {"const": True}}, "required": ["beyond"]},
        "else": {"properties": {"rows": {"items": {"required": ["published"]}}}},
    }
    return schema


def protocol_schema() -> dict[str, Any]:
    """``protocols/*.yaml``. A split of one part need not be a list."""
    schema = record_schema(Protocol)
    parts, fields = schema["$defs"], schema["properties"]
    for kind in ("CocoData", "YoloData"):
        for split in ("train", "val"):
            field = parts[kind]["properties"][split]
            listed = next(one for one in field.get("anyOf", [field]) if one.get("type") == "array")
            single = {"anyOf": [listed["items"], *field.get("anyOf", [field])]}
            parts[kind]["properties"][split] = {"title": field["title"], **single}
    for name, more in (("batches", ()), ("iterations", ()), ("overrides", ("all",))):
        fields[name]["propertyNames"] = {"enum": [*META_ARCHITECTURES, *more]}
    return schema


def variant_schema() -> dict[str, Any]:
    """``variants/*.yaml``: keys of Detectron2 over those of a base, or a command."""
    command = record_schema(CommandLeaf)
    base = {"description": "A file to start from, or several.", "anyOf": [_text(), {"type": "array", "items": _text()}]}
    command["properties"][BASE_KEY] = base
    command["required"] = ["run"]  # the others may be those of the base
    properties: dict[str, Any] = {BASE_KEY: base, **{name: {"type": "object"} for name in SECTIONS}}
    properties |= {name: {} for name in VALUES}
    for key, value in (DEFAULTS | OWN_DEFAULTS).items():
        _place(properties, key.split("."), {"type": _TYPES[type(value)]})
    return {
        "$schema": DRAFT,
        "title": "Variant",
        "type": "object",
        "if": {"required": ["run"]},
        "then": {key: value for key, value in command.items() if key != "$schema"},
        "else": {"type": "object", "properties": properties, "additionalProperties": False},
    }


def _text() -> dict[str, Any]:
    return {"type": "string"}


def _place(properties: dict[str, Any], key: list[str], schema: dict[str, Any]) -> None:
    *sections, last = key
    for name in sections:
        section = properties.setdefault(name, {"type": "object"})
        properties = section.setdefault("properties", {})
    properties[last] = schema


def _plain(schema: Any) -> Any:
    """In the words of draft 7, whose ``items`` may be a list: it does not know ``prefixItems``."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _plain(value) for key, value in schema.items() if key not in ("prefixItems", "discriminator")}
    if "prefixItems" in schema:
        plain["items"] = _plain(schema["prefixItems"])
    return plain
