"""Backbones around another builder's FPN, and which builder is innermost: what a stand-in backbone replaces."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone

from replication.errors import ConfigError

Builder = Callable[[Any, ShapeSpec], Backbone]
WRAPPERS: dict[str, str] = {}
"""Builders of wrappers, each with its node under MODEL, whose key BUILDER names the builder inside."""


class PyramidWrapper(Backbone):  # type: ignore[misc]
    """A backbone that changes the levels of another one, ``inner``, and keeps their names, sizes and channels.

    The parts of ``inner`` keep their names in the state dict, so that a checkpoint of the plain FPN fits.
    """

    def __init__(self, inner: Any) -> None:
        super().__init__()
        # In a tuple, or its parts would be registered a second time, under ``inner.``.
        self._inner = (inner,)
        for name, part in inner.named_children():
            self.add_module(name, part)

    @property
    def inner(self) -> Any:
        """The backbone whose levels are changed."""
        return self._inner[0]

    @property
    def size_divisibility(self) -> int:
        """Of the inner backbone."""
        return int(self.inner.size_divisibility)

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each level, the inner backbone's."""
        shapes: dict[str, ShapeSpec] = self.inner.output_shape()
        return shapes


@contextlib.contextmanager
def own_random_numbers(name: str) -> Iterator[None]:
    """Random numbers of a part, drawn from torch's last seed and ``name``; what is built after it draws as without it.

    So the heads of a detector start with the same weights whether the part is there or not.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed((torch.initial_seed() + zlib.crc32(name.encode())) % 2**63)
        yield


def register_wrapper(node: str) -> Callable[[Builder], Builder]:
    """Enter a builder in Detectron2's registry, as one around what MODEL.<node>.BUILDER builds."""

    def enter(builder: Builder) -> Builder:
        WRAPPERS[builder.__name__] = node
        BACKBONE_REGISTRY.register(builder)
        return builder

    return enter


def build_inner(cfg: Any, input_shape: ShapeSpec, node: str) -> Backbone:
    """What MODEL.<node>.BUILDER builds; ConfigError when it is no builder, or the wrapper itself."""
    builder = cfg.MODEL[node].BUILDER
    if builder not in BACKBONE_REGISTRY or WRAPPERS.get(builder) == node:
        raise ConfigError(f"MODEL.{node}.BUILDER: {builder!r} is not a builder of an FPN in the backbone registry")
    return BACKBONE_REGISTRY.get(builder)(cfg, input_shape)


def innermost_builder(cfg: Any) -> tuple[Any, str]:
    """The node and key that name the FPN's own builder: MODEL.BACKBONE.NAME, or the BUILDER within all wrappers."""
    node, key = cfg.MODEL.BACKBONE, "NAME"
    for _ in WRAPPERS:
        if node[key] in WRAPPERS:
            node, key = cfg.MODEL[WRAPPERS[node[key]]], "BUILDER"
    return node, key
