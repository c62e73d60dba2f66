"""Precision and compilation as options of a protocol. What only a GPU can show is in tests marked ``cuda``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from replication.catalog import Protocol, load_catalog, load_protocol
from replication.datasets import load_split
from replication.errors import ConfigError
from replication.results.run import Run
from replication.training.config import run_config
from replication.training.data import train_loader, training_records
from replication.training.devices import on_device
from replication.training.precision import (
    COMPILED,
    check_precision,
    compile_parts,
    prepare_model,
    products,
    use_bfloat16,
)
from replication.training.run import train

SMOKE = load_protocol("smoke")
VARIANTS = ("libra_rcnn_R50", "rpn_R50", "retinanet_R50", "fsaf_R50_joint", "yolov3_D53_mse")
# No map of one cell, on which a CPU's bfloat16 gradient is wrong.
LARGER = {"INPUT.MIN_SIZE_TRAIN": [128], "INPUT.MAX_SIZE_TRAIN": 160}
BACKENDS: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)


def with_keys(keys: dict[str, Any], **changes: Any) -> Protocol:
    overrides = {**SMOKE.overrides, "all": SMOKE.overrides["all"] | keys}
    return Protocol.model_validate(SMOKE.model_dump() | {"overrides": overrides, **changes})


def config(keys: dict[str, Any], variant: str = "retinanet_R50") -> CfgNode:
    cfg = run_config(load_catalog().variants[variant], with_keys(keys), 0, 10, Path("unused"))
    return on_device(cfg, torch.device("cpu"))


def first_losses(
    cfg: CfgNode, change: Callable[[nn.Module], None] | None = None
) -> tuple[dict[str, Tensor], nn.Module]:
    """Of the first batch, of a model that ``change`` was applied to, with the model after the backward pass."""
    torch.manual_seed(0)
    model = build_model(cfg).train()
    if change is not None:
        change(model)
    batch = next(train_loader(cfg, training_records(load_split(SMOKE, "train").records), 0))
    torch.manual_seed(1)
    with EventStorage():
        losses = model(batch)
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    return losses, model


@pytest.fixture
def dynamo() -> Iterator[None]:
    """torch.compile's limits and caches as they were, afterwards."""
    settings = torch._dynamo.config
    before = settings.recompile_limit, settings.accumulated_recompile_limit
    yield
    settings.recompile_limit, settings.accumulated_recompile_limit = before
    torch._dynamo.reset()


def test_by_default_a_model_is_left_alone() -> None:
    cfg = config({})
    model = build_model(cfg)
    prepare_model(cfg, model)
    assert not any("forward" in vars(part) for part in model.modules())


def test_the_paper_protocols_set_neither() -> None:
    for name in ("paper", "paper_voc", "paper_voc0712", "mini"):
        overrides = load_protocol(name).overrides.values()
        assert not {key for group in overrides for key in group if key in ("SOLVER.PRECISION", "SOLVER.COMPILE")}


@pytest.mark.parametrize("variant", VARIANTS)
def test_bfloat16_losses_are_float32_and_near(variant: str) -> None:
    """The matching of RCNN's proposals may differ between the two, hence the loose bound."""
    cfg = config(LARGER, variant)
    expected, exact = first_losses(cfg)
    losses, model = first_losses(cfg, lambda model: use_bfloat16(model, "cpu"))
    assert losses.keys() == expected.keys()
    for name, loss in losses.items():
        assert loss.dtype == torch.float32, name
        torch.testing.assert_close(loss, expected[name], rtol=0.1, atol=0.02)
    assert {key: value.dtype for key, value in model.state_dict().items()} == {
        key: value.dtype for key, value in exact.state_dict().items()
    }
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert {g.dtype for g in gradients} == {torch.float32}
    assert all(g.isfinite().all() for g in gradients)
    assert any(not torch.equal(losses[name], expected[name]) for name in losses)  # it did compute in another arithmetic


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"SOLVER.PRECISION": "fp8"}, "SOLVER.PRECISION: 'fp8' is unknown; choose from fp32, tf32, bf16"),
        ({"SOLVER.PRECISION": "tf32"}, "SOLVER.PRECISION: tf32 needs a GPU .* not a CPU; set fp32"),
        ({"SOLVER.PRECISION": "bf16"}, "SOLVER.PRECISION: bf16 needs a GPU .* not a CPU; set fp32"),
        ({"SOLVER.AMP.ENABLED": True}, "SOLVER.AMP.ENABLED: .* set SOLVER.PRECISION to bf16"),
        *(
            (keys | {"MODEL.EFFICIENTNET_LITE.FEATURES": "cached"}, "MODEL.EFFICIENTNET_LITE.FEATURES: cached .* fp32")
            for keys in ({"SOLVER.PRECISION": "bf16"}, {"SOLVER.COMPILE": True})
        ),
    ],
)
def test_settings_that_cannot_be(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_precision(config(keys))


@pytest.mark.parametrize(("capability", "known"), [((7, 0), {"fp32"}), ((9, 0), {"fp32", "tf32", "bf16"})])
def test_what_a_gpu_can(capability: tuple[int, int], known: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "V100")
    for precision in ("fp32", "tf32", "bf16"):
        cfg = on_device(config({"SOLVER.PRECISION": precision}), torch.device("cuda", 0))
        if precision in known:
            check_precision(cfg)
        else:
            with pytest.raises(
                ConfigError, match=f"{precision} needs a GPU of compute capability 8.0 or more, not V100"
            ):
                check_precision(cfg)


def test_products_are_as_before_afterwards() -> None:
    before = [backend.allow_tf32 for backend in BACKENDS]
    for rounded in (True, False):
        with products(rounded):
            assert [backend.allow_tf32 for backend in BACKENDS] == [rounded, rounded]
        assert [backend.allow_tf32 for backend in BACKENDS] == before


@pytest.mark.usefixtures("dynamo")
@pytest.mark.parametrize("variant", ["faster_rcnn_R50", "fsaf_R50_joint"])
def test_compiled_parts_give_what_they_gave(variant: str) -> None:
    """Traced and run as traced: without a C++ compiler's rounding it is the same to the last bit."""
    cfg = config({}, variant)
    expected, plain = first_losses(cfg)
    losses, model = first_losses(cfg, lambda model: compile_parts(model, backend="eager"))
    parts = [name for name, part in model.named_modules() if "forward" in vars(part)]
    assert parts
    assert set(parts) <= set(COMPILED)
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert all(torch.equal(losses[name], expected[name]) for name in expected)


@pytest.mark.slow
@pytest.mark.usefixtures("dynamo")
def test_a_compiled_training_ends(job: Run) -> None:
    run = Run(load_catalog().variants["yolov3_D53_giou"], with_keys({"SOLVER.COMPILE": True}), 0, job.results)
    assert train(run).exists()


def test_without_a_compiler_it_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no working C++ compiler\nand more")

    monkeypatch.setattr(torch, "compile", fail)
    cfg = config({"SOLVER.COMPILE": True})
    with pytest.raises(
        ConfigError, match=r"torch.compile does not work on a CPU here \(no working C\+\+ compiler\); in"
    ):
        prepare_model(cfg, build_model(cfg))
