"""The models that are timed: a variant under a protocol, with trained weights or calibrated random ones."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from replication.catalog import Catalog, Protocol, Variant
from replication.errors import ConfigError, ResultError, TimingError
from replication.results.files import sha256_file
from replication.results.layout import Layout, RunFiles
from replication.results.schemas import Provenance, read
from replication.timing.candidates import Batch, calibrate, count
from replication.timing.inputs import Size, Source, make_inputs, shapes
from replication.timing.stages import Anatomy, dissect
from replication.training.checkpoint import read_checkpoint
from replication.training.config import run_config
from replication.training.devices import on_device

SHIPPED = "detectron2:"
"""Before a variant's name: the same config with the classes of this package replaced by those that Detectron2 ships."""

_SHIPPED_CLASSES = {"ReplicationRetinaNet": "RetinaNet", "ReplicationROIHeads": "StandardROIHeads"}

Precision = Literal["fp32", "tf32", "fp16", "bf16"]
Weights = Literal["auto", "trained", "random"]
_HALF: dict[str, torch.dtype] = {"fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass
class Subject:
    """One model ready to be timed. ``file`` is its name as a file's, ``run`` one inference without gradients."""

    name: str
    cfg: CfgNode
    model: nn.Module
    anatomy: Anatomy
    inputs: list[Batch]
    weights: dict[str, Any]
    candidates: dict[str, Any]
    run: Callable[[Batch], Any]

    @property
    def file(self) -> str:
        """The name with ``detectron2:`` written ``detectron2_``."""
        return self.name.replace(":", "_")


def trained_run(protocol: Protocol, results: Path, name: str) -> RunFiles | None:
    """Files of the trained run of the lowest seed; None when none is trained."""
    return next((files for _, files in Layout(results, protocol.name).seeds(name) if files.model.exists()), None)


def choose_runs(
    catalog: Catalog, protocol: Protocol, results: Path, names: list[str], wanted: Weights
) -> Mapping[str, RunFiles | None]:
    """The run whose weights each model takes, of a test-time variant its source's; None for random ones.

    ``auto`` takes trained weights if every model has a run, else random ones for all: a trained model and a random one
    have different candidates. ``trained`` raises ResultError where a run is missing.
    """
    made_by = {name: known_variant(catalog, name).trained.name for name in names}
    runs = {name: None if wanted == "random" else trained_run(protocol, results, made_by[name]) for name in names}
    missing = [made_by[name] for name, files in runs.items() if files is None]
    if wanted == "trained" and missing:
        raise ResultError(
            f"{Layout(results, protocol.name).runs}: no finished run of {', '.join(missing)}; "
            "train it, or give --weights random"
        )
    return runs if not missing else dict.fromkeys(names)


def subject_config(catalog: Catalog, protocol: Protocol, name: str, num_classes: int, device: torch.device) -> CfgNode:
    """The config of a variant, or of what Detectron2 ships in its place.

    ConfigError for unknown names and for a test in several views, of which one alone would be timed.
    """
    variant = known_variant(catalog, name)
    cfg = on_device(run_config(variant, protocol, 0, num_classes, Path("unused")), device)
    if cfg.TEST.AUG.ENABLED:
        raise ConfigError(
            f"--variants {name}: TEST.AUG.ENABLED: a test in several views cannot be timed; choose the variant that "
            "looks at an image once"
        )
    if not name.startswith(SHIPPED):
        return cfg
    cfg.defrost()
    nodes = {"META_ARCHITECTURE": cfg.MODEL, "NAME": cfg.MODEL.ROI_HEADS}
    for key, node in nodes.items():
        node[key] = _SHIPPED_CLASSES.get(node[key], node[key])
    cfg.freeze()
    if cfg.MODEL.META_ARCHITECTURE not in ("RetinaNet", "GeneralizedRCNN"):
        raise ConfigError(f"{name}: Detectron2 ships nothing for {cfg.MODEL.META_ARCHITECTURE}")
    return cfg


def known_variant(catalog: Catalog, name: str) -> Variant:
    """The variant of that name, with or without ``detectron2:``; ConfigError naming the known ones."""
    return catalog.variant(name.removeprefix(SHIPPED))


def layout(name: str) -> torch.memory_format:
    """In which a model keeps its convolutions: ours as they are trained and tested, Detectron2's own in its own."""
    return torch.contiguous_format if name.startswith(SHIPPED) else torch.channels_last


def build_subject(
    name: str,
    cfg: CfgNode,
    source: Source,
    size: Size | None,
    run: RunFiles | None,
    candidates: int,
    precision: Precision,
) -> Subject:
    """The model in evaluation mode with the weights of ``run``, or random ones calibrated to ``candidates``.

    Raises TimingError when the weights do not fit.
    """
    torch.manual_seed(0)
    model = build_model(cfg).to(memory_format=layout(name)).eval()
    anatomy = dissect(model, cfg.MODEL.RETINANET.PRIOR_PROB)
    inputs = make_inputs(source, cfg, size, torch.device(cfg.MODEL.DEVICE))
    if run is not None:
        weights = load_weights(model, run)
    else:
        anatomy = calibrate(model, anatomy, inputs, candidates)
        weights = {"kind": f"random, biased to {candidates} candidates {PER[anatomy.kind]}", "candidates": candidates}
    infer = runner(model, precision, torch.device(cfg.MODEL.DEVICE))
    return Subject(name, cfg, model, anatomy, inputs, weights, count(infer, anatomy, inputs), infer)


PER = {"dense": "per level and class layer", "rcnn": "per image", "yolo": "per level"}


def runner(model: nn.Module, precision: Precision, device: torch.device) -> Callable[[Batch], Any]:
    """One inference at a precision: ``fp32`` means it, ``tf32`` lets a GPU round factors, the others are autocast."""
    dtype = _HALF.get(precision)

    @torch.no_grad()
    def run(batch: Batch) -> Any:
        with contextlib.nullcontext() if dtype is None else torch.autocast(device.type, dtype):
            return model(batch)

    return run


@contextlib.contextmanager
def memory_errors(name: str, device: torch.device) -> Iterator[None]:
    """TimingError in place of the ways in which memory runs out."""
    advice = "time fewer variants at once, or smaller images with --size"
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise TimingError(f"{name}: out of memory on {device}; {advice}") from error
    except RuntimeError as error:
        if "allocate memory" not in str(error):
            raise
        raise TimingError(f"{name}: out of memory on {device}; {advice}") from error


def compile_parts(subject: Subject, backend: str = "inductor") -> None:
    """``torch.compile`` of the parts that are functions of tensors, once a size; the rest stays eager.

    Once for all sizes is no choice: with symbolic sizes torch does not come to an end on a pyramid.
    """
    # Beyond its limit, which is of a function and so shared by all models of a class, torch would silently go on
    # without compiling.
    torch._dynamo.config.recompile_limit += len(set(shapes(subject.inputs)))
    for part in subject.anatomy.compilable:
        # Its forward, not the module: hooks then run outside of what is compiled.
        part.forward = torch.compile(part.forward, dynamic=False, backend=backend)


def load_weights(model: nn.Module, run: RunFiles) -> dict[str, Any]:
    """Load a finished run's weights; what they are, for the result file. TimingError when they do not fit."""
    path = run.model
    made = read(run.provenance, Provenance)
    device = next(model.parameters()).device
    state = read_checkpoint(path, device)["model"]
    own = model.state_dict()
    # A trained variant may carry a moving average that Detectron2's class does not know.
    state = {key: value for key, value in state.items() if key in own or not key.endswith("_extra_state")}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise TimingError(
            f"{path}: does not fit the model: {str(error).splitlines()[-1].strip()}; train the run again, "
            "or give --weights random"
        ) from error
    facts = {key: getattr(made, key) for key in ("variant", "seed", "iterations", "config_hash", "data_hash", "commit")}
    return {"kind": "trained", "run": facts, "sha256": sha256_file(path)}
