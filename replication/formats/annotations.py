"""Annotated images as plain records: what every reader returns, and everything else is derived from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

Box = tuple[float, float, float, float]


class Image(msgspec.Struct, frozen=True, gc=False):
    """An image: ``height`` and ``width`` in pixels, None where the annotations do not tell.

    ``name`` is the file's name or path as the annotations have it, ``key`` the id as text where ids are text.
    """

    id: int
    name: str = ""
    height: int | None = None
    width: int | None = None
    key: str | None = None


class Category(msgspec.Struct, frozen=True, gc=False):
    """A class; ``key`` is the id as text where ids are text."""

    id: int
    name: str
    key: str | None = None


class Object(msgspec.Struct, frozen=True, gc=False):
    """One annotation, with ids of its image and category.

    ``box`` is XYWH in absolute pixels, 0-based, as the file has it: it may reach over its image and have no area, but
    is finite and not negative in size. ``area`` is None where the file gives none. ``segmentation`` is JSON text,
    unchecked.
    """

    id: int
    image: int
    category: int
    box: Box
    area: float | None = None
    crowd: bool = False
    ignore: bool = False
    difficult: bool = False
    segmentation: bytes | None = None


@dataclass(frozen=True)
class Annotations:
    """The content of one annotation file or folder, in its order; categories in ascending order of their ids.

    ``notes`` are warnings for the user: what was read in another way than it is written.
    """

    source: Path
    images: tuple[Image, ...]
    categories: tuple[Category, ...]
    objects: tuple[Object, ...]
    notes: tuple[str, ...] = ()


def told_apart(names: Iterable[tuple[int, str]]) -> tuple[list[str], list[str]]:
    """Names of categories, given as (id, name) by ascending id, made unique; and notes about those that were not.

    Of several with one name all but the last get their id appended: exports of Roboflow put an unused root category
    with the name of a class first.
    """
    pairs = list(names)
    last = {name: place for place, (_, name) in enumerate(pairs)}
    unique = [name if last[name] == place else f"{name} (id {number})" for place, (number, name) in enumerate(pairs)]
    notes = [
        f"categories: name {name!r} occurs twice; the category of id {number} is called {new!r}"
        for (number, name), new in zip(pairs, unique, strict=True)
        if new != name
    ]
    return unique, notes
