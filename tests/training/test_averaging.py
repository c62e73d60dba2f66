"""The mean of late snapshots and precise BatchNorm statistics, against the same numbers computed apart."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from replication.catalog import Protocol, load_catalog
from replication.datasets import load_split
from replication.errors import ConfigError
from replication.results.run import Run
from replication.training.config import run_config
from replication.training.data import train_loader, training_records
from replication.training.devices import on_device
from replication.training.run import train
from replication.training.trainer import Trainer

AVERAGE = {"SOLVER.WEIGHT_AVERAGE": {"SNAPSHOTS": 3, "EVERY": 2}}  # after 2, 4 and 6 of 6 iterations
PRECISE = {"TEST.PRECISE_BN": {"ENABLED": True, "NUM_ITER": 4}, "MODEL.RETINANET.NORM": "BN"}


def with_keys(job: Run, folder: str, keys: dict[str, Any], name: str = "retinanet_R50", every: int = 100) -> Run:
    content = job.protocol.model_dump()
    overrides = {group: dict(values) for group, values in content["overrides"].items()}
    overrides.setdefault("ReplicationRetinaNet", {}).update(keys)
    changes = {"name": "own", "overrides": overrides, "checkpoint_every": every}
    return Run(load_catalog().variants[name], Protocol.model_validate(content | changes), 0, job.results / folder)


def weights(run: Run) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(run.files.model, weights_only=True)["model"]
    return state


@pytest.fixture
def snapshots(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """The model's state after every iteration, recorded by the optimiser's own step."""
    seen: list[dict[str, Tensor]] = []
    step = Trainer.run_step

    def recorded(trainer: Trainer) -> None:
        step(trainer)
        seen.append({key: value.clone() for key, value in trainer.checkpointer.model.state_dict().items()})

    monkeypatch.setattr(Trainer, "run_step", recorded)
    return seen


def test_the_final_model_is_the_mean_of_the_snapshots(job: Run, snapshots: list[dict[str, Tensor]]) -> None:
    run = with_keys(job, "a", AVERAGE | {"MODEL.RETINANET.NORM": "BN"})
    train(run)
    assert len(snapshots) == 6
    final, chosen = weights(run), [snapshots[index] for index in (1, 3, 5)]
    for key, value in final.items():
        if value.is_floating_point():
            mean = torch.stack([one[key].double() for one in chosen]).mean(dim=0)
            torch.testing.assert_close(value.double(), mean, rtol=1e-5, atol=1e-7)
        else:
            assert torch.equal(value, chosen[-1][key])
    moved = [key for key in final if not torch.equal(final[key], snapshots[-1][key])]
    assert len(moved) > 20


def test_off_is_the_last_model_and_no_iteration_depends_on_it(job: Run, snapshots: list[dict[str, Tensor]]) -> None:
    run = with_keys(job, "off", {})
    train(run)
    assert all(torch.equal(value, snapshots[-1][key]) for key, value in weights(run).items())
    train(with_keys(job, "on", AVERAGE))
    for one, other in zip(snapshots[:6], snapshots[6:], strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", ["retinanet_R50", "fsaf_R50_joint"])
def test_a_training_that_is_ended_and_resumed_has_the_same_bytes(
    job: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    keys = AVERAGE | PRECISE
    whole, ended = with_keys(job, "whole", keys, name), with_keys(job, "ended", keys, name)
    train(whole)
    step = Trainer.run_step

    def ended_after_four(trainer: Trainer) -> None:
        step(trainer)
        if trainer.iter == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Trainer, "run_step", ended_after_four)
    with pytest.raises(SystemExit):
        train(ended)
    monkeypatch.setattr(Trainer, "run_step", step)
    assert [path.name for path in ended.files.checkpoints] == ["checkpoint_0000004.pth"]
    train(ended)
    one, other = weights(whole), weights(ended)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def inputs_of_batch_norms(run: Run, count: int) -> dict[str, Tensor]:
    """What enters each BatchNorm over the first ``count`` batches, channels last, under the final weights."""
    split = load_split(run.protocol, "train")
    cfg = on_device(run_config(run.variant, run.protocol, 0, len(split.classes), Path()), torch.device("cpu"))
    model = build_model(cfg).to(memory_format=torch.channels_last).train()
    model.load_state_dict(weights(run))
    seen: dict[str, list[Tensor]] = {}
    for name, part in model.named_modules():
        if isinstance(part, nn.BatchNorm2d):
            part.register_forward_pre_hook(
                lambda _, given, name=name: seen.setdefault(name, []).append(
                    given[0].detach().movedim(1, -1).flatten(0, 2)
                )
            )
    loader = train_loader(cfg, training_records(split.records), 0)
    with torch.no_grad(), EventStorage():
        for _ in range(count):
            model(next(loader))
    return {name: torch.cat(values).double() for name, values in seen.items()}


@pytest.mark.parametrize("average", [{}, AVERAGE], ids=["last", "average"])
def test_statistics_are_those_of_the_batches_under_the_final_weights(job: Run, average: dict[str, Any]) -> None:
    run, plain = (
        with_keys(job, "precise", PRECISE | average),
        with_keys(job, "plain", {"MODEL.RETINANET.NORM": "BN"} | average),
    )
    train(run)
    train(plain)
    final, before = weights(run), weights(plain)
    for name, values in inputs_of_batch_norms(run, 4).items():
        torch.testing.assert_close(final[f"{name}.running_mean"].double(), values.mean(dim=0), rtol=1e-3, atol=1e-5)
        variance = values.var(dim=0, unbiased=False)
        torch.testing.assert_close(final[f"{name}.running_var"].double(), variance, rtol=1e-3, atol=1e-6)
        assert not torch.allclose(before[f"{name}.running_mean"], final[f"{name}.running_mean"], rtol=1e-2)
    learnt = [key for key in final if "running" not in key and "num_batches" not in key and "extra_state" not in key]
    assert all(torch.equal(final[key], before[key]) for key in learnt)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"SNAPSHOTS": 0}, r"SOLVER\.WEIGHT_AVERAGE\.SNAPSHOTS: 0 is less than 1"),
        ({"EVERY": 0}, r"SOLVER\.WEIGHT_AVERAGE\.EVERY: 0 is less than 1"),
        ({"SNAPSHOTS": 4, "EVERY": 2}, r"4 snapshots, 2 iterations apart, do not fit into 6 iterations"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_iteration(job: Run, node: dict[str, int], message: str) -> None:
    keys = {f"SOLVER.WEIGHT_AVERAGE.{key}": value for key, value in node.items()}
    with pytest.raises(ConfigError, match=message):
        train(with_keys(job, "a", keys))
