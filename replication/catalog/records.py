"""What all records of the catalog share: frozen, no unknown keys, errors that name file and field."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from replication.errors import ConfigError

try:
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # PyYAML built without libyaml: the same, slower
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]


class Record(BaseModel):
    """A frozen record read from a YAML file; an unknown key or a wrong type is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


R = TypeVar("R", bound=Record)


MAX_NODES = 100_000
"""Nodes of a file with every alias written out: a few lines of nested aliases may stand for billions."""


class _UniqueKeyLoader(_SafeLoader):
    """The safe loader, but a key written twice in one mapping is an error instead of a silent choice of the last.

    So is a file whose aliases stand for more than MAX_NODES nodes.
    """

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None and _expanded(node, {}) > MAX_NODES:
            raise yaml.constructor.ConstructorError(
                None, None, f"its aliases stand for more than {MAX_NODES} values; write it without nested aliases"
            )
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _expanded(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Number of nodes below and with ``node``, an alias counted as what it stands for; a cycle counts as too many."""
    if id(node) not in sizes:
        sizes[id(node)] = MAX_NODES + 1
        children = node.value if isinstance(node, yaml.SequenceNode) else []
        if isinstance(node, yaml.MappingNode):
            children = [child for pair in node.value for child in pair]
        sizes[id(node)] = 1 + sum(_expanded(child, sizes) for child in children)
    return sizes[id(node)]


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, read with the safe loader."""
    try:
        content = yaml.load(path.read_text(), Loader=_UniqueKeyLoader)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not readable as YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a mapping of keys to values, found {type(content).__name__}")
    return content


def _place(content: Any, location: tuple[int | str, ...]) -> str:
    """A field's place in words: a list entry that has an ``id`` is named by it, e.g. ``tables[giou-T5].unit``."""
    words = ""
    for part in location:
        if isinstance(part, int) and isinstance(content, list) and part < len(content):
            content = content[part]
            words += f"[{content.get('id', part) if isinstance(content, dict) else part}]"
        else:
            content = content.get(part, content) if isinstance(content, dict) else content
            words += f".{part}"
    return words.lstrip(".") or "(whole file)"


def parse(record: type[R], content: dict[str, Any], path: Path) -> R:
    """``content`` as ``record``; the error names the file and every wrong field."""
    try:
        return record.model_validate(content)
    except ValidationError as error:
        lines = [
            f"{path}: {_place(content, problem['loc'])}: {problem['msg']}"
            + (f" (found {problem['input']!r})" if problem["type"] != "missing" else "")
            for problem in error.errors()
        ]
        raise ConfigError("\n".join(lines)) from None
