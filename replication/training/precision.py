"""In which arithmetic a training runs, and whether parts of its model are compiled; float32 and eager by default."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import torch
from detectron2.config import CfgNode
from torch import nn

from replication.errors import ConfigError

PRECISIONS = ("fp32", "tf32", "bf16")
COMPILED = ("backbone", "head", "proposal_generator.rpn_head")
"""Modules from tensors to tensors; what comes after them depends on numbers of objects and stays eager."""


def add_precision_config(cfg: CfgNode) -> None:
    """Add SOLVER.PRECISION, ``fp32``, and SOLVER.COMPILE, off, in place.

    ``tf32`` lets a GPU round the factors of 32-bit products to 10 bits, which torch by itself does in convolutions.
    ``bf16`` is autocast: convolutions and matrix products in bfloat16, weights, losses and optimiser in float32, and
    no loss scale; the trained model is tested in float32. COMPILE passes backbone and heads to ``torch.compile``,
    once for each size of a padded batch.
    """
    cfg.SOLVER.PRECISION = "fp32"
    cfg.SOLVER.COMPILE = False


def check_precision(cfg: CfgNode) -> None:
    """Raise ConfigError for an unknown precision, or one that MODEL.DEVICE or the settings beside it cannot have."""
    wanted, device = cfg.SOLVER.PRECISION, torch.device(cfg.MODEL.DEVICE)
    if wanted not in PRECISIONS:
        raise ConfigError(f"SOLVER.PRECISION: {wanted!r} is unknown; choose from {', '.join(PRECISIONS)}")
    if cfg.SOLVER.AMP.ENABLED:
        raise ConfigError("SOLVER.AMP.ENABLED: is not read here; set SOLVER.PRECISION to bf16")
    if (wanted != "fp32" or cfg.SOLVER.COMPILE) and cfg.MODEL.EFFICIENTNET_LITE.FEATURES == "cached":
        raise ConfigError(
            "MODEL.EFFICIENTNET_LITE.FEATURES: cached features are those of float32, not compiled; set it to computed, "
            "or SOLVER.PRECISION to fp32 and SOLVER.COMPILE to false"
        )
    if wanted not in _precisions_of(device):
        raise ConfigError(
            f"SOLVER.PRECISION: {wanted} needs a GPU of compute capability 8.0 or more, not {_name(device)}; set fp32"
        )


@contextlib.contextmanager
def products(rounded: bool) -> Iterator[None]:
    """While entered, whether a GPU rounds the factors of 32-bit products to TF32; torch does so in convolutions."""
    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = rounded
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.allow_tf32 = value


def prepare_model(cfg: CfgNode, model: nn.Module) -> None:
    """Make a model's passes those of SOLVER.PRECISION and SOLVER.COMPILE, in place; its state keeps its names."""
    check_precision(cfg)
    if cfg.SOLVER.COMPILE:
        compile_parts(model)
    if cfg.SOLVER.PRECISION == "bf16":
        use_bfloat16(model, torch.device(cfg.MODEL.DEVICE).type)


def use_bfloat16(model: nn.Module, device: str) -> None:
    """Run the model's passes under autocast on a type of device, in place."""
    forward = model.forward

    @functools.wraps(forward)
    def run(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast(device, torch.bfloat16):
            return forward(*args, **kwargs)

    model.forward = run


def compile_parts(model: nn.Module, backend: str = "inductor") -> None:
    """``torch.compile`` of the model's ``COMPILED`` parts, each size apart; ConfigError where there is no compiler."""
    _check_compiler(next(model.parameters()).device, backend)
    # Beyond these limits torch silently goes on without compiling, and which sizes come first is not the same in a
    # training that was resumed.
    torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = 1_000_000
    for name in COMPILED:
        with contextlib.suppress(AttributeError):
            part = model.get_submodule(name)
            # With symbolic sizes torch does not come to an end on a pyramid.
            part.forward = torch.compile(part.forward, dynamic=False, backend=backend)


def _precisions_of(device: torch.device) -> tuple[str, ...]:
    # A CPU's bfloat16 convolutions give a wrong gradient of their weights on maps of one cell, as coarse levels have
    # (torch 2.11: now and then what was in memory before).
    able = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return PRECISIONS if able else ("fp32",)


def _check_compiler(device: torch.device, backend: str) -> None:
    try:
        torch.compile(lambda x: x.sin() + 1, dynamic=False, backend=backend)(torch.ones(8, device=device))
    except Exception as error:  # each compiler raises its own
        reason = str(error).strip().splitlines()
        raise ConfigError(
            f"SOLVER.COMPILE: torch.compile does not work on {_name(device)} here "
            f"({reason[0] if reason else type(error).__name__}); install a C++ compiler, or set it to false"
        ) from error


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU"
