"""What every JSON file of a results folder is: a record with a version, and one function that reads any of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
from msgspec import Meta

from replication.errors import ResultError
from replication.results.explanations import explained, not_finite
from replication.results.files import load_json, write_json

Percent = Annotated[float, Meta(ge=0, le=100)]
Gain = Annotated[float, Meta(ge=-100, le=100)]
Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=0)]
Size = tuple[int, int]
"""Height and width in pixels."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A mapping inside a file."""


class Document(Part, frozen=True, kw_only=True):
    """A whole file. ``SCHEMA`` is ``name/version``, its field ``schema``; ``REMEDY`` what mends a broken one."""

    SCHEMA: ClassVar[str]
    REMEDY: ClassVar[str]

    def problem(self) -> str:
        """``field: what is wrong`` where a rule over several fields is broken; empty where none is."""
        return ""


D = TypeVar("D", bound=Document)


def read(path: Path, kind: type[D]) -> D:
    """The content of a file. ResultError, one message that names file and field, when it is absent, not JSON, of
    another version, or has a field that is missing, of another type, not finite or out of range.
    """
    content = load_json(path, kind.REMEDY)
    found = content.get("schema") if isinstance(content, dict) else None
    if found != kind.SCHEMA:
        raise ResultError(
            f"{path}: schema is {found!r}, expected {kind.SCHEMA!r}, as another version makes it; {kind.REMEDY}"
        )
    problem, document = _convert(content, kind)
    if document is None:
        raise ResultError(f"{path}: {problem}; {kind.REMEDY}")
    return document


def write(path: Path, kind: type[Document], content: Mapping[str, Any]) -> None:
    """Write a file that ``read`` takes, of ``content`` without its ``schema``; ValueError for any other content."""
    document = dict(content)
    # As the reader will see it: tuples as lists, keys as text.
    problem, _ = _convert(json.loads(json.dumps(document, allow_nan=False)), kind)
    if problem:
        raise ValueError(f"{path}: {problem}")
    write_json(path, kind.SCHEMA, document)


def _convert(content: Any, kind: type[D]) -> tuple[str, D | None]:
    """What is wrong, or the document."""
    try:
        document = msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        return explained(str(error), content, kind), None
    problem = not_finite(content) or document.problem()
    return problem, None if problem else document
